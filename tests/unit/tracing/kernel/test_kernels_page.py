"""The table in docs/kernels.md is that of the code.

``python -m tests.unit.tracing.kernel.test_kernels_page`` writes it.
"""

import re

import pytest

from cmonlab.points.catalogue import CATALOGUE
from cmonlab.tracing.kernel.differences import DIFFERENCES, OLDEST, macros, markdown
from tests.support import ROOT

PAGE = ROOT / "docs/kernels.md"
#: Macros that are defined or not: the C code asks for them, and does not use them as numbers.
SWITCHES = {each.macro for each in DIFFERENCES if each.macro} - {"SWITCH_PREVIOUS"}


def written(page: str) -> str:
    head, begin, rest = page.partition("<!-- table: differences -->\n")
    _, end, tail = rest.partition("<!-- end -->")
    return f"{head}{begin}{markdown()}\n{end}{tail}"


class Kernel:
    """Type information of a kernel that has some tracepoints, with their arguments, and functions."""

    def __init__(self, tracepoints, functions=()):
        self._tracepoints, self._functions = tracepoints, functions

    def tracepoint(self, name):
        return 7 if name in self._tracepoints else None

    def arguments(self, name):
        return self._tracepoints.get(name, [])

    def id_of(self, kind, name):
        return 9 if name in self._functions else None


OLD = {"sched_switch": [None, "task_struct", "task_struct"], "kfree_skb": ["sk_buff", None]}
NEW = OLD | {
    "kfree_skb": ["sk_buff", None, None],
    "tcp_retransmit_skb": ["sock", "sk_buff", None],
    "sock_recv_length": ["sock", None, None],
    "tcp_sendmsg_locked": ["sock", "msghdr"],
}


def test_the_page_has_the_table_of_the_code():
    page = PAGE.read_text()
    assert page.count("<!-- table: differences -->") == page.count("<!-- end -->") == 1
    assert written(page) == page, "run python -m tests.unit.tracing.kernel.test_kernels_page"


def test_the_newest_differences_come_first():
    versions = [each.version for each in DIFFERENCES]
    assert versions == sorted(versions, reverse=True)


def test_every_version_of_the_catalogue_is_in_the_table():
    for point in CATALOGUE:
        if point.since:
            assert any(each.since == point.since and f"`{point.name}`" in each.what for each in DIFFERENCES), point.name


def test_the_oldest_version_is_the_newest_of_the_required_ones():
    assert OLDEST == (5, 12)
    assert f"The oldest accepted kernel is {OLDEST[0]}.{OLDEST[1]}," in " ".join(PAGE.read_text().split())


def test_an_old_kernel_defines_only_the_position_of_the_tasks():
    assert macros(Kernel(OLD)) == {"SWITCH_PREVIOUS": 1}
    assert macros(Kernel(OLD | {"sched_switch": [None, None, "task_struct", "task_struct"]})) == {"SWITCH_PREVIOUS": 2}


def test_a_new_kernel_defines_every_macro():
    found = macros(Kernel(NEW, ("bpf_rdonly_cast", "new_utsname")))
    assert found.keys() == {each.macro for each in DIFFERENCES if each.macro}


@pytest.mark.parametrize("macro", sorted(SWITCHES))
def test_the_c_code_asks_for_every_macro(macro):
    code = "".join(path.read_text() for path in (ROOT / "bpf").glob("*.[ch]"))
    assert re.search(rf"#ifn?def {macro}\b", code)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))

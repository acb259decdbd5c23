"""Which points a kernel has, and what is said of those that it lacks."""

import pytest

from cmonlab.errors import NotTraceable
from cmonlab.points.catalogue import BY_NAME, CATALOGUE
from cmonlab.tracing.kernel import programs
from cmonlab.tracing.preflight import checks


def test_every_point_is_there_or_replaced_or_missing():
    there, missing = programs.available(), programs.missing()
    replaced = {point.instead_of for point in there} - {""}
    for point in CATALOGUE:
        assert (point in there) == (not programs.why_missing(point))
        if not point.instead_of:
            assert (point in there) + (point in missing) + (point.name in replaced) == 1, point.name


def test_one_point_tells_of_datagrams_read():
    """sock_recv_length since Linux 6.3, skb_consume_udp before; never both."""
    assert len({point.name for point in programs.available()} & {"sock_recv_length", "skb_consume_udp"}) == 1


def test_a_point_that_this_kernel_lacks_is_refused_with_what_to_do():
    there = programs.available()
    assert programs.usable(there) == there
    for point in CATALOGUE:
        if point not in there:
            with pytest.raises(NotTraceable, match=point.name) as refused:
                programs.usable([point])
            assert refused.value.why and refused.value.fix


def test_a_tracepoint_that_passes_something_else_is_no_point():
    wrong = BY_NAME["kfree_skb"].__class__(**{**vars(BY_NAME["kfree_skb"]), "packet": 1})
    assert programs.why_missing(wrong) == "in this kernel its argument 1 is not the packet"


def test_doctor_tells_what_stands_in_and_which_functions_there_are():
    found = {check.name: check for check in checks()}
    there = programs.available()
    text = found["points"].what
    assert text.startswith(f"{len(there)} points attach")
    for point in there:
        assert not point.instead_of or f"{point.name} stands in for {point.instead_of}" in text
    functions, said = found["functions"], " ".join(vars(found["functions"])[word] for word in ("what", "why"))
    names = [point.name for point in CATALOGUE if point.is_function]
    assert all(name in said for name in names) and not functions.required
    assert functions.ok == any(point.is_function for point in there)
    assert functions.ok or (functions.why.startswith(programs.functions_traceable()) and functions.fix)

"""What differs between kernel versions, in one table; ``docs/kernels.md`` shows it.

The kernel's type information (BTF) decides, not its version, which is only compared with `OLDEST`. A difference that
the C code depends on has a macro, which `macros` computes for a kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cmonlab.points.catalogue import BY_NAME

from .btf import FUNC, STRUCT, Btf

_READABLE = "new_utsname"  # begins with char[65], more than programs read


@dataclass(frozen=True)
class Difference:
    """One thing that older kernels do not have, or do in another way.

    Attributes
    ----------
    since : str
        The Linux version that it came with.
    what : str
        What is so since then.
    before : str
        What is so on older kernels, and what that means for a trace.
    source : str
        Commits or files of the Linux source, where known.
    macro : str
        The macro of the C code that depends on it.
    value : callable, optional
        Returns the macro's value for a kernel's types; 0 leaves the macro undefined.
    required : bool
        Whether tracing needs it.
    """

    since: str
    what: str
    before: str
    source: str = ""
    macro: str = ""
    value: Callable[[Btf], int] | None = None
    required: bool = False

    @property
    def version(self) -> tuple[int, int]:
        """The numbers of `since`."""
        major, minor = self.since.split()[0].split(".")
        return int(major), int(minor)


def _has_tracepoint(name: str) -> Callable[[Btf], int]:
    return lambda btf: int(btf.tracepoint(name) is not None)


def _has_arguments(tracepoint: str, count: int) -> Callable[[Btf], int]:
    return lambda btf: int(len(btf.arguments(tracepoint)) >= count)


def readable_id(btf: Btf) -> int:
    """Return the BTF id of the kernel function ``bpf_rdonly_cast``, 0 if the kernel has none.

    Parameters
    ----------
    btf : Btf
        The kernel's types.
    """
    return btf.id_of(FUNC, "bpf_rdonly_cast") or 0


#: The newest first.
DIFFERENCES = (
    Difference(
        "6.18",
        "the kernel may delay the free of a datagram that was read",
        "its reader frees it",
        "`skb_attempt_defer_free`",
    ),
    Difference(
        "6.17",
        "`tcp_retransmit_skb` has the error as a third argument; attempts that failed pass there too, and are not "
        "counted",
        "attempts that failed do not pass there",
        macro="TCP_RETRANSMIT_HAS_ERROR",
        value=_has_arguments("tcp_retransmit_skb", 3),
    ),
    Difference(
        BY_NAME["tcp_sendmsg_locked"].since,
        "tracepoint `tcp_sendmsg_locked`",
        "there is no such point",
        macro="TCP_SENDS_HAVE_TRACEPOINT",
        value=_has_tracepoint("tcp_sendmsg_locked"),
    ),
    Difference(
        "6.12",
        "`net_device.priv_flags` is a bit field of 32 bits",
        "it is an ordinary member; both are read in the same way",
    ),
    Difference(
        BY_NAME["sock_recv_length"].since,
        "tracepoint `sock_recv_length`",
        "the points `skb_copy_datagram_iovec` and `skb_consume_udp` are used instead: the reader frees a datagram "
        "through the tracepoint `consume_skb`. The buffer's address identifies the datagram, so lost events and shared "
        "ports do no harm",
        "6e6eda44b939",
        "READS_HAVE_TRACEPOINT",
        _has_tracepoint("sock_recv_length"),
    ),
    Difference(
        "6.2",
        "programs read kernel memory by plain loads (`bpf_rdonly_cast`)",
        "`bpf_probe_read_kernel` copies the headers",
        "a35b9af4ec2c",
        "READABLE_TYPE",
        lambda btf: (btf.id_of(STRUCT, _READABLE) or 0) if readable_id(btf) else 0,
    ),
    Difference(
        "6.2",
        "parts of a buffer that was used are freed as used",
        "the kernel reports them as dropped: the later fragments of a datagram that was read, and segments that GRO "
        "chained, count as dropped, `NOT_SPECIFIED`, in `kfree_skb_list_reason`",
        "511a3eda2f8d",
    ),
    Difference(
        "6.1",
        "a program that interrupts itself on a CPU is skipped and counted (also in some older stable kernels)",
        "it runs nested: nothing is lost, but a count of the ledger may be too low, very rarely, because its increment "
        "is not atomic",
        "05b24ff9b2cf",
    ),
    Difference(
        "5.18 only",
        "`sched_switch` has one more argument before the tasks",
        "the position of the first task among the arguments is found by its type",
        "fa2c3254d7cf, undone in 9c2136be0878",
        "SWITCH_PREVIOUS",
        lambda btf: btf.arguments("sched_switch").index("task_struct"),
    ),
    Difference(
        "5.17",
        "`kfree_skb` gives a reason",
        "every drop is `NOT_SPECIFIED`; the code address is there",
        "c504e5c2f964",
        "KFREE_SKB_HAS_REASON",
        _has_arguments("kfree_skb", 3),
    ),
    Difference(BY_NAME["qdisc_enqueue"].since, "tracepoint `qdisc_enqueue`", "there is no such point"),
    Difference(
        "5.12",
        "loads from the stack at a variable offset, which rules with ports need",
        "cannot trace",
        "01f810ace9ed",
        required=True,
    ),
    Difference("5.12", "atomic or, which remembers ports", "cannot trace", "5ca419f2864a", required=True),
    Difference(
        "5.12",
        "`recursion_misses` in `bpf_prog_info`: the ledger counts skipped runs",
        "cannot trace",
        "9ed9e9ba2337",
        required=True,
    ),
    Difference("5.11", "`bpf_get_current_task_btf`", "cannot trace", "3ca1032ab7ab", required=True),
    Difference("5.10", "inner maps of different sizes", "cannot trace", "134fede4eecf", required=True),
    Difference("5.8", "ring buffers", "cannot trace", required=True),
    Difference("5.8", "the run time of programs can be counted", "costs are not measured"),
)

#: The oldest Linux version that has everything that is required.
OLDEST = max(each.version for each in DIFFERENCES if each.required)


def macros(btf: Btf) -> dict[str, int]:
    """Return the macros that differ between kernels, as they are on one kernel.

    Parameters
    ----------
    btf : Btf
        The kernel's types.

    Returns
    -------
    dict of str to int
        Without those that are not defined on this kernel.
    """
    values = {each.macro: each.value(btf) for each in DIFFERENCES if each.value is not None}
    return {name: value for name, value in values.items() if value}


def markdown() -> str:
    """Return the table as ``docs/kernels.md`` shows it."""
    rows = [("since", "what", "before that", "source", "macro in `bpf/`"), ("---",) * 5]
    for each in DIFFERENCES:
        macro = f"`{each.macro}`" if each.macro else ""
        before = "**required**" if each.required else each.before
        rows.append((each.since, each.what, before, each.source, macro))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)

"""Names of the running kernel: drop reasons, and functions by address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .defines import defines

_SHIFT = defines("records.h")["REASON_SUBSYSTEM_SHIFT"]


def drop_reasons(enum: Mapping[int, str]) -> dict[str, str]:
    """Return the running kernel's drop reasons by their number in the records.

    Parameters
    ----------
    enum : mapping of int to str
        ``enum skb_drop_reason`` of the kernel's BTF; empty before Linux 5.17, which gives no reasons.

    Returns
    -------
    dict of str to str
        Names without the prefix ``SKB_DROP_REASON_``, by the number in decimal: the keys of a JSON object.
    """
    enum = enum or {0: "SKB_DROP_REASON_NOT_SPECIFIED"}
    return {
        str((value >> 16 & 0xF) << _SHIFT | value & (1 << _SHIFT) - 1): name.removeprefix("SKB_DROP_REASON_")
        for value, name in enum.items()
    }


def symbols(low_addresses: Iterable[int]) -> dict[str, str]:
    """Return the names of the kernel functions at some addresses.

    Kernel code is in the top 2 GiB of the address space, so the low half of an address is enough.

    Parameters
    ----------
    low_addresses : iterable of int
        Low 32 bits of code addresses.

    Returns
    -------
    dict of str to str
        Names by the number in decimal; empty if ``/proc/kallsyms`` hides addresses.
    """
    wanted = sorted(set(low_addresses))
    if not wanted:
        return {}
    import numpy as np

    starts, names = [], []
    try:
        with open("/proc/kallsyms") as file:
            for line in file:
                address, kind, name, *_ = line.split()
                if kind in "tTwW" and address.startswith("ffffffff"):
                    starts.append(int(address[8:], 16))
                    names.append(name)
    except OSError:
        return {}
    if not any(starts):
        return {}
    order = np.argsort(starts, kind="stable")
    at = np.searchsorted(np.array(starts)[order], wanted, side="right") - 1
    return {str(low): names[order[i]] for low, i in zip(wanted, at, strict=True) if i >= 0}

"""Workloads: real programs that make traffic between the containers of a lab.

A workload talks to the lab's methods only and needs no Docker to be described.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

from cmonlab.errors import UnknownName

from .iperf import Iperf
from .memcached import Memcached
from .result import Workload, WorkloadResult
from .sockperf import Sockperf

__all__ = ["WORKLOADS", "Iperf", "Memcached", "Sockperf", "Workload", "WorkloadResult", "workload"]

WORKLOADS: dict[str, Callable[..., Workload]] = {
    "memcached": Memcached,
    "iperf-tcp": partial(Iperf, protocol="tcp"),
    "iperf-udp": partial(Iperf, protocol="udp"),
    "sockperf-tcp": partial(Sockperf, protocol="tcp"),
    "sockperf-udp": partial(Sockperf, protocol="udp"),
}


def workload(name: str, **params: Any) -> Workload:
    """Return a workload of the registry.

    Parameters
    ----------
    name : str
        A key of `WORKLOADS`.
    **params
        Parameters of the workload, for instance ``server="c0"``.

    Raises
    ------
    UnknownName
        There is no such workload, or it has no such parameter.
    WorkloadError
        A parameter is out of range.
    """
    if name not in WORKLOADS:
        raise UnknownName("workload", name, WORKLOADS)
    maker = WORKLOADS[name]
    fixed = maker.keywords if isinstance(maker, partial) else {}
    kind = maker.func if isinstance(maker, partial) else maker
    known = [field.name for field in dataclasses.fields(kind) if field.name not in fixed]
    for param in params:
        if param not in known:
            raise UnknownName(f"parameter of workload {name}", param, known)
    return maker(**params)

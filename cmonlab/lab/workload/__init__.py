"""Workloads: real programs that make traffic between the containers of a lab.

A workload uses the lab's methods only. Describing one needs no Docker.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

from cmonlab.errors import UnknownName

from .iperf import Iperf
from .memcached import Memcached
from .result import Workload, WorkloadResult
from .sockperf import Sockperf

__all__ = ["WORKLOADS", "Iperf", "Memcached", "Sockperf", "Workload", "WorkloadResult", "workload"]

#: Name → what makes the workload, from its parameters.
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

    Returns
    -------
    Workload

    Raises
    ------
    UnknownName
        There is no such workload, or it has no such parameter.
    WorkloadError
        A parameter is out of range.
    """
    if name not in WORKLOADS:
        raise UnknownName("workload", name, WORKLOADS)
    factory = WORKLOADS[name]
    fixed = factory.keywords if isinstance(factory, partial) else {}
    known = [parameter for parameter in signature(factory).parameters if parameter not in fixed]
    for param in params:
        if param not in known:
            raise UnknownName(f"parameter of workload {name}", param, known)
    return factory(**params)

"""The interfaces that macvlan networks are on: veth pairs of ours in the host's namespace.

A macvlan interface needs a device below it, and an interface of the machine's must not
be lent: its traffic would reach a real network. The pair's other end only keeps it up.
An alias says whose a pair is, so that it is found after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cmonlab.errors import DockerError

from ..netns import apart
from . import labels as owner

_PREFIX = "cmon"
_VETH = "veth"


def name_of(run_id: str, number: int) -> str:
    """Return the name of a run's interface for one of its networks; 15 characters at most."""
    return f"{_PREFIX}{run_id}{number}"


def make(name: str, labels: Mapping[str, str]) -> None:
    """Make a pair; the other end is called the same with an x behind.

    Parameters
    ----------
    name : str
    labels : mapping of str to str
        Say whose it is, as a container's labels do.

    Raises
    ------
    DockerError
        The kernel refused.
    """
    apart(lambda: _make(name, labels))


def _make(name: str, labels: Mapping[str, str]) -> None:
    with _netlink(f"interface {name} cannot be made") as netlink:
        netlink.link("add", ifname=name, kind=_VETH, peer={"ifname": f"{name}x"})
        for end in (f"{name}x", name):
            index = netlink.link_lookup(ifname=end)[0]
            # Without an address of its own it sends nothing.
            netlink.link("set", index=index, ifalias=_written(labels), state="up")


def remove(wanted: Callable[[dict[str, str]], bool]) -> list[str]:
    """Remove the pairs whose labels are wanted; return what was removed.

    Raises
    ------
    DockerError
        The kernel refused.
    """
    return apart(lambda: _remove(wanted))


def _remove(wanted: Callable[[dict[str, str]], bool]) -> list[str]:
    found = {name: index for name, index, labels in _ours() if wanted(labels)}
    for name, index in found.items():
        if name.endswith("x") and name[:-1] in found:
            continue  # goes with the other end
        with _netlink(f"interface {name} cannot be removed") as netlink:
            netlink.link("del", index=index)
    return [f"interface {name}" for name in found if not name.endswith("x")]


def _ours() -> list[tuple[str, int, dict[str, str]]]:
    with _netlink("the interfaces cannot be read") as netlink:
        links = [(link.get_attr("IFLA_IFNAME"), link["index"], _read(link)) for link in netlink.get_links()]
    return [(name, index, labels) for name, index, labels in links if labels]


def _written(labels: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in labels.items())


def _read(link: Any) -> dict[str, str]:
    pairs = (word.partition("=") for word in (link.get_attr("IFLA_IFALIAS") or "").split())
    labels = {key: value for key, _, value in pairs}
    return labels if owner.OWNER_LABEL in labels else {}


@contextmanager
def _netlink(what: str) -> Iterator[Any]:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as netlink:
            yield netlink
    except (NetlinkError, OSError) as error:
        raise DockerError(what, why=str(error), fix="run as root (sudo)") from error

"""The parent interfaces of macvlan networks: veth pairs that cmonlab makes in the host's namespace.

A macvlan interface needs a parent device. One of the machine's interfaces is not used, because test traffic would then
reach a real network. The pair's other end only keeps the parent up. The interface alias says which process owns the
pair, so that it is found after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cmonlab.errors import DockerError

from ..netns import in_own_thread
from .labels import OWNER_LABEL

_PREFIX = "cmon"
_VETH = "veth"


def parent_name(run_id: str, number: int) -> str:
    """Return the name of the parent interface of a network.

    Parameters
    ----------
    run_id : str
        Id of the run.
    number : int
        Number of the network within the run.

    Returns
    -------
    str
        At most 15 characters, as the kernel requires (IFNAMSIZ).
    """
    return f"{_PREFIX}{run_id}{number}"


def make_pair(name: str, labels: Mapping[str, str]) -> None:
    """Make a veth pair; the name of the other end has an x appended.

    Parameters
    ----------
    name : str
        Name of the parent interface.
    labels : mapping of str to str
        Run and owner, as a container's labels.

    Raises
    ------
    DockerError
        The kernel refused.
    """
    in_own_thread(lambda: _make(name, labels))


def _make(name: str, labels: Mapping[str, str]) -> None:
    with _netlink(f"interface {name} cannot be made") as netlink:
        netlink.link("add", ifname=name, kind=_VETH, peer={"ifname": f"{name}x"})
        for end in (f"{name}x", name):
            index = netlink.link_lookup(ifname=end)[0]
            # It has no IP address, so it sends nothing by itself.
            netlink.link("set", index=index, ifalias=_written(labels), state="up")


def remove_pairs(wanted: Callable[[dict[str, str]], bool]) -> list[str]:
    """Remove the pairs whose labels a function accepts; return ``"interface NAME"`` for each.

    Raises
    ------
    DockerError
        The kernel refused.
    """
    return in_own_thread(lambda: _remove(wanted))


def _remove(wanted: Callable[[dict[str, str]], bool]) -> list[str]:
    found = {name: index for name, index, labels in _ours() if wanted(labels)}
    for name, index in found.items():
        if name.endswith("x") and name[:-1] in found:
            continue  # is removed with the other end
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
    return labels if OWNER_LABEL in labels else {}


@contextmanager
def _netlink(what: str) -> Iterator[Any]:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as netlink:
            yield netlink
    except (NetlinkError, OSError) as error:
        raise DockerError(what, why=str(error), fix="run as root (sudo)") from error

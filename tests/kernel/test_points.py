"""Which points a kernel has, and what is said of those that it lacks."""

import pytest

from cmonlab.errors import NotTraceable
from cmonlab.kernel import tracer
from cmonlab.kernel.points import CATALOGUE
from cmonlab.kernel.preflight import checks


def test_every_point_is_there_or_replaced_or_missing():
    there, missing = tracer.available(), tracer.missing()
    replaced = {point.instead_of for point in there} - {""}
    for point in CATALOGUE:
        if not point.instead_of:
            assert (point in there) + (point in missing) + (point.name in replaced) == 1, point.name


def test_one_point_tells_of_datagrams_read():
    """sock_recv_length since Linux 6.3, skb_consume_udp before; never both."""
    assert len({point.name for point in tracer.available()} & {"sock_recv_length", "skb_consume_udp"}) == 1


def test_a_point_that_this_kernel_lacks_is_refused_with_what_to_do():
    there = tracer.available()
    for point in CATALOGUE:
        if point not in there:
            with pytest.raises(NotTraceable, match=point.name) as refused:
                tracer.Tracer("udp", [point.name])
            assert refused.value.fix


def test_doctor_tells_what_stands_in():
    told = next(check.what for check in checks() if check.name == "points")
    assert told.startswith(f"{len(tracer.available())} points attach")
    for point in tracer.available():
        assert not point.instead_of or f"{point.name} stands in for {point.instead_of}" in told

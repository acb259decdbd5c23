"""What agents and clients send each other: JSON, compressed when it is long."""

import json
import random
import zlib

import pytest

from cmonlab.errors import TransportError
from cmonlab.live.agent import protocol
from cmonlab.live.agent.agent import MOST_TRACE_GAPS
from cmonlab.live.transport.subject import MAX_BYTES
from tests.support import crowd


def test_short_answers_are_plain_json_and_long_ones_are_compressed():
    assert protocol.pack({"é": 1}) == '{"é": 1}'.encode()
    long = {"rows": ["a row"] * 100_000}
    assert len(protocol.pack(long)) < 10_000 and protocol.unpack(protocol.pack(long)) == long
    assert protocol.unpack(b"") is None


def test_the_manifest_of_a_busy_agent_fits_into_a_message():
    """It has all trace gaps that an agent keeps, and the interfaces of a thousand containers."""
    at, gaps, draw = 10**15, [], random.Random(1)
    for _ in range(MOST_TRACE_GAPS):
        at += draw.randrange(10**6, 2 * 10**7)
        gaps.append({"cpu": draw.randrange(8), "start_ns": at, "end_ns": at + draw.randrange(20_000, 400_000)})
    manifest = crowd.manifest_of(1000) | {"blind": gaps}
    payload = protocol.pack(manifest)
    assert len(json.dumps(manifest)) > 2 * MAX_BYTES > 2 * len(payload)
    assert protocol.unpack(payload)["blind"] == gaps


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"{", "Expecting"),
        (b"\x78garbage", "header"),
        (zlib.compress(b"[1, 2, 3]" * 50)[:-3], "cut off"),
        (zlib.compress(bytes(65 << 20)), "longer than"),
    ],
)
def test_an_invalid_payload_is_a_transport_error(payload, why):
    with pytest.raises(TransportError, match=f"not JSON(.|\n)*{why}"):
        protocol.unpack(payload)

"""Compiled expressions give the same verdicts as libpcap's own compilation, for each packet."""

import ctypes

import pytest

from cmonlab.filters.pcapfilter import compile_expression

pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import HealthCheck, given, settings

from tests.support.expressions import (
    EXPRESSIONS,
    PCAP,
    as_program,
    compiles,
    expression,
    libpcap_program,
    packets,
    verdict,
)


def assert_agree(text: str) -> set[bool]:
    reference, program = libpcap_program(text, 1), as_program(compile_expression(text))
    try:
        verdicts = [(verdict(program, packet), verdict(reference, packet), packet) for packet in packets()]
    finally:
        PCAP.pcap_freecode(ctypes.byref(reference))
    for got, expected, packet in verdicts:
        assert got == expected, (text, packet.hex())
    return {got for got, _, _ in verdicts}


def test_listed_expressions_agree_with_libpcap():
    assert set().union(*(assert_agree(text) for text in EXPRESSIONS)) == {False, True}


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(expression.filter(compiles))
def test_any_expression_agrees_with_libpcap(text):
    assert_agree(text)

"""Valid and invalid subjects, headers and sizes of messages."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmonlab.errors import TransportError
from cmonlab.live.transport.subject import (
    MAX_BYTES,
    check_message,
    check_subject,
    matches,
    message_bytes,
    overlap,
    visible,
)


@pytest.mark.parametrize("subject", ["", " ", "a b", "a..b", ".a", "a.", "a.*", "a.>", "a\r\nPUB x 0", "ä"])
def test_invalid_subject_is_refused(subject):
    with pytest.raises(TransportError, match="is not a subject"):
        check_subject(subject)


@pytest.mark.parametrize("subject", ["", "a.>.b", "a*", "a..>", ">a", "a.>>", "a b.*"])
def test_invalid_pattern_is_refused(subject):
    with pytest.raises(TransportError, match="is not a subject"):
        check_subject(subject, wildcards=True)


@pytest.mark.parametrize("subject", ["a", "cmonlab.host-1.events", "A_b.9/x", "$JS.API"])
def test_valid_subjects_and_patterns_are_accepted(subject):
    check_subject(subject)
    for pattern in (subject, f"{subject}.*", f"*.{subject}", f"{subject}.>", "*", ">"):
        check_subject(pattern, wildcards=True)


@pytest.mark.parametrize(
    "headers",
    [
        {"a b": "c"},
        {"": "c"},
        {"a:": "c"},
        {"a": "b\r\nc: d"},
        {"a": " b"},
        {"a": "ä"},
        {"Nats-Rollup": "all"},
        {"nats-msg-id": "1"},
        {"status": "503"},
    ],
)
def test_headers_that_would_not_arrive_unchanged_are_refused(headers):
    with pytest.raises(TransportError, match="cannot be sent"):
        check_message(b"", headers)
    check_message(b"", {"Cmonlab-Epoch": "7", "Empty": ""})


def test_headers_count_towards_the_size():
    assert message_bytes(b"abc", {}) == message_bytes(b"abc", None) == 3
    # The server counts the first line, each header with its line end, and an empty line.
    assert message_bytes(b"abc", {"K": "v"}) == 3 + len("NATS/1.0\r\nK: v\r\n\r\n")
    check_message(bytes(MAX_BYTES), None)
    with pytest.raises(TransportError, match="1,048,594 bytes"):
        check_message(bytes(MAX_BYTES), {"K": "v"})


def test_headers_of_the_server_are_hidden():
    assert visible({"Nats-Msg-Id": "1", "A": "b"}) == {"A": "b"}
    assert visible(None) == {}


def test_patterns_match_as_the_server_does():
    assert matches("a.*.c", "a.b.c") and matches("a.>", "a.b.c") and matches(">", "a") and matches("a.*", "a.b")
    assert not (matches("a.>", "a") or matches("a.*", "a.b.c") or matches("a.b", "a.c") or matches("a.*", "a"))


_PATTERN = st.lists(st.sampled_from("ab*"), min_size=1, max_size=3).flatmap(
    lambda words: st.sampled_from([words, [*words, ">"]]).map(".".join)
)
_SUBJECTS = [".".join(words) for n in range(1, 6) for words in product("abc", repeat=n)]


@settings(deadline=None)
@given(_PATTERN, _PATTERN)
def test_patterns_overlap_if_a_subject_matches_both(one, other):
    both = any(matches(one, subject) and matches(other, subject) for subject in _SUBJECTS)
    assert overlap(one, other) == overlap(other, one) == both

"""Sampling: whether the confidence intervals of a sample contain the true values as often as stated.

One recording has two rules: one takes every packet, the other a tenth of them. So the reference values come from the
same events.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from cmonlab.data.analysis.stats import CONFIDENCE
from cmonlab.rules import Rule
from cmonlab.session.session import Session

from ...testbed.testbed import Testbed
from ...testbed.traffic import echo_tcp, exchange_udp, free_port, recording
from ..check import Check, Unavailable, repeat_over_trace_gaps
from ..coverage import QUANTILES, Segments, Tally, hash_of, segments_of

SHARE = 0.1
EVERY, SAMPLED = "every", "sampled"
#: Quantile → packets per window, so many that the interval of a tenth of them has two ends.
WINDOW = {0.5: 500, 0.99: 5000}
_TENTHS = [(n / 10, (n + 1) / 10) for n in range(10)]
_OTHER_SHARES = [(0.0, 0.02), (0.5, 0.55), (0.6, 0.85), (0.1, 0.6)]
_ONE_SIDED, _TWO_SIDED = 2.326, 2.576  # of a normal distribution: 1% lie beyond
_PACKETS = {"udp": 150_000, "tcp": 20_000}
_QUICK = {"udp": 40_000, "tcp": 8_000}
_PATH = ("net_dev_queue", "net_dev_start_xmit", "netif_rx", "netif_receive_skb")


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks of datagrams, then those of a TCP connection.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    quick : bool
        Fewer packets.
    """
    packets = _QUICK if quick else _PACKETS
    yield repeat_over_trace_gaps(partial(_datagrams, bed, packets["udp"]))
    yield repeat_over_trace_gaps(partial(_connection, bed, packets["tcp"]))


def _datagrams(bed: Testbed, packets: int) -> list[Check]:
    port = free_port()
    with recording(bed, _rules(f"udp port {port}")) as done:
        exchange_udp(bed, port, 64, count=packets)
    every, sampled = _parts(done.session)
    truth = segments_of(every)
    return [
        *_shares("udp", every, sampled),
        _hashes(done.session),
        _breakdowns("udp", every, sampled),
        *_windows("udp", every, truth, segments_of(sampled)),
        *_other_samples(every, truth),
    ]


def _connection(bed: Testbed, messages: int) -> list[Check]:
    port = free_port()
    with recording(bed, _rules(f"tcp port {port}")) as done:
        echo_tcp(bed, port, 64, messages)
    every, sampled = _parts(done.session)
    return [
        *_shares("tcp", every, sampled),
        _breakdowns("tcp", every, sampled),
        *_windows("tcp", every, segments_of(every), segments_of(sampled), (0.5,)),
    ]


def _rules(match: str) -> list[Rule]:
    return [Rule(name=EVERY, match=match), Rule(name=SAMPLED, match=match, sample=SHARE)]


def _parts(session: Session) -> tuple[Session, Session]:
    """Return the packets of each of the two rules."""
    return session.of_rule(EVERY), session.of_rule(SAMPLED)


def _shares(protocol: str, every: Session, sampled: Session) -> list[Check]:
    n, part = (int(session.journeys()["complete"].sum()) for session in (every, sampled))
    return [
        Check(
            "sampling",
            f"sampling: {protocol}, share in the sample",
            SHARE,
            part / n,
            "",
            _TWO_SIDED * math.sqrt(SHARE * (1 - SHARE) / n),
            f"{part:,} of {n:,} complete journeys; binomial test, two-sided, 1%",
            every.trace_gap_ns,
        )
    ]


def _hashes(session: Session) -> Check:
    """Check which datagrams are in the sample, by the hash computed again from their events."""
    events = session.events
    events = events[events["point"].isin(_PATH)]
    chosen = hash_of(events) < SHARE
    wrong = int((chosen != (events["rules"].to_numpy() >> _slot(session) & 1).astype(bool)).sum())
    return Check(
        "sampling",
        "sampling: udp, events on the wrong side of the sample's hash",
        0,
        wrong,
        "events",
        0,
        f"of {len(events):,}; the hash of bpf/packet.h, computed again from each event",
        session.trace_gap_ns,
    )


def _slot(session: Session) -> int:
    rules = session.rules()
    return int(rules["slot"][rules["name"] == SAMPLED].iloc[0])


def _breakdowns(protocol: str, every: Session, sampled: Session) -> Check:
    """Check whether the sample's intervals of the breakdown contain the values of the whole recording."""
    truth, rows = (session.breakdown().set_index(["direction", "segment"]) for session in (every, sampled))
    rows = rows.join(truth.add_suffix("_truth"), how="inner")
    missed = 0
    for name in ("p50", "p99"):
        value = rows[f"{name}_ns_truth"]
        missed += int((~value.between(rows[f"{name}_low_ns"], rows[f"{name}_high_ns"])).sum())
    trials = len(rows) * 2
    return Check(
        "sampling",
        f"sampling: {protocol}, intervals of the breakdown that miss the true value",
        0,
        missed,
        "intervals",
        _most_missed(trials),
        f"of {trials}, from one sample; the tolerance is exceeded with a probability of 1% (binomial)",
        every.trace_gap_ns,
    )


def _most_missed(trials: int) -> int:
    """Return the 99% quantile of the number of misses in `trials` intervals (binomial)."""
    chance, reached, most = CONFIDENCE**trials, 0.0, 0
    while (reached := reached + chance) < 0.99:
        chance *= (trials - most) / (most + 1) * (1 - CONFIDENCE) / CONFIDENCE
        most += 1
    return most


def _windows(
    protocol: str, every: Session, truth: Segments, sample: Segments, quantiles: Sequence[float] = QUANTILES
) -> Iterator[Check]:
    """Yield checks of the coverage of the recorded sample's intervals, by window."""
    for quantile in quantiles:
        tally = Tally(quantile)
        tally.add(truth, sample, WINDOW[quantile], SHARE)
        yield _covered(
            f"sampling: {protocol}, p{100 * quantile:g}", tally, every.trace_gap_ns, "the sample as recorded"
        )


def _other_samples(every: Session, truth: Segments) -> Iterator[Check]:
    """Yield the same for the samples that other thresholds of the same hash would take from these packets."""
    events = every.events
    first = events[events["point"] == _PATH[0]].drop_duplicates("seq")
    drawn = dict(zip(first["seq"].tolist(), hash_of(first), strict=True))
    place = np.array([drawn[number] for number in truth.seq.tolist()])
    for name, ranges in (("other tenths", _TENTHS), ("other shares", _OTHER_SHARES)):
        for quantile in QUANTILES:
            tally = Tally(quantile)
            for low, high in ranges:
                chosen = truth.of((place >= low) & (place < high))
                tally.add(truth, chosen, WINDOW[quantile], high - low)
            note = f"{len(ranges)} samples that other thresholds of the hash take from the recorded packets"
            yield _covered(f"sampling: udp, p{100 * quantile:g}, {name}", tally, every.trace_gap_ns, note)


def _covered(name: str, tally: Tally, trace_gap_ns: int, how: str) -> Check:
    """Check by how much the coverage of the intervals is below the stated one."""
    return Check(
        "sampling",
        f"{name}: coverage below the stated {100 * CONFIDENCE:g}%",
        0,
        float(np.maximum(0.0, CONFIDENCE - tally.coverage)),
        "",
        _ONE_SIDED * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / max(tally.samples, 1)),
        f"{how}; {100 * tally.coverage:.2f}% of {tally.trials:,} intervals (window, segment) contain the true value,"
        f" {100 * tally.stated:.0f}% have two ends; one-sided binomial test, 1%, with as many trials as samples of"
        f" packets ({tally.samples:,}), because segments of one sample are not independent",
        trace_gap_ns,
    )

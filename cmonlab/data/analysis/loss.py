"""Packet loss, TCP retransmissions and round trip times."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmonlab.schema import columns

from ..correlation.correlate import Journeys, Stages, retransmissions
from ..correlation.order import Columns
from .category import labelled
from .journeys import OUTCOMES, began, endpoints
from .names import Names
from .traffic import carriers

_US_NS = 1000
_MOST_PLACES = 8
_FLOW = ("direction", "proto", "sport", "dport")


def repeated(
    events: Columns, found: Journeys, names: Names, stages: Stages, journeys: pd.DataFrame, drops: pd.DataFrame
) -> pd.DataFrame:
    """Return one row per retransmission.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    found : Journeys
        From `correlate.correlate`.
    names : Names
        Names of the recording.
    stages : Stages
        The stage of each point.
    journeys, drops : pandas.DataFrame
        The tables ``journeys`` and ``drops`` of the session.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("retransmissions")``.

    Notes
    -----
    The kernel reports each retransmission if its point was traced. Otherwise a journey is a retransmission if an
    earlier journey of the flow carried its first byte; retransmissions whose original was not seen are then missing.
    """
    reported = bool(stages.retransmit)
    if reported:
        event, journey, original = retransmissions(events, found, stages)
    else:
        journey = np.flatnonzero(found.repeats >= 0)
        event, original = found.first_tx[journey], found.repeats[journey]
    size = events["aux"][event] if reported else journeys["payload_bytes"].to_numpy()[journey]
    fate = _fate(found, journeys, original, events["seq"][event])
    known = fate >= 0
    outcome = np.where(known, journeys["outcome"].cat.codes.to_numpy()[fate], -1) if len(found) else fate
    sent_ns = events["ts_ns"][found.first_tx[original]] if len(found) else original
    words = [OUTCOMES.index(word) for word in ("delivered", "arrived")]
    return pd.DataFrame(
        {
            "ts_ns": events["ts_ns"][event],
            "direction": endpoints(events, event, event, names)[2],
            **{name: events[name][event] for name in ("sport", "dport", "seq")},
            "payload_bytes": size.astype(np.uint32),
            "journey": journey,
            "original": original,
            "delay_ns": np.where(original >= 0, events["ts_ns"][event] - sent_ns, -1),
            "original_outcome": labelled(outcome, lambda code: OUTCOMES[code] if code >= 0 else ""),
            "spurious": np.isin(outcome, words),
            "place": _ends(events, found, names, drops, fate),
            "drop_reason": _reason(journeys, fate),
        },
        copy=False,
    )[columns("retransmissions")]


def _fate(found: Journeys, journeys: pd.DataFrame, original: np.ndarray, seq: np.ndarray) -> np.ndarray:
    """Return the journey in which the first byte ended, -1 if the original is -1.

    Of a packet that was split, this is one of its parts; of a merged packet, the one that it was merged into.
    """
    if len(found) == 0:
        return original
    first_byte = journeys["seq"].to_numpy()
    part = np.flatnonzero(found.segmented_from >= 0)

    def place(parent: np.ndarray, at: np.ndarray) -> np.ndarray:
        return parent << 32 | (at - first_byte[parent]).astype(np.int64)  # unsigned: modulo 2**32

    key = place(found.segmented_from[part], first_byte[part])
    order = np.argsort(key)
    fate = original.copy()
    split = np.flatnonzero((original >= 0) & found.split[original])
    if len(part):
        at = np.searchsorted(key[order], place(original[split], seq[split]), side="right") - 1
        child = part[order[np.maximum(at, 0)]]
        good = (at >= 0) & (found.segmented_from[child] == original[split])
        fate[split[good]] = child[good]
    whole = carriers(found, journeys["outcome"] == "merged")
    return np.where(fate >= 0, whole[fate], -1)


def _ends(events: Columns, found: Journeys, names: Names, drops: pd.DataFrame, journey: np.ndarray) -> pd.Categorical:
    """Return the interface on which each journey was last seen, empty for -1."""
    if len(found) == 0:
        return pd.Categorical([""] * len(journey))
    last = found.arrival[journey]
    word = events["netns"][last].astype(np.uint64) << np.uint64(32) | events["ifindex"][last]
    place = labelled(word, lambda word: names.place(word >> 32, word & 0xFFFFFFFF))
    dropped = dict(zip(drops["journey"].tolist(), drops["place"].astype(object), strict=True)) | {-1: ""}
    return pd.Categorical([dropped.get(number, seen) for number, seen in zip(journey.tolist(), place, strict=True)])


def _reason(journeys: pd.DataFrame, journey: np.ndarray) -> pd.Categorical:
    reasons = journeys["drop_reason"].astype(object).to_numpy()
    return pd.Categorical(np.where(journey >= 0, reasons[journey], "") if len(reasons) else [""] * len(journey))


def rtt(events: Columns, names: Names, stages: Stages) -> pd.DataFrame:
    """Return TCP's smoothed round trip times, one row per event of ``tcp_probe``.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    names : Names
        Names of the recording.
    stages : Stages
        The stage of each point.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("rtt")``.
    """
    at = np.flatnonzero(stages.of("rtt", events["point"]))
    return pd.DataFrame(
        {
            "ts_ns": events["ts_ns"][at],
            "direction": endpoints(events, at, at, names)[2],
            **{name: events[name][at] for name in ("sport", "dport")},
            "srtt_ns": events["aux"][at].astype(np.int64) * _US_NS,
        },
        copy=False,
    )[columns("rtt")]


def by_direction(
    events: Columns,
    found: Journeys,
    names: Names,
    stages: Stages,
    journeys: pd.DataFrame,
    drops: pd.DataFrame,
    repeated: pd.DataFrame,
) -> pd.DataFrame:
    """Return the outcomes of the packets of each direction.

    Parameters
    ----------
    events, found, names, stages
        As for `repeated`.
    journeys, drops, repeated : pandas.DataFrame
        The tables ``journeys``, ``drops`` and ``retransmissions`` of the session.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("loss")``.

    Notes
    -----
    A filter at the source (tc, netfilter) may drop a packet before it reaches a device. Such a packet has no journey
    and is counted by its drop.
    """
    every = fates(events, found, names, stages, journeys, drops)
    counts = pd.crosstab(every["direction"], every["outcome"]).reindex(columns=OUTCOMES, fill_value=0)
    counts["packets"] = counts[OUTCOMES].sum(axis=1)
    whole = counts["packets"] - counts["merged"] - counts["split"]
    counts["loss"] = counts["dropped"] / whole.where(whole > 0)
    again = repeated["direction"].astype(str).value_counts()
    counts["retransmissions"] = again.reindex(counts.index, fill_value=0)
    gone = every[every["outcome"].isin(["dropped", "unfinished"])]
    lost, refused = gone[gone["journey"] >= 0], gone[gone["journey"] < 0]
    ends = _ends(events, found, names, drops, lost["journey"].to_numpy())
    reasons = journeys["drop_reason"].astype(str).to_numpy()[lost["journey"]]
    lost = lost.assign(place=np.asarray(ends, object), why=np.where(reasons == "", "not seen to end", reasons))
    lost = pd.concat([lost, refused])
    places = {direction: _ranking(rows) for direction, rows in lost.groupby("direction")}
    counts["places"] = [places.get(direction, "") for direction in counts.index]
    counts = counts.rename_axis(columns=None).reset_index()
    return counts.astype({"direction": "category"})[columns("loss")]


def fates(
    events: Columns, found: Journeys, names: Names, stages: Stages, journeys: pd.DataFrame, drops: pd.DataFrame
) -> pd.DataFrame:
    """Return one row per packet that `by_direction` counts.

    Parameters
    ----------
    events, found, names, stages, journeys, drops
        As for `by_direction`.

    Returns
    -------
    pandas.DataFrame
        journey (-1 if none), start_ns (ns), direction, proto, sport, dport and outcome. Packets that their source
        dropped before they had a journey are at the end, with place and why.
    """
    sent = journeys.loc[began(events, found, names), ["journey", "start_ns", *_FLOW, "outcome"]]
    words = dict.fromkeys(("direction", "proto", "outcome"), str)
    return pd.concat([sent.astype(words), _refused(events, names, stages, drops)])


def _refused(events: Columns, names: Names, stages: Stages, drops: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `fates` that have no journey."""
    at = np.flatnonzero(stages.of("drop", events["point"]))
    home = np.isin(events["netns"][at].astype(np.uint64) << np.uint64(32) | events["saddr"][at], names.local)
    rows = drops[home & (drops["journey"].to_numpy() < 0)]
    words = {"direction": rows["direction"], "proto": rows["proto"], "place": rows["place"], "why": rows["reason"]}
    frame = {name: column.astype(str) for name, column in words.items()} | {"outcome": "dropped"}
    ports = {name: rows[name] for name in ("sport", "dport")}
    return pd.DataFrame({"journey": rows["journey"], "start_ns": rows["ts_ns"], **ports, **frame})


def _ranking(lost: pd.DataFrame) -> str:
    """Return the places of losses in one direction as text: drops first, then by frequency."""
    ranking = lost.value_counts(["outcome", "place", "why"]).reset_index()
    ranking = ranking.sort_values(["outcome", "count"], ascending=[True, False], kind="stable")
    words = [f"{row.place} {row.why} ×{row.count:,}" for row in ranking.head(_MOST_PLACES).itertuples(index=False)]
    more = len(ranking) - len(words)
    return ", ".join(words + ([f"{more} more"] if more else []))

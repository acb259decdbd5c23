"""Perfetto traces: read back, their slices are the segments of the journeys that were chosen."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from cmonlab.errors import ExportError, UnknownName
from cmonlab.session.export.choice import choose
from cmonlab.session.export.lanes import lanes
from cmonlab.session.export.perfetto import perfetto
from cmonlab.session.session import Session
from tests.support.events import bulk, manifest

OFFSET_NS = 1_795_385_248_167_200_778


@pytest.fixture(scope="module")
def session():
    """A session of synthetic packets, several in flight at a time."""
    return Session(bulk(300), manifest(trace_gap_ns=5) | {"clock": {"realtime_offset_ns": OFFSET_NS}})


class Read:
    """A trace: names of tracks with those above them, and slices and counters by track."""

    def __init__(self, path):
        self.trace = Trace()
        self.trace.ParseFromString(path.read_bytes())
        tracks = {
            p.track_descriptor.uuid: p.track_descriptor for p in self.trace.packet if p.HasField("track_descriptor")
        }
        self.names = {uuid: self._name(tracks, uuid) for uuid in tracks}
        self.slices, self.counts, running, last = defaultdict(list), defaultdict(list), {}, 0
        for packet in self.trace.packet:
            if not packet.HasField("track_event"):
                continue
            event, ts = packet.track_event, packet.timestamp
            assert ts >= last, "events stand in order of time"
            last, name = ts, self.names[event.track_uuid]
            if event.type == TrackEvent.TYPE_SLICE_BEGIN:
                assert event.track_uuid not in running, f"slices overlap on {name}"
                running[event.track_uuid] = (ts, event)
            elif event.type == TrackEvent.TYPE_SLICE_END:
                start, begun = running.pop(event.track_uuid)
                self.slices[name].append((start, ts, begun))
            else:
                self.counts[name].append((ts, event.double_counter_value))
        assert not running, "every slice ends"

    @staticmethod
    def _name(tracks, uuid):
        above = tracks[uuid].parent_uuid
        return (*(Read._name(tracks, above) if above else ()), tracks[uuid].name)

    def of(self, root):
        return [one for name, slices in self.slices.items() if name[0] == root for one in slices]


def test_slices_are_the_segments_at_their_places_and_times(session, tmp_path):
    read = Read(perfetto(session, tmp_path / "all.perfetto-trace", journeys=None))
    hops = session.hops(list(range(300)))
    hops = hops[hops["segment"].astype(str) != ""]
    wanted = sorted(
        (
            row.journey + 1,
            row.ts_ns - row.segment_ns,
            row.ts_ns,
            row.segment,
            row.segment.split(" → ")[0].rsplit(" ", 1)[0],
        )
        for row in hops.itertuples()
    )
    found = sorted(
        (begun.flow_ids[0], start, end, begun.name, f"{name[0]}:{name[1].split(' ')[0]}".removesuffix(":sockets"))
        for name, slices in read.slices.items()
        if name[0] in ("c0", "c1", "host")
        for start, end, begun in slices
    )
    assert found == wanted and len(found) > 2000


def test_journey_is_a_slice_around_its_segments(session, tmp_path):
    read = Read(perfetto(session, tmp_path / "all.perfetto-trace", journeys=[5, 250]))
    journeys = {begun.flow_ids[0] - 1: (start, end, begun) for start, end, begun in read.of("journeys")}
    assert journeys.keys() == {5, 250}
    for number, (start, end, begun) in journeys.items():
        row = session.journeys().iloc[number]
        assert (start, end - start) == (row.start_ns, row.one_way_delay_ns)
        notes = {note.name: note.string_value for note in begun.debug_annotations}
        assert (notes["outcome"], notes["path"]) == (row.outcome, row.path)
        mine = [s for root in ("c0", "c1", "host") for s in read.of(root) if s[2].flow_ids[0] == number + 1]
        assert sum(to - since for since, to, _ in mine) == row.one_way_delay_ns
        assert min(since for since, *_ in mine) == start and max(to for _, to, _ in mine) == end


def test_trace_has_the_choice_lost_events_and_the_clock(session, tmp_path):
    read = Read(perfetto(session, tmp_path / "some.perfetto-trace", journeys=10))
    [(start, end, begun)] = read.slices[("recording",)]
    notes = {note.name: note.string_value or note.int_value for note in begun.debug_annotations}
    ts = session.events["ts_ns"]
    assert (start, end) == (ts.iloc[0], ts.iloc[-1])
    assert notes["shown"].startswith("10 of 300 journeys") and notes["lost_events"] == 0 and notes["trace_gap_ns"] == 5
    assert len(read.of("journeys")) == 10
    assert [s[:2] for s in read.slices[("recording", "CPU 0 trace gaps")]] == [(0, 5)]
    clocks = {clock.clock_id: clock.timestamp for clock in read.trace.packet[0].clock_snapshot.clocks}
    assert clocks[1] - clocks[3] == OFFSET_NS


def test_throughput_is_that_of_all_journeys(session, tmp_path):
    read = Read(perfetto(session, tmp_path / "some.perfetto-trace", journeys=10))
    table = session.throughput()
    assert [value for _, value in read.counts[("throughput", "c1 → c0")]] == table["throughput_bps"].tolist()


def test_choice_is_the_tail_and_a_sample(session):
    table = session.journeys()
    chosen = choose(table, 20)
    slowest = table[table["complete"]].nlargest(10, "one_way_delay_ns")["journey"]
    assert len(set(chosen)) == 20 and set(slowest) <= set(chosen) and (np.diff(chosen) > 0).all()
    rest = sorted(set(chosen) - set(slowest))
    assert rest[0] < 30 and rest[-1] > 270
    assert choose(table, 300).tolist() == choose(table, None).tolist() == choose(table, 10**6).tolist() == [*range(300)]
    with pytest.raises(ExportError, match="choose 1 or more"):
        choose(table, 0)
    with pytest.raises(UnknownName, match="0 to 299"):
        choose(table, [-1])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=40))
def test_lanes_have_no_overlaps_and_are_as_few_as_possible(slices):
    start = np.array([begin for begin, _ in slices], np.int64)
    end = start + np.array([size for _, size in slices], np.int64)
    lane = lanes(start, end)
    order = np.lexsort((end, start))
    for number in range(int(lane.max(initial=-1)) + 1):
        mine = order[lane[order] == number]
        assert len(mine) and (end[mine][:-1] <= start[mine][1:]).all()
    at_once = max((int(((start <= t) & (end > t)).sum()) for t in range(40)), default=0)
    assert int(lane.max(initial=-1)) + 1 <= max(at_once, 1) + int((end == start).any())

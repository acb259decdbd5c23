"""A Perfetto trace, put together event by event."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

_MONOTONIC, _REALTIME, _BOOTTIME = 3, 1, 6  # perfetto's BuiltinClock
_SEQUENCE = 1


class Trace:
    """Tracks, slices and counters.

    Parameters
    ----------
    begin_ns : int
        CLOCK_MONOTONIC, to relate the clocks at.
    realtime_offset_ns : int, optional
        Wall clock less CLOCK_MONOTONIC, where it is known.
    """

    def __init__(self, begin_ns: int, realtime_offset_ns: int | None = None):
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as protos

        self._event, self._trace, self._tracks = protos.TrackEvent, protos.Trace(), 0
        self._events: list[tuple[int, Any]] = []  # (time, packet)
        packet = self._trace.packet.add(trusted_packet_sequence_id=_SEQUENCE)
        packet.sequence_flags = protos.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
        packet.trace_packet_defaults.timestamp_clock_id = _MONOTONIC
        snapshot = packet.clock_snapshot
        snapshot.primary_trace_clock = _MONOTONIC
        # Perfetto's own clock is BOOTTIME, which differs only by suspended time: it is set to be the same.
        for clock, offset in ((_MONOTONIC, 0), (_BOOTTIME, 0), (_REALTIME, realtime_offset_ns)):
            if offset is not None:
                snapshot.clocks.add(clock_id=clock, timestamp=begin_ns + offset)

    def track(self, name: str, parent: int = 0, *, order: int | None = None) -> int:
        """Add a track, below another one, and return its number; `order` is its rank among its siblings."""
        return self._descriptor(name, parent, order).uuid

    def counter(self, name: str, unit: str, parent: int = 0) -> int:
        """Add a track of numbers, and return its number."""
        track = self._descriptor(name, parent, None)
        track.counter.unit_name = unit
        return track.uuid

    def _descriptor(self, name: str, parent: int, order: int | None):
        self._tracks += 1
        track = self._trace.packet.add(trusted_packet_sequence_id=_SEQUENCE).track_descriptor
        track.uuid, track.name = self._tracks, name
        if parent:
            track.parent_uuid = parent
        if order is not None:
            track.sibling_order_rank = order
        return track

    def slice(
        self, track: int, name: str, start_ns: int, end_ns: int, facts: Mapping[str, Any] | None = None, flow: int = 0
    ) -> None:
        """Add a slice. Those of one track do not overlap, and are added in order of time.

        Parameters
        ----------
        track : int
        name : str
        start_ns, end_ns : int
            CLOCK_MONOTONIC.
        facts : mapping, optional
            What is shown of it besides: str, bool, int.
        flow : int
            What is of one flow is joined by arrows; 0 none.
        """
        event = self._add(start_ns, self._event.TYPE_SLICE_BEGIN, track)
        event.name = name
        if flow:
            event.flow_ids.append(flow)
        for key, value in (facts or {}).items():
            note = event.debug_annotations.add(name=key)
            if isinstance(value, str):
                note.string_value = value
            elif isinstance(value, bool):
                note.bool_value = value
            else:
                note.int_value = int(value)
        self._add(end_ns, self._event.TYPE_SLICE_END, track)

    def count(self, track: int, ts_ns: int, value: float) -> None:
        """Add a value of a counter."""
        self._add(ts_ns, self._event.TYPE_COUNTER, track).double_counter_value = value

    def _add(self, ts_ns: int, kind: int, track: int):
        packet = type(self._trace.packet[0])(timestamp=int(ts_ns), trusted_packet_sequence_id=_SEQUENCE)
        packet.track_event.type, packet.track_event.track_uuid = kind, track
        self._events.append((int(ts_ns), packet))
        return packet.track_event

    def serialized(self) -> bytes:
        """Return the trace, events in order of time."""
        for _, packet in sorted(self._events, key=itemgetter(0)):
            self._trace.packet.append(packet)
        return self._trace.SerializeToString()

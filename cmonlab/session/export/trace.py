"""A Perfetto trace, built event by event (protobuf messages of perfetto's ``TracePacket``)."""

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
        CLOCK_MONOTONIC at which the clocks are related to each other.
    realtime_offset_ns : int, optional
        Wall clock minus CLOCK_MONOTONIC, if it is known.
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
        """Add a track and return its number.

        Parameters
        ----------
        name : str
        parent : int
            Track below which it is shown; 0: none.
        order : int, optional
            Its rank among the tracks of that parent.
        """
        return self._descriptor(name, parent, order).uuid

    def counter(self, name: str, unit: str, parent: int = 0) -> int:
        """Add a track for a counter and return its number.

        Parameters
        ----------
        name : str
        unit : str
            Unit of the values, for instance ``"bit/s"``.
        parent : int
            Track below which it is shown; 0: none.
        """
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
        self,
        track: int,
        name: str,
        start_ns: int,
        end_ns: int,
        facts: Mapping[str, str | bool | int] | None = None,
        flow: int = 0,
    ) -> None:
        """Add a slice. Slices of one track must not overlap and must be added in order of time.

        Parameters
        ----------
        track : int
            Number of its track.
        name : str
        start_ns, end_ns : int
            CLOCK_MONOTONIC.
        facts : mapping of str to (str, bool or int), optional
            Shown as the arguments of the slice.
        flow : int
            Arrows join the slices of one flow; 0: no flow.
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
        """Add a value of a counter.

        Parameters
        ----------
        track : int
            Number of the counter's track.
        ts_ns : int
            CLOCK_MONOTONIC.
        value : float
            In the unit of the track.
        """
        self._add(ts_ns, self._event.TYPE_COUNTER, track).double_counter_value = value

    def _add(self, ts_ns: int, kind: int, track: int):
        packet = type(self._trace.packet[0])(timestamp=int(ts_ns), trusted_packet_sequence_id=_SEQUENCE)
        packet.track_event.type, packet.track_event.track_uuid = kind, track
        self._events.append((int(ts_ns), packet))
        return packet.track_event

    def serialized(self) -> bytes:
        """Return the trace as a file has it, with its events in order of time."""
        for _, packet in sorted(self._events, key=itemgetter(0)):
            self._trace.packet.append(packet)
        return self._trace.SerializeToString()

"""A simulated network of two containers: events, and the true journey of each packet.

There are few buffers, which are reused. Several packets are in flight at the same time, sockets are read at random
times, TCP merges and repeats segments, and some frees are not recorded. Sockets may have the numbers of buffers.
"""

from __future__ import annotations

import numpy as np

from tests.support.events import (
    A0,
    A1,
    BASE,
    C0,
    C1,
    CONSUME,
    DELIVER,
    DROP,
    GRO,
    HOST,
    PATH,
    QUEUE,
    READ,
    RECEIVE,
    RETRANSMIT,
    RUN,
    RX,
    SEND,
    TCP,
    UDP,
    WAKE,
    XMIT,
    columns,
)
from tests.support.packet import Packet

GATEWAY = 0x01004D0A
IN, OUT = PATH[:4], ((HOST, 3, QUEUE), (HOST, 3, XMIT))
OLD_DATA = 3


class Network:
    """Simulates packets from c1 to c0.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all random decisions.
    buffers : int
        Number of buffer addresses.
    alike : bool
        Whether all datagrams of a flow look alike.
    gro : bool
        Whether c0 merges TCP segments.
    sockets : bool
        Whether sends, retransmissions, TCP reads, and wake-ups and runs of the reading tasks are recorded; otherwise
        copies out of TCP's buffers are.
    segment : int
        Payload bytes of the largest segment.
    """

    def __init__(
        self,
        rng,
        buffers: int = 4,
        *,
        alike=False,
        gro=False,
        sockets=False,
        segment=1448,
        loss=0.05,
        repeat=0.05,
        first_seq=2**32 - 5000,
    ):
        self.rng, self.alike, self.gro, self.segment, self.loss, self.repeat = rng, alike, gro, segment, loss, repeat
        self.sockets, self.nat = sockets, bool(rng.random() < 0.3)
        self.free = [BASE + 4 * number for number in range(buffers)]
        self.busy: list[Packet] = []
        self.packets: list[Packet] = []
        self.rows: list[dict] = []
        self.owner: list[int] = []  # packet of each event, -1 none
        self.queue: list[Packet] = []  # the UDP socket's
        self.sent = self.expected = self.taken = first_seq  # TCP stream positions
        self.window = 2**30  # RFC 7323's largest
        self.unsent: list[tuple[int, int]] = []
        self.early: dict[int, Packet] = {}
        self.arrived: set[int] = set()
        self.stream: list[Packet] = []
        self.delivery: dict[int, int] = {}  # packet → event that delivered it
        self.written = first_seq
        self.calls: list[tuple[int, int, int]] = []  # first byte, end, event
        self.turns: dict[int, dict[int, int]] = {TCP: {}, UDP: {}}  # of the reader: point → event, since the last read
        self.scheduled: dict[int, dict[int, int]] = {}  # read → point → event
        self.said: dict[int, int] = {}  # retransmit event → packet

    def run(self, packets: int) -> None:
        """Send this number of packets, and continue until all have ended."""
        left = packets
        while left or self.busy or self.unsent:
            if not self.free and self.unsent:  # for the retransmission that others wait for
                self.free.append(BASE + 2**14 + 4 * len(self.packets))
            actions = [self._move] * 6 + [self._read, self._copy] + [self._turn] * self.sockets
            if self.free and ((left and self.sent - self.taken < self.window) or self.unsent):
                actions += [self._send] * 2
            if self.free and self.busy and not self.alike and self.rng.random() < 0.1:
                actions.append(self._tap)
            action = actions[self.rng.integers(len(actions))]
            if action == self._send:
                left -= bool(left) and not self.unsent
            action()

    # ---- events ------------------------------------------------------------

    def _event(self, packet: Packet, netns: int, ifindex: int, point: int, hop: bool = True, **changes) -> int:
        self.rows.append(packet.fields | {"netns": netns, "ifindex": ifindex, "point": point, "detail": 1} | changes)
        self.owner.append(packet.number)
        if hop:
            packet.hops.append(len(self.rows) - 1)
        return len(self.rows) - 1

    def columns(self, keep: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return the events, all or those marked in `keep`."""
        rows = self.rows
        ts = 10**12 + np.cumsum(self.rng.integers(1, 1000, len(rows)))  # no two at the same time
        names = {name for row in rows for name in row}
        table = {name: np.array([row.get(name, 0) for row in rows], np.uint64) for name in names}
        table |= {"ts_ns": ts, "cpu": self.rng.integers(0, 4, len(rows))}
        for read, turns in self.scheduled.items():
            table["aux"][list(turns.values())] = ts[read] % 2**32
        if keep is not None:
            table = {name: values[keep] for name, values in table.items()}
        return columns(table, len(table["ts_ns"]))

    def journeys(self) -> set[tuple[int, ...]]:
        """Return the events of each journey: send, hops, wake-up and run of the reader, delivery."""
        return {(*self._sent(p), *p.hops, *self._read_of(p)) for p in self.packets}

    def original(self, packet: Packet) -> Packet:
        """Return the packet that first carried these bytes."""
        same = [p for p in self.packets if (p.fields["proto"], p.position) == (packet.fields["proto"], packet.position)]
        return min(same, key=lambda p: p.hops[0])

    def _sent(self, packet: Packet) -> list[int]:
        if packet.fields["proto"] != TCP or self.original(packet) is not packet:
            return []
        last = packet.position + packet.payload - 1
        return [event for begin, end, event in self.calls if begin <= last < end]

    def _read_of(self, packet: Packet) -> list[int]:
        if packet.number not in self.delivery:
            return []
        read, before = self.delivery[packet.number], packet.hops[-1]
        turns = self.scheduled.get(read, {})
        wake, run = turns.get(WAKE, -1), turns.get(RUN, -1)
        return [*([wake] if before < wake < run else []), *([run] if before < run else []), read]

    # ---- actions -------------------------------------------------------------

    def _send(self) -> None:
        rng = self.rng
        skb = self.free.pop(rng.integers(len(self.free)))
        nat = self.nat if self.sockets else bool(rng.random() < 0.3)  # all segments of a socket take one path
        fields = {
            "skb": skb,
            "saddr": A1,
            "daddr": GATEWAY if nat else A0,
            "sport": 40000,
            "ident": len(self.packets) % 65536,
        }
        again = bool(self.unsent)
        if again or rng.random() < 0.5:
            if again:
                position, payload = self.unsent.pop(0)
            else:
                position, payload = self.sent, int(rng.integers(1, self.segment + 1))
                self.sent += payload
                self._write()
            if again and self.sockets:
                event = self._of_socket(TCP, C1, RETRANSMIT, **self._peer(), seq=position % 2**32, aux=payload)
                self.said[event] = len(self.packets)
            fields |= {
                "dport": 8080 if nat else 80,
                "proto": TCP,
                "seq": position % 2**32,
                "len_bytes": payload + 52,
                "shape": 13 << 3,
            }
        else:
            position, payload = 0, 40
            fields |= {
                "dport": 8053 if nat else 53,
                "proto": UDP,
                "seq": int(rng.integers(2**32)),
                "len_bytes": 68,
                "shape": 7 << 3,
            }
            if self.alike:
                fields |= {"seq": 77, "ident": 0}
        packet = Packet(len(self.packets), fields, payload, nat, bool(rng.random() < self.loss))
        packet.position, packet.once = position, not again
        end = [(C0, 2, GRO)] if self.gro and fields["proto"] == TCP else [(C0, 2, RX)]
        packet.path = [*IN, *OUT, *end, (C0, 2, RECEIVE)]
        if fields["proto"] == TCP and not packet.lost and rng.random() < self.repeat:
            self.unsent.append((position, payload))  # it is late, not lost
            packet.once = False
        self.packets.append(packet)
        self.busy.append(packet)

    def _move(self) -> None:
        moving = [packet for packet in self.busy if packet.path]
        if not moving:
            return
        packet = moving[self.rng.integers(len(moving))]
        netns, ifindex, point = packet.path.pop(0)
        if packet.nat and (netns, point) == (HOST, QUEUE):
            packet.fields = packet.fields | {"daddr": A0, "dport": 80 if packet.fields["proto"] == TCP else 53}
        if packet.lost and (netns, point) == (HOST, XMIT):
            packet.path = []
            self._event(packet, HOST, 3, DROP, detail=2)
            if packet.fields["proto"] == TCP:
                self.unsent.append((packet.position, packet.payload))
            return self._end(packet, seen=False)
        if point == RECEIVE and netns == C0:
            size = packet.fields["len_bytes"] + sum(p.payload for p in packet.holds)
            self._event(packet, netns, ifindex, point, len_bytes=size)
            return self._arrive(packet)
        self._event(packet, netns, ifindex, point)
        if point == GRO:
            self._merge(packet)

    def _merge(self, packet: Packet) -> None:
        for head in self.busy if packet.once else []:
            ends = head.position + head.payload + sum(p.payload for p in head.holds)
            if (
                head.once
                and head is not packet
                and head.path == [(C0, 2, RECEIVE)]
                and ends == packet.position
                and head.fields["proto"] == TCP
            ):
                head.holds.append(packet)
                packet.path = []
                return self._end(packet, seen=False)

    def _arrive(self, packet: Packet) -> None:
        if packet.fields["proto"] == UDP:
            self.queue.append(packet)
            return
        if packet.position in self.arrived:
            self._event(packet, C0, 2, DROP, detail=OLD_DATA)
            return self._end(packet, seen=False)
        self.arrived.update(p.position for p in (packet, *packet.holds))
        self.early[packet.position] = packet
        packet.bytes = [packet, *packet.holds]
        while self.expected in self.early:
            ready = self.early.pop(self.expected)
            size = sum(p.payload for p in ready.bytes)
            self.expected += size
            if self.stream and self.rng.random() < 0.4:  # the last buffer of the queue takes the bytes
                self.stream[-1].bytes += ready.bytes
                self._end(ready, seen=False)
            else:
                self.stream.append(ready)

    def _of_socket(self, proto: int, netns: int, point: int, **fields) -> int:
        socket = Packet(-1, {"skb": BASE + 4 * (proto == UDP), "proto": proto}, 0)
        return self._event(socket, netns, 0, point, **fields)

    def _peer(self) -> dict:
        return {"saddr": A1, "daddr": GATEWAY if self.nat else A0, "sport": 40000, "dport": 8080 if self.nat else 80}

    def _write(self) -> None:
        """Let the application write the bytes to send; a call may accept fewer bytes than it was given."""
        while self.sockets and self.written < self.sent:
            total = int(self.rng.integers(1, 4 * self.segment))
            taken = total if self.rng.random() < 0.7 else int(self.rng.integers(0, total + 1))
            end, loops = self.written + total, sorted({0, int(self.rng.integers(0, taken + 1))})
            events = [
                self._of_socket(TCP, C1, SEND, **self._peer(), seq=(self.written + done) % 2**32, aux=total - done)
                for done in loops
            ]
            begin, self.written = self.written, self.written + taken
            if self.calls and self.asked == end:  # looks like one call
                self.calls[-1] = (self.calls[-1][0], self.written, self.calls[-1][2])
            else:
                self.calls.append((begin, self.written, events[0]))
            self.asked = end

    def _turn(self) -> None:
        proto, point = int(self.rng.choice([TCP, UDP])), int(self.rng.choice([WAKE, RUN]))
        if point not in self.turns[proto]:
            self.turns[proto][point] = self._of_socket(proto, C0, point)

    def _socket_read(self, proto: int, **fields) -> int:
        event = self._of_socket(proto, C0, READ, **fields)
        self.scheduled[event], self.turns[proto] = self.turns[proto], {}
        return event

    def _read(self) -> None:
        if self.queue:
            packet = self.queue.pop(0)
            size = packet.payload
            event = self._socket_read(UDP, dport=53, len_bytes=size, aux=size, detail=len(self.queue))
            self.delivery[packet.number] = event
            self._end(packet, seen=bool(self.rng.random() < 0.5))

    def _copy(self) -> None:
        wanted = min(int(self.rng.integers(1, 4 * self.segment)), self.expected - self.taken)
        read = None
        if self.sockets and wanted:
            flow = {"saddr": A1, "daddr": A0, "sport": 40000, "dport": 80}
            read = self._socket_read(TCP, **flow, seq=self.taken % 2**32, aux=wanted)
        while wanted > 0:
            buffer = self.stream[0]
            held = sum(p.payload for p in buffer.bytes)
            amount = min(wanted, held - buffer.taken)
            event = read if self.sockets else self._event(buffer, C0, 0, DELIVER, hop=False, aux=amount)
            ends = np.cumsum([p.payload for p in buffer.bytes])
            for segment, end in zip(buffer.bytes, ends, strict=True):
                if buffer.taken < end <= buffer.taken + amount:
                    self.delivery[segment.number] = event
            buffer.taken += amount
            self.taken += amount
            wanted -= amount
            if buffer.taken == held:
                self._end(self.stream.pop(0), seen=bool(self.rng.random() < 0.5))

    def _tap(self) -> None:
        """Let a capture tool receive a clone, perhaps copy it, and free it."""
        packet = self.busy[self.rng.integers(len(self.busy))]
        clone = Packet(-1, packet.fields | {"skb": self.free[self.rng.integers(len(self.free))]}, 0)
        if self.rng.random() < 0.5:
            self._event(clone, C0, 0, DELIVER, hop=False, aux=packet.fields["len_bytes"] + 14)
        self._event(clone, C0, 0, CONSUME, hop=False)

    def _end(self, packet: Packet, seen: bool) -> None:
        if seen:
            self._event(packet, C0, 0, CONSUME, hop=False)
        if packet in self.busy:
            self.busy.remove(packet)
            self.free.append(packet.fields["skb"])

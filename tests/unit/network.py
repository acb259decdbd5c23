"""A made network of two containers whose every packet is known: events, and the journeys they are.

Buffers are few and used again and again, packets of several buffers pass at the same
time, sockets are read when it pleases, TCP merges and repeats, frees are not always seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .events import (
    A0,
    A1,
    BASE,
    C0,
    CONSUME,
    DELIVER,
    DROP,
    GRO,
    HOST,
    PATH,
    QUEUE,
    READ,
    RECEIVE,
    RX,
    TCP,
    UDP,
    XMIT,
    columns,
)  # fmt: skip

GATEWAY = 0x01004D0A
IN, OUT = PATH[:4], ((HOST, 3, QUEUE), (HOST, 3, XMIT))
FIELDS = ("skb", "saddr", "daddr", "sport", "dport", "proto", "seq", "ident", "len_bytes", "shape")
OLD_DATA = 3


@dataclass
class Packet:
    """One packet: its fields, what is left of its way, and its events so far."""

    number: int
    fields: dict
    payload: int
    nat: bool = False
    lost: bool = False  # dropped by the network
    way: list = field(default_factory=list)
    hops: list = field(default_factory=list)
    holds: list = field(default_factory=list)  # TCP: segments whose bytes its buffer holds
    taken: int = 0
    position: int = 0
    once: bool = True  # is sent only once, and so may be merged


class Network:
    """Run packets from c1 to c0.

    Parameters
    ----------
    rng : numpy.random.Generator
        Decides everything.
    buffers : int
        How many buffer addresses there are.
    alike : bool
        Datagrams of a flow all look the same.
    gro : bool
        c0 merges TCP segments.
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
        segment=1448,
        loss=0.05,
        repeat=0.05,
        first_seq=2**32 - 5000,
    ):
        self.rng, self.alike, self.gro, self.segment, self.loss, self.repeat = rng, alike, gro, segment, loss, repeat
        self.free = [BASE + 256 * number for number in range(buffers)]
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

    def run(self, packets: int) -> None:
        """Let so many packets be sent, and wait until all have ended."""
        left = packets
        while left or self.busy or self.unsent:
            if not self.free and self.unsent:  # the repetition that others wait for
                self.free.append(BASE + 2**20 + 256 * len(self.packets))
            actions = [self._move] * 6 + [self._read, self._copy]
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
        """Return the events, all or those marked."""
        rows = self.rows
        ts = 10**12 + np.cumsum(self.rng.integers(1, 1000, len(rows)))  # no two at the same time
        names = {name for row in rows for name in row}
        table = {name: np.array([row.get(name, 0) for row in rows], np.uint64) for name in names}
        table |= {"ts_ns": ts, "cpu": self.rng.integers(0, 4, len(rows))}
        if keep is not None:
            table = {name: values[keep] for name, values in table.items()}
        return columns(table, len(table["ts_ns"]))

    def journeys(self) -> set[tuple[int, ...]]:
        """Return the events of every journey, its delivery last."""
        return {(*p.hops, *([self.delivery[p.number]] if p.number in self.delivery else [])) for p in self.packets}

    # ---- what can happen -----------------------------------------------------

    def _send(self) -> None:
        rng = self.rng
        skb = self.free.pop(rng.integers(len(self.free)))
        nat = bool(rng.random() < 0.3)
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
        packet.way = [*IN, *OUT, *end, (C0, 2, RECEIVE)]
        if fields["proto"] == TCP and not packet.lost and rng.random() < self.repeat:
            self.unsent.append((position, payload))  # it is only late
            packet.once = False
        self.packets.append(packet)
        self.busy.append(packet)

    def _move(self) -> None:
        moving = [packet for packet in self.busy if packet.way]
        if not moving:
            return
        packet = moving[self.rng.integers(len(moving))]
        netns, ifindex, point = packet.way.pop(0)
        if packet.nat and (netns, point) == (HOST, QUEUE):
            packet.fields = packet.fields | {"daddr": A0, "dport": 80 if packet.fields["proto"] == TCP else 53}
        if packet.lost and (netns, point) == (HOST, XMIT):
            packet.way = []
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
                and head.way == [(C0, 2, RECEIVE)]
                and ends == packet.position
                and head.fields["proto"] == TCP
            ):
                head.holds.append(packet)
                packet.way = []
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
            if self.stream and self.rng.random() < 0.4:  # the queue's last buffer takes the bytes over
                self.stream[-1].bytes += ready.bytes
                self._end(ready, seen=False)
            else:
                self.stream.append(ready)

    def _read(self) -> None:
        if self.queue:
            packet = self.queue.pop(0)
            socket = Packet(-1, {"skb": BASE - 4096, "dport": 53, "proto": UDP, "len_bytes": packet.payload}, 0)
            self.delivery[packet.number] = self._event(socket, C0, 0, READ, aux=packet.payload, detail=len(self.queue))
            self._end(packet, seen=bool(self.rng.random() < 0.5))

    def _copy(self) -> None:
        wanted = int(self.rng.integers(1, 4 * self.segment))
        while self.stream and wanted > 0:
            buffer = self.stream[0]
            held = sum(p.payload for p in buffer.bytes)
            amount = min(wanted, held - buffer.taken)
            event = self._event(buffer, C0, 0, DELIVER, hop=False, aux=amount)
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
        """A capture tool gets a clone, perhaps copies it out, and frees it."""
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

"""Match TCP segments to the moment when the application gave their last byte to the socket.

A send call copies its data in a loop. Each pass of the loop is an event with the sequence number of the next byte and
the number of bytes that are left. Their sum, the end of the call, is the same for all events of one call.
"""

from __future__ import annotations

import numpy as np

from .order import Columns, HopCodes
from .paths import PacketPaths, first_byte, segments
from .stream import by_place, look_up, numbered, places


def sends_of(
    events: Columns, paths: PacketPaths, hops: HopCodes, send: np.ndarray, flow: np.ndarray, fresh: np.ndarray
) -> np.ndarray:
    """Find the send call that provided the last byte of each segment.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    paths : PacketPaths
    hops : HopCodes
    send : numpy.ndarray of int64, ascending
        Events of send calls.
    flow : numpy.ndarray of int64, shape (paths + sends,)
        Number of the flow of each path's ``first_tx``, then of each send event.
    fresh : numpy.ndarray of bool, shape (paths,)
        Segments that carry their last byte for the first time; only these have a send call.

    Returns
    -------
    numpy.ndarray of int64, shape (paths,)
        First event of the call, -1 if it was not seen.
    """
    joined = np.full(len(paths), -1, np.int64)
    number, size = segments(events, paths)
    number, size = number[fresh[number]], size[fresh[number]]
    if len(send) == 0 or len(number) == 0:
        return joined
    first_tx = paths.first_tx[number]
    at = np.concatenate([first_tx, send])
    flow = np.concatenate([flow[number], flow[len(paths) :]])
    flow = numbered(flow, hops.namespace.take(hops.code.take(at)))
    last_byte = first_byte(events, first_tx) + (size - 1).astype(np.uint32)
    place = places(flow, np.concatenate([last_byte, events["seq"].take(send)]), at)
    (wanted, place), (own, flow) = (np.split(values, [len(number)]) for values in (place, flow))
    order = by_place(flow, place)  # stable: events of one place stay in order of time
    send, flow, begin = send[order], flow[order], place[order]
    end = begin + events["aux"].take(send)
    # The last event that is not behind the byte: a later call may have sent what an earlier one could not.
    last = look_up(begin, own, wanted, "right") - 1
    calls = np.ones(len(order), bool)
    calls[1:] = (end[1:] != end[:-1]) | (flow[1:] != flow[:-1])
    first = np.maximum.accumulate(np.where(calls, np.arange(len(order)), 0)).take(last, mode="clip")
    good = (last >= 0) & (wanted < end.take(last, mode="clip")) & (flow.take(last, mode="clip") == own)
    good &= send.take(last, mode="clip") < first_tx
    joined[number[good]] = send[first[good]]
    return joined

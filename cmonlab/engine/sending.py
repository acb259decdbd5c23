"""Join TCP segments to the moment the application handed their last byte to the socket.

Each time round its loop a send call tells the number of the next byte and how many
bytes of the call are left, so that the events of one call agree in where it ends.
"""

from __future__ import annotations

import numpy as np

from .order import Columns
from .packets import Packets, Stages
from .stream import flow_numbers, places
from .ways import Ways, first_byte, segments


def sends_of(events: Columns, found: Packets, ways: Ways, stages: Stages, fresh: np.ndarray) -> np.ndarray:
    """Find the send call whose data the last byte of each segment is.

    Parameters
    ----------
    fresh : numpy.ndarray of bool, shape (ways,)
        Segments that carry their last byte for the first time; the others have no send.

    Returns
    -------
    numpy.ndarray of int64, shape (ways,)
        The first event of that call, -1 where it was not seen.
    """
    joined = np.full(len(ways), -1, np.int64)
    send = found.socket[stages.of("send", events["point"][found.socket])]
    number, size = segments(events, ways)
    number, size = number[fresh[number]], size[fresh[number]]
    if len(send) == 0 or len(number) == 0:
        return joined
    departure = ways.departure[number]
    at = np.concatenate([departure, send])
    flow = flow_numbers(events, at, "netns")
    last_byte = first_byte(events, departure) + (size - 1).astype(np.uint32)
    place = places(flow, np.concatenate([last_byte, events["seq"][send]]), at)
    order = len(number) + np.argsort(place[len(number) :], kind="stable")  # of one place in order of time
    begin, end = place[order], place[order] + events["aux"][at[order]]
    # The last event not behind the byte: what a call could not send, another one may have sent instead.
    last = np.searchsorted(begin, place[: len(number)], side="right") - 1
    calls = np.ones(len(order), bool)
    calls[1:] = (end[1:] != end[:-1]) | (flow[order][1:] != flow[order][:-1])
    first = np.maximum.accumulate(np.where(calls, np.arange(len(order)), 0))[last]
    good = (last >= 0) & (place[: len(number)] < end[last]) & (flow[order[last]] == flow[: len(number)])
    good &= at[order[last]] < departure
    joined[number[good]] = at[order[first[good]]]
    return joined

"""The last minutes of counts in bounded memory, one block of rows per window."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

#: With more keys than this, keys that no row has any more are forgotten.
MOST_KEYS = 20_000


class History:
    """Rows of numbers by key and window; the oldest windows are forgotten.

    Parameters
    ----------
    fields : mapping of str to dtype
        Names and types of the numbers.
    keep_s : float
        How long windows are kept, s.
    most_bytes : int
        Limit of memory; with very many keys, windows are forgotten before `keep_s`.

    Attributes
    ----------
    dtype : numpy.dtype
        Of a row: ``code``, the number of its key, and the fields.
    fields : tuple of str
        Names of the numbers.
    nbytes : int
        Memory of all rows.
    """

    def __init__(self, fields: Mapping[str, npt.DTypeLike], keep_s: float, most_bytes: int = 64 << 20):
        self.fields = tuple(fields)
        self.dtype = np.dtype([("code", np.int32), *fields.items()])
        self._keep_ns, self._most_bytes = int(keep_s * 1e9), most_bytes
        self._blocks: deque[tuple[int, int, np.ndarray]] = deque()
        self._codes: dict[Hashable, int] = {}
        self._next, self.nbytes = 0, 0

    def __len__(self) -> int:
        return len(self._blocks)

    def add(self, start_ns: int, end_ns: int, keys: Sequence[Hashable], numbers: Mapping[str, np.ndarray]) -> None:
        """Add the rows of a window; there may be none.

        Parameters
        ----------
        start_ns, end_ns : int
            The window, CLOCK_MONOTONIC in ns.
        keys : sequence of hashable
            The key of each row.
        numbers : mapping of str to numpy.ndarray
            Each field's numbers, shape ``(keys,)``.
        """
        block = np.empty(len(keys), self.dtype)
        block["code"] = [self._code(key) for key in keys]
        for name in self.fields:
            block[name] = numbers[name]
        self._blocks.append((start_ns, end_ns, block))
        self.nbytes += block.nbytes
        while self._blocks[0][1] < end_ns - self._keep_ns or self.nbytes > self._most_bytes:
            self.nbytes -= self._blocks.popleft()[2].nbytes
        if len(self._codes) > MOST_KEYS:
            self._forget()

    def _code(self, key: Hashable) -> int:
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = self._next
            self._next += 1
        return code

    def _forget(self) -> None:
        used = set(np.unique(np.concatenate([block["code"] for *_, block in self._blocks])).tolist())
        self._codes = {key: code for key, code in self._codes.items() if code in used}

    @property
    def seen(self) -> int:
        """Number of different keys so far."""
        return self._next

    def keys(self) -> dict[int, Hashable]:
        """Return code → key, for the codes in the rows."""
        return {code: key for key, code in self._codes.items()}

    def windows(self) -> np.ndarray:
        """Return start and end of every window, CLOCK_MONOTONIC in ns, int64, shape ``(windows, 2)``."""
        return np.array([window[:2] for window in self._blocks], np.int64).reshape(-1, 2)

    def of(self, key: Hashable) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of a key.

        Returns
        -------
        rows : numpy.ndarray
            Of dtype `dtype`, shape ``(rows,)``.
        at : numpy.ndarray
            Index of each row's window in `windows`, int64, shape ``(rows,)``.
        """
        code = self._codes.get(key, -1)
        found = [block[block["code"] == code] for *_, block in self._blocks]
        at = np.repeat(np.arange(len(found)), [len(rows) for rows in found])
        return np.concatenate([np.empty(0, self.dtype), *found]), at

    def recent(self, over_s: float) -> tuple[int, int, np.ndarray, np.ndarray]:
        """Return the windows of the last `over_s` seconds.

        Returns
        -------
        start_ns, end_ns : int
            The time that these windows cover, CLOCK_MONOTONIC in ns; 0 without a window.
        rows : numpy.ndarray
            Their rows, of dtype `dtype`, shape ``(rows,)``.
        at : numpy.ndarray
            Index of each row's window among them, int64, shape ``(rows,)``.
        """
        if not self._blocks:
            return 0, 0, np.empty(0, self.dtype), np.empty(0, np.int64)
        end_ns = self._blocks[-1][1]
        chosen = [window for window in self._blocks if window[1] > end_ns - over_s * 1e9]
        rows = [block for *_, block in chosen]
        at = np.repeat(np.arange(len(rows)), [len(block) for block in rows])
        return chosen[0][0], end_ns, np.concatenate(rows), at

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()
        self._codes.clear()
        self.nbytes = 0

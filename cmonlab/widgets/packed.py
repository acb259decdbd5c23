"""Packs what is sent to a page: arrays as bytes, sparse tables of texts without empty cells, and only valid JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def packed(value: Any, buffers: list[bytes]) -> Any:
    """Return a value as JSON can hold it; arrays of numbers are moved to buffers.

    Parameters
    ----------
    value : mapping, sequence, numpy.ndarray, numpy scalar, str, bool, number or None
        Arbitrarily nested. NaN and infinities become None.
    buffers : list of bytes
        Each array is appended here, and becomes ``{"packed": index of its buffer, "kind": …, "shape": …}``. Numbers
        of two-dimensional arrays are packed with 32 bits, because they are shown as colours only.

    Returns
    -------
    dict, list, str, bool, int, float or None
        What ``json.dumps(..., allow_nan=False)`` accepts.
    """
    if isinstance(value, np.ndarray):
        return _array(value, buffers)
    if isinstance(value, Mapping):
        return {name: packed(inner, buffers) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [packed(inner, buffers) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _array(values: np.ndarray, buffers: list[bytes]) -> Any:
    if values.dtype.kind not in "fiub":
        return _texts(values, buffers) if values.ndim == 2 else packed(values.tolist(), buffers)
    kind = "f4" if values.ndim == 2 else "f8"
    buffers.append(np.where(np.isfinite(values), values, np.nan).astype(f"<{kind}").tobytes())
    return {"packed": len(buffers) - 1, "kind": kind, "shape": values.shape}


def _texts(values: np.ndarray, buffers: list[bytes]) -> dict[str, Any]:
    """Return the texts of a mostly empty table, and their positions in it."""
    flat = values.ravel()
    at = np.flatnonzero(flat != "")
    buffers.append(at.astype("<i4").tobytes())
    positions = {"packed": len(buffers) - 1, "kind": "i4", "shape": at.shape}
    return {"texts": flat[at].tolist(), "at": positions, "shape": values.shape}

"""What is sent to a page: arrays as bytes, texts of a sparse table alone, and no number that JSON has not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def packed(value: Any, buffers: list[bytes]) -> Any:
    """Return what JSON can hold; arrays of numbers are put into the buffers.

    Parameters
    ----------
    value
        Mappings, sequences, numpy arrays and scalars, str, bool, None, numbers; NaN and infinities become None.
    buffers : list of bytes
        Appended to, where an array becomes ``{"packed": its index there, "kind": …, "shape": …}``. Numbers of tables
        are packed as 32 bits, which is finer than colours are.
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
    """Return the texts of a table of which most are empty, and where they stand."""
    flat = values.ravel()
    at = np.flatnonzero(flat != "")
    buffers.append(at.astype("<i4").tobytes())
    places = {"packed": len(buffers) - 1, "kind": "i4", "shape": at.shape}
    return {"texts": flat[at].tolist(), "at": places, "shape": values.shape}

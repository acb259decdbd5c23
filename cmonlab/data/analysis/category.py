"""Categories from integer codes: each distinct number is labelled once, not each row."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd


def labelled(keys: np.ndarray, label: Callable[[int], str]) -> pd.Categorical:
    """Turn integer keys into a categorical.

    Parameters
    ----------
    keys : numpy.ndarray of integers, shape (n,)
        One key per row.
    label : callable
        Returns the label of a key; called once for each distinct key. Equal labels share a category.

    Returns
    -------
    pandas.Categorical, length n
        Categories in order of first appearance.
    """
    codes, distinct = pd.factorize(keys)
    return relabelled(codes, [label(key) for key in distinct.tolist()])


def relabelled(codes: np.ndarray, labels: list[str]) -> pd.Categorical:
    """Build a categorical from codes.

    Parameters
    ----------
    codes : numpy.ndarray of int64, shape (n,)
        Position of each row's label in `labels`.
    labels : list of str
        Labels; they may repeat, and equal labels share a category.

    Returns
    -------
    pandas.Categorical, length n
    """
    merged, names = pd.factorize(np.array(labels, dtype=object))
    return pd.Categorical.from_codes(merged[codes] if len(labels) else codes, pd.Index(names, dtype="str"))

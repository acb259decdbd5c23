"""Tables as JSON keep every number; differences between tables say by how much."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmonlab.errors import ArtifactError
from cmonlab.study import artifact
from cmonlab.study.artifact.difference import differences
from cmonlab.study.artifact.frozen import freeze, thaw
from cmonlab.study.artifact.results import declared, stored


def round_trip(frame):
    """Return a table after freezing, JSON and thawing."""
    return thaw(json.loads(json.dumps(freeze(frame), allow_nan=False)))


@given(
    st.lists(st.tuples(st.floats(), st.integers(-(2**63), 2**63 - 1), st.booleans(), st.text(max_size=5)), max_size=20)
)
def test_freeze_keeps_every_number(rows):
    frame = pd.DataFrame(
        {
            name: pd.Series([row[at] for row in rows], dtype=dtype)
            for at, (name, dtype) in enumerate({"f": "float64", "i": "int64", "b": "bool", "t": "str"}.items())
        }
    )
    found = round_trip(frame)
    for name in frame:
        np.testing.assert_array_equal(found[name].to_numpy(), frame[name].to_numpy())
    assert differences(round_trip(frame), found) == []
    # Programs that read numbers as doubles keep them all.
    integers = [value for value in freeze(frame)["columns"][1]["values"] if isinstance(value, int)]
    assert all(int(float(value)) == value for value in integers)


def test_freeze_keeps_named_indexes_categories_and_objects():
    frame = pd.DataFrame(
        {"kind": pd.Categorical(["b", "a"]), "places": [{"y": 1, "x": 2}, ["z"]]}, index=pd.Index([7, 8], name="n")
    )
    found = round_trip(frame)
    assert found.to_dict("list") == {"n": [7, 8], "kind": ["b", "a"], "places": ['{"x": 2, "y": 1}', '["z"]']}


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"columns": [{"name": "a"}]},
        {"columns": 5},
        {"columns": [{"name": "a", "kind": "float", "values": [1.0]}, {"name": "b", "kind": "int", "values": []}]},
        {"columns": [{"name": "a", "kind": "int", "values": ["x"]}]},
    ],
)
def test_thaw_refuses_content_that_is_not_a_table(content):
    with pytest.raises(ArtifactError, match="damaged"):
        thaw(content)


def test_differences_say_by_how_much_each_column_differs():
    expected = pd.DataFrame({"segment": ["a", "b", "c"], "p99_ns": [100.0, 200.0, math.nan], "n": [10, 20, 30]})
    found = expected.assign(p99_ns=[101.0, 180.0, math.nan], n=[10, 20, 33])
    delay, count = differences(expected, found)
    assert (delay.column, delay.rows, delay.where, delay.unit) == ("p99_ns", 2, "b", "ns")
    assert (
        delay.relative == pytest.approx(-0.1)
        and str(delay) == "p99_ns: 2 rows differ, most at b: 200 ns → 180 ns, -10%"
    )
    assert (count.column, count.rows, count.where, count.relative) == ("n", 1, "c", pytest.approx(0.1))
    [words] = differences(expected, expected.assign(segment=["a", "x", "c"]))
    assert (words.expected, words.found) == ("b", "x") and math.isnan(words.relative)


def test_differences_tolerate_floating_point_arithmetic_only():
    expected = pd.DataFrame({"mean": [1e6, 1.0, 0.0, math.inf]})
    assert differences(expected, expected * (1 + 1e-12)) == []
    assert differences(expected, pd.DataFrame({"mean": [1e6, 1.0, 1e-9, math.inf]})) == []
    [one] = differences(expected, pd.DataFrame({"mean": [1e6, 1.0 + 1e-5, 0.0, math.inf]}))
    assert one.rows == 1 and one.relative == pytest.approx(1e-5)
    assert len(differences(expected, pd.DataFrame({"mean": [1e6, 1.0, 0.0, math.nan]}))) == 1


def test_differences_include_another_shape():
    table = pd.DataFrame({"a": [1, 2]})
    assert differences(table, table.head(1))[0].column == "rows"
    assert differences(table, table.rename(columns={"a": "b"}))[0].column == "columns"
    assert differences(table.head(0), table.head(0)) == []


def test_result_needs_a_usable_name_and_table():
    artifact.result("my-table", pd.DataFrame({"a": [1]}))
    artifact.result("my-table", pd.Series([2.5], name="p50_ns"))
    assert declared()["my-table"]["columns"] == [{"name": "p50_ns", "kind": "float", "values": [2.5]}]
    for name in ("", "a b", ".hidden", "../x", "x" * 81):
        with pytest.raises(ArtifactError, match="name of a result"):
            artifact.result(name, pd.DataFrame({"a": [1]}))
    with pytest.raises(ArtifactError, match="it is a int"):
        artifact.result("x", 5)
    with pytest.raises(ArtifactError, match="too long"):
        artifact.result("x", pd.DataFrame({"a": range(10_001)}))
    with pytest.raises(ArtifactError, match="one name"):
        artifact.result("x", pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_stored_ignores_outputs_of_other_programs():
    cells = [
        {"outputs": [{"output_type": "stream", "text": "x"}, {"data": {"text/plain": "x"}}]},
        {"cell_type": "markdown"},
    ]
    assert stored({"cells": cells}) == {} == stored({})

"""Documentation of tables: rows, columns and units."""

import pytest

from cmonlab import schema
from cmonlab.errors import UnknownName
from cmonlab.schema.column import unit_of


@pytest.mark.parametrize("table", sorted(schema.TABLES))
def test_every_table_documents_its_rows_and_columns(table):
    frame = schema.describe(table)
    assert frame.attrs["rows"].startswith("One row per ") and frame.attrs["rows"].endswith(".")
    assert list(frame["column"]) == schema.columns(table) and frame["column"].is_unique
    assert frame["meaning"].str.len().between(1, 100).all()


@pytest.mark.parametrize("table", sorted(schema.TABLES))
def test_units_agree_with_the_names_of_columns(table):
    named = {column.name: column.unit for column in schema.TABLES[table] if unit_of(column.name)}
    assert named == {name: unit_of(name) for name in named}


def test_unknown_table_suggests_the_nearest_name():
    with pytest.raises(UnknownName, match="did you mean 'journeys'"):
        schema.describe("journey")

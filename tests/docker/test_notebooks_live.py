"""The first two notebooks, live: what they show of recordings they make of real containers."""

import pytest

from tests.notebooks.running import FOLDER, run


@pytest.mark.parametrize("name", ["01_first_session", "02_where_does_a_packet_spend_its_time"])
def test_notebook_runs_live(client, name):
    run(FOLDER / f"{name}.ipynb", live=True)

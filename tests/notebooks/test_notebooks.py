"""All notebooks run on the recorded datasets."""

import pytest

from .running import NOTEBOOKS, run


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_on_its_dataset(notebook):
    run(notebook, live=False)

"""One network for all tests of the tier; each test uses ports of its own."""

import pytest

from .netlab import netlab


@pytest.fixture(scope="session")
def lab():
    with netlab() as lab:
        yield lab

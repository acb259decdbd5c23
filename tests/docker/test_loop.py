"""Labs within a running event loop, as the main thread of a notebook has one."""

import asyncio

import pytest

from cmonlab.lab.topology.templates.registry import template


@pytest.mark.parametrize("name", ["bridge", "host", "macvlan", "vxlan"])
def test_lab_is_deployed_and_removed_in_an_event_loop(client, left, name):
    async def cell() -> str:
        with template(name).deploy() as lab:
            assert len(lab.containers) == 2 and left(lab.run_id)
            return lab.run_id

    assert not left(asyncio.run(cell()))

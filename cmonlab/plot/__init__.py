"""Figures: a table in, a plotly Figure out.

Every function takes a table with the columns of `cmonlab.schema` and the keyword ``caption``, which is drawn
below the plot: it carries the number of packets, the lost events and the tracing overhead. Names of containers
and interfaces are escaped, so a figure is safe to put on a page.

A Figure is light; `dark` makes any of them dark, colour scales and all, and `light` light again: everything that
depends on the theme is in the template. `export` writes a Figure for a paper.
"""

from .checks import check_delays, check_errors
from .compare import differences, shift
from .counts import drops, ledger
from .delays import one_way_delay, tail
from .distribution import ecdf
from .dropmap import drop_map
from .graph import topology, topology_update
from .heat import heatmap
from .journey import waterfall
from .matrix import flow_matrix, flow_matrix_update
from .notebook import show_in_exports as _show_in_exports
from .overhead import overhead
from .paths import sankey
from .physical import export
from .places import places
from .rates import throughput
from .ridges import ridgeline
from .segments import breakdown
from .style import dark, light, template
from .timeline import timeline

__all__ = [
    "breakdown",
    "check_delays",
    "check_errors",
    "dark",
    "differences",
    "drop_map",
    "drops",
    "ecdf",
    "export",
    "flow_matrix",
    "flow_matrix_update",
    "heatmap",
    "ledger",
    "light",
    "one_way_delay",
    "overhead",
    "places",
    "ridgeline",
    "sankey",
    "shift",
    "tail",
    "template",
    "throughput",
    "timeline",
    "topology",
    "topology_update",
    "waterfall",
]

_show_in_exports()

"""Figures: a table in, a plotly Figure out.

Every function takes a table with the columns of `cmonlab.schema` and the keyword ``caption``, the text below the plot:
number of packets, lost events, tracing overhead. A table without rows gives a figure with a sentence instead of a plot.
Names of containers and interfaces are escaped, so a figure is safe to put on a page.

Figures are light. `dark` makes a figure dark, including its colour scales, and `light` makes it light again: all that
depends on the theme is in the template. `export` writes a figure for a paper.
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

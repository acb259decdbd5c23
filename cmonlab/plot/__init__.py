"""Figures: a table in, a plotly Figure out.

Every function takes a table with the columns of `cmonlab.schema` and the keyword ``caption``, which is drawn
below the plot: it carries the number of packets, the lost events and the observer overhead. Names of containers
and interfaces are escaped, so a figure is safe to put on a page.

A Figure is light; ``figure.update_layout(template=plot.template("dark"))`` makes it dark.
"""

from .checks import check_delays, check_errors
from .compare import differences, shift
from .counts import drops, ledger
from .distribution import ecdf
from .journey import waterfall
from .overhead import overhead
from .rates import throughput
from .segments import breakdown
from .style import template

__all__ = [
    "breakdown", "check_delays", "check_errors", "differences", "drops", "ecdf", "ledger", "overhead", "shift",
    "template", "throughput", "waterfall",
]  # fmt: skip

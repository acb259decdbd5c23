"""Templates: one function per topology, and `template`, which finds one by name."""

from .networks import bridge, host, macvlan, vxlan
from .registry import TEMPLATES, template

__all__ = ["TEMPLATES", "bridge", "host", "macvlan", "template", "vxlan"]

"""Complete manifests, as a recording of a workload has them."""

from tests.support.events import manifest

HOST = {"kernel": "6.1", "clocksource": "tsc", "cpu": "x", "cpus": 2, "machine": "x86_64"}


def complete_manifest(**changes):
    """Return a complete manifest with changes."""
    parts = {
        "recording": {"ended": "finished", "seconds": 1.0},
        "host": HOST,
        "created": "2026-01-01T00:00:00+00:00",
        "workload": {"name": "made", "parameters": {}, "metrics": {"ops_per_s": 1000.0, "latency_p99_ns": 5e4}},
    }
    return manifest() | parts | changes

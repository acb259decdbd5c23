"""Probe points: the catalogue of kernel places where packets are timestamped, and custom probes."""

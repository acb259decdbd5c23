"""Tracing: eBPF programs are loaded and attached, and their records read."""

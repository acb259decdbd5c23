"""The lab: containers, their networks, and the workloads that run in them."""

"""Recording: trace while a workload runs, measure what tracing costs, and say where a session comes from."""

"""Other tracers, compared with cmonlab on the same traffic."""

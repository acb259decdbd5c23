"""Score cmonlab against known truths, on this machine."""

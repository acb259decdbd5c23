"""Experiments: runs over a grid of parameters, in random order, that survive a crash."""

"""Studies: comparisons, experiments, datasets, artifacts and the calibration."""

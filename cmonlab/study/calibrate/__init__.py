"""Calibration: compare what cmonlab reports with reference values, on this machine."""

"""Groups of calibration scenarios, one module each, with one function `run(bed, quick)`."""

"""Groups of calibration scenarios: modules with a function ``run(bed, quick)``, and their parts."""

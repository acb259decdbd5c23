"""The report: one HTML page for one or more sessions."""

"""A recorded session: tables, figures, exports and the report."""

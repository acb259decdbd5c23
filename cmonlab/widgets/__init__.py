"""Widgets for notebooks: the live dashboard, and a form for rules."""

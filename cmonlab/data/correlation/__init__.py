"""Correlation: events become packets and journeys; numpy and pandas only."""

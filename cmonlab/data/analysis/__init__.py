"""Analysis: journeys and aggregates become tables; numpy and pandas only."""

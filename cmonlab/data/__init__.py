"""Data: events are correlated into journeys, and journeys become tables. Needs no root, Docker or bcc."""

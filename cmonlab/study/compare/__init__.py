"""Sessions next to each other: differences with their intervals, and threats to validity."""

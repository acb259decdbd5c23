"""Which containers and interfaces exist, followed as they come and go."""

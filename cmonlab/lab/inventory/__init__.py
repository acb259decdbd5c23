"""The containers and interfaces of this host, and how they change."""

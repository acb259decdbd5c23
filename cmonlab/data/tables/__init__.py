"""Every table of a session, computed from its columns and its manifest."""

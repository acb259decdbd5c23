"""The testbed: network namespaces and traffic whose properties are known."""

"""The testbed: network namespaces and traffic with known properties."""

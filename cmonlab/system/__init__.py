"""The operating system as cmonlab uses it: signals, files, temporary directories, namespaces, the bpf(2) call."""

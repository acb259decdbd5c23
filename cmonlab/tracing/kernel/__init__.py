"""This host's kernel: BTF, generated headers, the compiler and the loader of eBPF programs."""

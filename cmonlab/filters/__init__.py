"""Packet filters: pcap expressions, classic BPF, and its translation to eBPF."""

"""BPF maps, by the file descriptor: keys and values as numpy has them."""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import bpf


def possible_cpus() -> int:
    """Return one more than the highest CPU number the kernel may ever use."""
    with open("/sys/devices/system/cpu/possible") as file:
        return int(file.read().strip().split("-")[-1].split(",")[-1]) + 1


@dataclass
class Map:
    """One map.

    Attributes
    ----------
    fd : int
    key, value : numpy.dtype
        As the compiler laid them out.
    entries : int
        At most.
    per_cpu : bool
        Whether each CPU has values of its own.
    """

    fd: int
    key: np.dtype
    value: np.dtype
    entries: int
    per_cpu: bool

    def get(self, key: int) -> np.ndarray:
        """Return an element of an array; of one for each CPU, the values of all of them, shape (cpus,)."""
        count = possible_cpus() if self.per_cpu else 1
        # The kernel rounds each CPU's value up to 8 bytes.
        width = -(-self.value.itemsize // 8) * 8 if self.per_cpu else self.value.itemsize
        raw = bpf.lookup(self.fd, key.to_bytes(4, "little"), width * count)
        slots = np.frombuffer(raw, np.uint8).reshape(count, width)[:, : self.value.itemsize]
        values = np.ascontiguousarray(slots).view(self.value)[:, 0]
        return values if self.per_cpu else values[0]

    def set(self, key: int, value: bytes) -> None:
        """Set an element; of a map with values for each CPU, all of them at once."""
        bpf.update(self.fd, key.to_bytes(4, "little"), value)

    def delete(self, key: int) -> None:
        """Remove an element of a hash map."""
        bpf.delete(self.fd, key.to_bytes(4, "little"))

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys and values of all elements."""
        keys, values = np.zeros(self.entries, self.key), np.zeros(self.entries, self.value)
        count = bpf.read_all(self.fd, keys, values)
        return keys[:count], values[:count]

    def memory(self, access: int = mmap.PROT_READ | mmap.PROT_WRITE) -> np.ndarray:
        """Return the elements of a mappable array, whose size is a multiple of 8 bytes, as the programs have them."""
        return np.frombuffer(mmap.mmap(self.fd, self.entries * self.value.itemsize, prot=access), self.value)

    def close(self) -> None:
        """Let go of the map."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def dtype_of(told: dict[str, Any]) -> np.dtype:
    """Return the dtype of a layout as `compiler` tells it."""
    if not told["fields"]:
        return np.dtype(told["number"] if told["size"] in (1, 2, 4, 8) else f"V{told['size']}")
    return np.dtype(
        {
            "names": [name for name, *_ in told["fields"]],
            "formats": [
                (dtype_of(kind), (count,)) if count else dtype_of(kind) for _, kind, count, _ in told["fields"]
            ],
            "offsets": [offset for *_, offset in told["fields"]],
            "itemsize": told["size"],
        }
    )


def create(name: str, told: Mapping[str, Any], inner_fd: int = 0) -> Map:
    """Make a map as `compiler` describes it.

    Parameters
    ----------
    name : str
        Shown by ``bpftool map``.
    told : mapping
        type, entries, flags, key and value.
    inner_fd : int
        A map like those that an array of maps holds.

    Raises
    ------
    OSError
        The kernel refuses.
    """
    kind, key, value = told["type"], dtype_of(told["key"]), dtype_of(told["value"])
    sizes = (0, 0) if kind == bpf.MAP_TYPE_RINGBUF else (key.itemsize, value.itemsize)
    inner_fd = inner_fd if kind in bpf.MAPS_OF_MAPS else 0
    fd = bpf.create_map(kind, *sizes, told["entries"], told["flags"], inner_fd, name)
    return Map(fd, key, value, told["entries"], kind in bpf.PER_CPU_MAPS)

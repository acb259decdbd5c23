"""BPF maps, with keys and values as numpy arrays."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

import numpy as np

from . import bpf
from .compiler import Layout, MapLayout


def possible_cpus() -> int:
    """Return the highest CPU number that the kernel may ever use, plus 1."""
    with open("/sys/devices/system/cpu/possible") as file:
        return int(file.read().strip().split("-")[-1].split(",")[-1]) + 1


@dataclass
class Map:
    """One map.

    Attributes
    ----------
    fd : int
        File descriptor; -1 once closed.
    key, value : numpy.dtype
        As the compiler laid them out.
    entries : int
        Largest number of elements.
    per_cpu : bool
        Whether each CPU has its own values.
    """

    fd: int
    key: np.dtype
    value: np.dtype
    entries: int
    per_cpu: bool

    def get(self, key: int) -> np.ndarray:
        """Return an element of an array; of a map with values per CPU, all of them, shape (cpus,)."""
        count = possible_cpus() if self.per_cpu else 1
        # The kernel rounds each CPU's value up to 8 bytes.
        width = -(-self.value.itemsize // 8) * 8 if self.per_cpu else self.value.itemsize
        raw = bpf.lookup(self.fd, key.to_bytes(4, "little"), width * count)
        slots = np.frombuffer(raw, np.uint8).reshape(count, width)[:, : self.value.itemsize]
        values = np.ascontiguousarray(slots).view(self.value)[:, 0]
        return values if self.per_cpu else values[0]

    def set(self, key: int, value: bytes) -> None:
        """Set an element.

        Parameters
        ----------
        key : int
            Index or key, 32 bits.
        value : bytes
            Of the size of `value`'s dtype; of a map with values per CPU, those of all CPUs.

        Raises
        ------
        OSError
            The kernel refuses.
        """
        bpf.update(self.fd, key.to_bytes(4, "little"), value)

    def delete(self, key: int) -> None:
        """Remove an element of a hash map."""
        bpf.delete(self.fd, key.to_bytes(4, "little"))

    def items(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all elements.

        Returns
        -------
        keys, values : numpy.ndarray, shape (elements,)
            Of the dtypes `key` and `value`.
        """
        keys, values = np.zeros(self.entries, self.key), np.zeros(self.entries, self.value)
        count = bpf.read_all(self.fd, keys, values)
        return keys[:count], values[:count]

    def memory(self, access: int = mmap.PROT_READ | mmap.PROT_WRITE) -> np.ndarray:
        """Return the memory of an array that was made mappable; programs write to it at the same time.

        Parameters
        ----------
        access : int
            ``PROT_`` flags of mmap(2).

        Returns
        -------
        numpy.ndarray, shape (entries,), of the dtype `value`
            The size of an element is a multiple of 8 bytes.

        Raises
        ------
        OSError
            The map cannot be mapped into memory.
        """
        return np.frombuffer(mmap.mmap(self.fd, self.entries * self.value.itemsize, prot=access), self.value)

    def close(self) -> None:
        """Close the map; idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def names_of(rows: np.ndarray) -> tuple[str, ...]:
    """Return the names of a structured array's fields."""
    return rows.dtype.names or ()


def dtype_of(layout: Layout) -> np.dtype:
    """Return the numpy dtype of a C type's layout."""
    if not layout["fields"]:
        return np.dtype(layout["number"] if layout["size"] in (1, 2, 4, 8) else f"V{layout['size']}")
    return np.dtype(
        {
            "names": [name for name, *_ in layout["fields"]],
            "formats": [
                (dtype_of(kind), (count,)) if count else dtype_of(kind) for _, kind, count, _ in layout["fields"]
            ],
            "offsets": [offset for *_, offset in layout["fields"]],
            "itemsize": layout["size"],
        }
    )


def create(name: str, layout: MapLayout, inner_fd: int = 0) -> Map:
    """Create a map.

    Parameters
    ----------
    name : str
        Shown by ``bpftool map``.
    layout : MapLayout
        What the compiler says of the map; its ``fd`` is not used.
    inner_fd : int
        For an array of maps: a map like those that it will hold.

    Returns
    -------
    Map

    Raises
    ------
    OSError
        The kernel refuses.
    """
    kind, key, value = layout["type"], dtype_of(layout["key"]), dtype_of(layout["value"])
    sizes = (0, 0) if kind == bpf.MAP_TYPE_RINGBUF else (key.itemsize, value.itemsize)
    inner_fd = inner_fd if kind in bpf.MAPS_OF_MAPS else 0
    fd = bpf.create_map(kind, *sizes, layout["entries"], layout["flags"], inner_fd, name)
    return Map(fd, key, value, layout["entries"], kind in bpf.PER_CPU_MAPS)

"""The recipe of the workload image, and the files and versions of the installed packages."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cmonlab.errors import DockerError
from cmonlab.system.packaged import packaged

WORKLOADS = packaged("workloads")
#: Packages of the host; the manifest of a recording contains their versions.
HOST_PACKAGES = ("docker.io", "docker-ce", "containerd", "containerd.io", "runc", "iptables", "python3-bpfcc")
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")


@dataclass(frozen=True)
class Recipe:
    """The contents of the workload image; see ``workloads/image.toml``.

    Attributes
    ----------
    text : str
        The text of the file, part of the image's digest.
    repository : str
        Name of the image without its tag.
    packages : dict of str to list of str
        Distribution package → paths of its programs.
    applets : list of str
        busybox applets.
    user : dict of str to (str or int)
        ``name``, ``uid``, ``gid`` of the user that servers and clients run as.
    """

    text: str
    repository: str
    packages: dict[str, list[str]]
    applets: list[str]
    user: dict[str, str | int]

    @property
    def programs(self) -> list[str]:
        """Paths of all programs."""
        return [program for programs in self.packages.values() for program in programs]


@lru_cache(maxsize=1)
def read_recipe() -> Recipe:
    """Return the recipe that cmonlab comes with.

    Raises
    ------
    DockerError
        The file is missing or damaged.
    """
    try:
        text = (WORKLOADS / "image.toml").read_text()
        data = tomllib.loads(text)
        return Recipe(text, data["repository"], data["packages"], data["busybox"]["applets"], data["user"])
    except (OSError, KeyError, ValueError) as error:
        raise DockerError("the recipe of the workload image cannot be read", why=str(error)) from error


def _dpkg(*arguments: str) -> str:
    try:
        return subprocess.run(["dpkg-query", *arguments], capture_output=True, text=True, check=False).stdout
    except OSError as error:
        raise DockerError(
            "the workload image is built from Debian or Ubuntu packages",
            why=f"dpkg-query: {error.strerror}",
            fix="build workloads/Dockerfile and name it: templates.bridge(image=…)",
        ) from error


def installed(packages: Iterable[str]) -> dict[str, str]:
    """Return package → version of those distribution packages that are installed.

    Raises
    ------
    DockerError
        The host has no dpkg.
    """
    lines = _dpkg("--show", "--showformat=${db:Status-Status}\t${Package}\t${Version}\n", *packages).splitlines()
    rows = [line.split("\t") for line in lines]
    return {name: version for status, name, version in sorted(rows) if status == "installed"}


def versions() -> dict[str, str]:
    """Return versions of the distribution packages that take part in a run.

    Returns
    -------
    dict of str to str
        Package → version, without packages that are not installed; empty on a host without dpkg.
    """
    try:
        return installed([*read_recipe().packages, *HOST_PACKAGES])
    except DockerError:
        return {}


def check_programs(wanted: Recipe) -> None:
    """Refuse to build the image when a package or a program of the recipe is missing.

    Raises
    ------
    DockerError
        Names the packages to install.
    """
    have = installed(list(wanted.packages))
    missing = [name for name in wanted.packages if name not in have]
    missing += [p for p, programs in wanted.packages.items() if p in have and not all(map(_exists, programs))]
    if missing:
        raise DockerError(
            "the workload image cannot be built",
            why=f"not installed, or incomplete: {', '.join(missing)}",
            fix=f"apt install {' '.join(missing)}",
        )


def _exists(path: str) -> bool:
    return Path(path).is_file()


def libraries(programs: list[str]) -> list[str]:
    """Return the paths of the shared libraries and the loader of these programs, sorted.

    Each path has the file name that the loader looks for, in a directory without symlinks.

    Raises
    ------
    DockerError
        A library is missing.
    """
    found: set[str] = set()
    for program in programs:
        # ldd fails for a static program, which has no libraries.
        output = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        if "not found" in output:
            raise DockerError(
                f"a library of {program} is missing", why=output.strip(), fix="reinstall the package of that program"
            )
        found |= {str(Path(path).parent.resolve() / Path(path).name) for path in _LIBRARY.findall(output)}
    return sorted(found)


def owners(paths: list[str]) -> dict[str, str]:
    """Return package → version of the distribution packages that own these files.

    On a system with a merged /usr each library has two paths, and dpkg knows only one of them.
    """
    short = {path.removeprefix("/usr") for path in paths}
    asked = short | {f"/usr{path}" for path in short}
    names = {name.strip() for line in _dpkg("--search", *sorted(asked)).splitlines() for name in _names(line)}
    return installed(sorted(names)) if names else {}


def _names(line: str) -> list[str]:
    if line.startswith("diversion "):
        return []
    return [name.split(":")[0] for name in line.rsplit(": ", 1)[0].split(", ")]

"""The recipe of the workload image, and what the installed packages bring to it."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cmonlab.errors import DockerError
from cmonlab.system.packaged import packaged

WORKLOADS = packaged("workloads")
# Packages of the host that take part in a run, for the manifest.
HOST_PACKAGES = ("docker.io", "docker-ce", "containerd", "containerd.io", "runc", "iptables", "python3-bpfcc")
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x")


@dataclass(frozen=True)
class Recipe:
    """What goes into the workload image; see ``workloads/image.toml``.

    Attributes
    ----------
    text : str
        The file itself, part of the image's digest.
    repository : str
        Name of the image without its tag.
    packages : dict of str to list of str
        Distribution package → paths of its programs.
    applets : list of str
        busybox applets.
    user : dict
        ``name``, ``uid``, ``gid`` of the user that servers run as.
    """

    text: str
    repository: str
    packages: dict[str, list[str]]
    applets: list[str]
    user: dict

    @property
    def programs(self) -> list[str]:
        return [program for programs in self.packages.values() for program in programs]


@lru_cache(maxsize=1)
def recipe() -> Recipe:
    """Read the recipe.

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


def installed(packages: list[str] | tuple[str, ...]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    lines = _dpkg("--show", "--showformat=${db:Status-Status}\t${Package}\t${Version}\n", *packages).splitlines()
    rows = [line.split("\t") for line in lines]
    return {name: version for status, name, version in sorted(rows) if status == "installed"}


def versions() -> dict[str, str]:
    """Return versions of the distribution packages that take part in a run.

    Returns
    -------
    dict of str to str
        Package → version; packages that are not installed, or a host without dpkg, are
        left out.
    """
    try:
        return installed([*recipe().packages, *HOST_PACKAGES])
    except DockerError:
        return {}


def check_programs(wanted: Recipe) -> None:
    """Refuse when a package or a program is missing.

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
    """Return the shared libraries and the loader of these programs, sorted.

    Paths are as the loader looks them up, made canonical but for the last symlink.
    """
    found: set[str] = set()
    for program in programs:
        # A static program makes ldd fail; it has none.
        output = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        if "not found" in output:
            raise DockerError(
                f"a library of {program} is missing", why=output.strip(), fix="reinstall the package of that program"
            )
        found |= {str(Path(path).parent.resolve() / Path(path).name) for path in _LIBRARY.findall(output)}
    return sorted(found)


def owners(paths: list[str]) -> dict[str, str]:
    """Return package → version of the packages that own these files.

    A merged /usr has each library under two paths, and dpkg knows one of them.
    """
    short = {path.removeprefix("/usr") for path in paths}
    asked = short | {f"/usr{path}" for path in short}
    names = {name.strip() for line in _dpkg("--search", *sorted(asked)).splitlines() for name in _names(line)}
    return installed(sorted(names)) if names else {}


def _names(line: str) -> list[str]:
    if line.startswith("diversion "):
        return []
    return [name.split(":")[0] for name in line.rsplit(": ", 1)[0].split(", ")]

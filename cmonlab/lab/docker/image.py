"""The workload image, built without a registry from the installed packages."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .client import docker_errors
from .recipe import Recipe, check_programs, libraries, owners, read_recipe, versions

if TYPE_CHECKING:
    from .client import DockerClient

__all__ = ["ImageInfo", "ensure_image", "versions"]

_PACKAGES_LABEL = "cmonlab.packages"
_PATH = "PATH=/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True)
class ImageInfo:
    """An image.

    Attributes
    ----------
    tag : str
        Name by which the engine knows it.
    id : str
        The engine's digest of it.
    packages : dict of str to str
        Distribution package with a file in it → version; empty for an image without the label that says so.
    """

    tag: str
    id: str
    packages: dict[str, str]

    def describe(self) -> dict[str, Any]:
        """Return all attributes as a dict that JSON can hold, for a manifest."""
        return asdict(self)


def ensure_image(client: DockerClient, notify: Callable[[str], None] | None = None) -> ImageInfo:
    """Return the workload image; build it unless the engine has it.

    Its tag is a digest of the recipe and of the packages' versions, so it is built again exactly when one of them
    changes.

    Parameters
    ----------
    client : docker.DockerClient
    notify : callable, optional
        Called with a sentence before the image is built.

    Returns
    -------
    ImageInfo

    Raises
    ------
    DockerError
        A package is missing (the fix names it), or the engine refused.
    """
    recipe = read_recipe()
    check_programs(recipe)
    needed = libraries(recipe.programs)
    packages = owners([*recipe.programs, *needed])
    digest = hashlib.sha256(json.dumps([recipe.text, packages], sort_keys=True).encode()).hexdigest()[:16]
    tag = f"{recipe.repository}:{digest}"
    with docker_errors("the workload image cannot be built"):
        if not client.api.images(tag, quiet=True):
            if notify:
                notify("building the workload image")
            _import(client, tag, recipe, needed, packages)
    return find_image(client, tag)


def find_image(client: DockerClient, tag: str) -> ImageInfo:
    """Return an image that the engine has.

    Parameters
    ----------
    client : docker.DockerClient
    tag : str
        Name of the image.

    Returns
    -------
    ImageInfo

    Raises
    ------
    DockerError
        It has no image of that name.
    """
    with docker_errors(f"no image {tag!r}"):
        data = client.api.inspect_image(tag)
    labels = data.get("Config", {}).get("Labels") or {}
    try:
        packages = dict(json.loads(labels.get(_PACKAGES_LABEL, "{}")))
    except ValueError:
        packages = {}
    return ImageInfo(tag, data["Id"], packages)


def _import(client: DockerClient, tag: str, recipe: Recipe, needed: list[str], packages: dict[str, str]) -> None:
    repository, _, version = tag.rpartition(":")
    label = json.dumps(json.dumps(packages, sort_keys=True))
    changes = ["LABEL cmonlab=1", f"LABEL {_PACKAGES_LABEL}={label}", f"ENV {_PATH}", 'CMD ["/bin/sh"]']
    client.api.import_image_from_data(archive(recipe, needed), repository=repository, tag=version, changes=changes)


def archive(recipe: Recipe, needed: list[str]) -> bytes:
    """Return the image's root file system as a tar archive; equal input gives equal bytes.

    Parameters
    ----------
    recipe : Recipe
    needed : list of str
        Paths of the programs' shared libraries and loader.

    Returns
    -------
    bytes
    """
    files = {path: Path(path).read_bytes() for path in [*recipe.programs, *needed]}
    user = recipe.user
    line = "{name}:x:{uid}:{gid}:{name}:/tmp:/bin/sh\n".format(**user)
    files["/etc/passwd"] = f"root:x:0:0:root:/:/bin/sh\n{line}".encode()
    files["/etc/group"] = "root:x:0:\nnogroup:x:{gid}:\n".format(**user).encode()
    links = {f"/bin/{applet}": "/bin/busybox" for applet in recipe.applets}
    for path in needed:
        # Each program names the loader by its path without /usr, which is a link on a system with a merged /usr.
        short = path.removeprefix("/usr")
        if short != path and Path(path).name.startswith("ld") and Path(short).exists():
            links[short] = path
    directories = {"/tmp", "/proc", "/sys", "/dev", "/root", "/run"}
    for path in [*files, *links]:
        directories |= {str(parent) for parent in Path(path).parents} - {"/"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(directories):
            _add(tar, path, tarfile.DIRTYPE, 0o1777 if path == "/tmp" else 0o755)
        for path in sorted(files):
            _add(tar, path, tarfile.REGTYPE, 0o644 if path.startswith("/etc/") else 0o755, data=files[path])
        for path in sorted(set(links) - set(files)):
            _add(tar, path, tarfile.SYMTYPE, 0o777, link=links[path])
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, path: str, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(data), link
    tar.addfile(entry, io.BytesIO(data))

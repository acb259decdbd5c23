"""Archives of artifacts: read, and written without any check."""

import io
import tarfile


def content_of(path):
    with tarfile.open(path) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def written(path, files, **changes):
    """Write an archive of the given members without any check."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            for key, value in changes.get(name, {}).items():
                setattr(entry, key, value)
            tar.addfile(entry, io.BytesIO(data) if entry.isreg() else None)
    return path


def wrong(report):
    return {finding.name: finding for finding in report.findings if finding.verdict in ("differs", "failed")}

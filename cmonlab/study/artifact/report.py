"""The report of a check of an artifact: what agrees, what differs, and by how much."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field

from .difference import Difference

AGREES, DIFFERS, FAILED, NOTED = "agrees", "differs", "failed", "noted"
_WORDS = {AGREES: ("agrees", "agree"), DIFFERS: ("differs", "differ"), FAILED: ("failed", "failed")}
#: Parts of a report in order, with their headings.
PARTS = {
    "file": "files",
    "session": "sessions",
    "notebook": "notebooks",
    "result": "results",
    "live": "new recordings",
    "environment": "environment",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes
    ----------
    part : str
        Key of `PARTS`.
    name : str
        A file, a session and its table, a notebook, a result, a package.
    verdict : {"agrees", "differs", "failed", "noted"}
        ``"noted"`` is information only; it makes no check fail.
    note : str
        The reason, as text.
    differences : tuple of Difference
        How tables differ, column by column.
    """

    part: str
    name: str
    verdict: str
    note: str = ""
    differences: tuple[Difference, ...] = ()


@dataclass
class Report:
    """The report of a check.

    Attributes
    ----------
    name : str
        Name of the artifact.
    sha256 : str
        Digest of the archive in hex, empty for a folder.
    findings : list of Finding
        Everything that was checked, in order.
    """

    name: str
    sha256: str = ""
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all findings agree, noted ones aside; False if there are no others."""
        verdicts = [finding.verdict for finding in self.findings if finding.verdict != NOTED]
        return bool(verdicts) and all(verdict == AGREES for verdict in verdicts)

    def add(
        self, part: str, name: str, verdict: str, note: str = "", differences: list[Difference] | None = None
    ) -> None:
        """Add a finding.

        Parameters
        ----------
        part : str
            Key of `PARTS`.
        name : str
            A file, a session and its table, a notebook, a result, a package.
        verdict : {"agrees", "differs", "failed", "noted"}
            As in `Finding`.
        note : str
            The reason, as text.
        differences : list of Difference, optional
            How tables differ.
        """
        self.findings.append(Finding(part, name, verdict, note, tuple(differences or ())))

    def text(self) -> str:
        """Return the report as text: findings that agree are counted, others are listed."""
        lines = [f"artifact {self.name}" + (f", sha256 {self.sha256}" if self.sha256 else "")]
        for part, heading in PARTS.items():
            mine = [finding for finding in self.findings if finding.part == part]
            if not mine:
                continue
            counts = Counter(finding.verdict for finding in mine)
            summary = ", ".join(f"{n:,} {words[n > 1]}" for verdict, words in _WORDS.items() if (n := counts[verdict]))
            lines.append(f"{heading}: {summary or f'{len(mine):,} noted'}")
            for finding in mine:
                if finding.verdict != AGREES or finding.note:
                    note = (finding.note or finding.verdict).replace("\n", "\n    ")
                    lines.append(f"  {finding.name}: {note}")
                lines += [f"    {difference}" for difference in finding.differences]
        return "\n".join([*lines, self.verdict()])

    def verdict(self) -> str:
        """Return the conclusion in a sentence."""
        judged = [finding for finding in self.findings if finding.verdict != NOTED]
        wrong = sum(finding.verdict != AGREES for finding in judged)
        return f"all {len(judged):,} checks agree" if self.ok else f"{wrong:,} of {len(judged):,} checks do not agree"

    def to_json(self) -> str:
        """Return the report as the text of one JSON object."""
        findings = [asdict(finding) for finding in self.findings]
        for finding in findings:
            for one in finding["differences"]:
                one["relative"] = one["relative"] if math.isfinite(one["relative"]) else None
        content = {"name": self.name, "sha256": self.sha256, "ok": self.ok, "findings": findings}
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)

    def __repr__(self) -> str:
        return self.text()

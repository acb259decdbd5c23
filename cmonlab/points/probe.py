"""Custom probes: a place in the kernel, and C code that reads values there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, field
from typing import Any

from cmonlab.errors import ProbeError

#: Types of fields → numpy dtypes.
TYPES = {f"{kind}{8 * size}": f"{letter}{size}" for kind, letter in (("u", "u"), ("s", "i")) for size in (1, 2, 4, 8)}
MAX_FIELDS = 8
#: Columns of `Session.probe` besides the fields.
COLUMNS = ("ts_ns", "cpu", "journey", "direction", "sport", "dport")

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
_KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool all
"""
_MEMBER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_INITIALISER = re.compile(r"(?<![=!<>])=\s*\{|\)\s*\{(?=[^{};]*\}\s*[;,.)\[])")
#: A comment, a string, a character, or a brace.
_PIECES = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|[{}]", re.DOTALL)


@dataclass(frozen=True)
class Probe:
    """A custom probe, for ``cm.record(..., probes=[...])``.

    Its code runs in the kernel, for the packets or sockets that a rule takes. The code can use ``ctx``, the packet
    (``skb``) or the socket (``sk``), ``out->FIELD``, ``READ(lvalue)``, which reads kernel memory through any pointer,
    and ``ARGUMENT(type, n)``, the n-th argument of the tracepoint or function.

    Parameters
    ----------
    name : str
        A C identifier. Rules name the probe's point by it, and ``session.probe(name)`` returns its table.
    at : str
        Name of a tracepoint. Either `at` or `function` must be given.
    function : str
        Name of a kernel function, on hosts that allow its entry to be traced.
    packet : int, optional
        Which argument, from 0, is the packet (``struct sk_buff *``): the point becomes a hop of the packet's journey.
        Either `packet` or `socket` must be given.
    socket : int, optional
        Which argument, from 0, is the socket (``struct sock *``).
    fields : mapping of str to str
        Name → type, ``u8`` to ``u64`` or ``s8`` to ``s64``; at most 8.
    reads : sequence of str
        Members of kernel structs that the code uses, for instance ``"tcp_sock.snd_cwnd"``, with more dots for embedded
        structs. Their offsets and types are those of the running kernel.
    body : str
        C code: statements.
    first_line : int
        Number of the first line of `body` in messages.

    Raises
    ------
    ProbeError
        The description is wrong on every kernel.

    Examples
    --------
    >>> cwnd = Probe("cwnd", at="tcp_probe", socket=0, fields={"snd_cwnd": "u32"}, reads=["tcp_sock.snd_cwnd"],
    ...              body="out->snd_cwnd = READ(((struct tcp_sock *)sk)->snd_cwnd);")
    """

    name: str
    _: KW_ONLY
    at: str = ""
    function: str = ""
    packet: int | None = None
    socket: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    reads: Sequence[str] = ()
    body: str = ""
    first_line: int = 1

    def __post_init__(self):
        object.__setattr__(self, "fields", dict(self.fields))
        object.__setattr__(self, "reads", tuple([self.reads] if isinstance(self.reads, str) else self.reads))
        self._check_name(self.name, "the name of a point")
        if bool(self.at) == bool(self.function):
            raise self._error("it must have one place", fix="give either at=TRACEPOINT or function=FUNCTION")
        if not _IDENTIFIER.fullmatch(self.place[:32]) or not self.place.isidentifier():
            raise self._error(f"{self.place!r} is not the name of a tracepoint or function")
        if (self.packet is None) == (self.socket is None):
            raise self._error(
                "it must have a packet or a socket",
                fix="give either packet=N or socket=N, from 0",
            )
        if not isinstance(self.argument, int) or not 0 <= self.argument <= 11:
            raise self._error(f"{self.argument!r} is not the number of an argument", fix="use 0 to 11")
        self._check_fields()
        for member in self.reads:
            if not _MEMBER.fullmatch(member):
                raise self._error(f"reads: {member!r} is not a member of a struct", fix="write struct.member")
        self._check_braces()

    @property
    def place(self) -> str:
        """The tracepoint or function."""
        return self.at or self.function

    @property
    def argument(self) -> int:
        """Which argument is the packet or the socket, from 0."""
        argument = self.socket if self.packet is None else self.packet
        return -1 if argument is None else argument

    def describe(self) -> dict[str, Any]:
        """Return the probe as a manifest has it: its parameters by name."""
        return asdict(self) | {"reads": list(self.reads)}

    def _error(self, what: str, why: str = "", fix: str = "") -> ProbeError:
        return ProbeError(f"point {self.name!r}: {what}", why=why, fix=fix)

    def _check_name(self, name: str, role: str) -> None:
        if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name) or name in _KEYWORDS.split():
            raise ProbeError(
                f"{name!r} cannot be {role}",
                why="it must be a C identifier of at most 32 characters, and not a keyword of C",
                fix="use letters, digits and underscores, for instance snd_cwnd",
            )

    def _check_fields(self) -> None:
        if len(self.fields) > MAX_FIELDS:
            raise self._error(f"{len(self.fields)} fields are too many", fix=f"at most {MAX_FIELDS} fit a record")
        for name, kind in self.fields.items():
            self._check_name(name, "the name of a field")
            if name in COLUMNS:
                raise self._error(f"a field cannot be called {name}", why="the table has a column of that name")
            if kind not in TYPES:
                raise self._error(f"field {name}: {kind!r} is not a type", fix=f"use one of {', '.join(TYPES)}")

    def _check_braces(self) -> None:
        """Refuse code whose braces or comments do not match: they would change the code that follows."""
        opened: list[int] = []
        for piece in _PIECES.finditer(self.body):
            line = self.first_line + self.body.count("\n", 0, piece.start())
            if piece[0] == "{":
                opened.append(line)
            elif piece[0] == "}" and not opened:
                raise self._error(f"line {line}: this }} closes nothing")
            elif piece[0] == "}":
                opened.pop()
        if opened:
            raise self._error(f"line {opened[-1]}: this {{ is never closed")
        rest = _PIECES.sub(lambda piece: piece[0] if piece[0] in "{}" else "\n" * piece[0].count("\n"), self.body)
        constant = _INITIALISER.search(rest)
        if constant:
            line = self.first_line + rest.count("\n", 0, constant.end())
            raise self._error(
                f"line {line}: values in braces cannot be used",
                why="the compiler puts them elsewhere in memory, where the program cannot read them",
                fix="assign them one by one",
            )
        if "/*" in rest:
            line = self.first_line + self.body.count("\n", 0, self.body.rindex("/*"))
            raise self._error(f"line {line}: this comment never ends")

"""Check of the words of a pcap expression, so that libpcap never looks up a name.

libpcap asks the name server for every word that it does not know: ``host db1``, but also a misspelt keyword. That
takes seconds, sends the word to another machine, and lets the meaning of a rule change with the answer. An expression
is therefore split into words first, and only keywords, numbers and numeric addresses are passed on. Names of services
(from ``/etc/services``), of protocols and of constants (``tcp-syn``) are replaced by their numbers; the name of a
service means its port for every transport protocol.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from cmonlab.errors import RuleError

EXAMPLE = "for instance 'tcp port 11211', 'host 10.0.0.2 and udp' or 'ip6 and not port 22'"

_ABOUT_IP = (
    "src dst host net mask port portrange proto multicast less greater len "
    "ip ip6 tcp udp sctp icmp icmp6 igmp igrp pim vrrp carp ah esp"
)
_ABOUT_LINKS = (
    "ether link ppp slip fddi tr wlan arp rarp vlan mpls pppoed pppoes geneve vxlan llc broadcast inbound outbound "
    "ifname ifindex on gateway type subtype dir lane vpi vci atalk aarp decnet iso stp ipx netbeui radio"
)
_CONNECTIVES = frozenset({"and", "or", "not"})
KEYWORDS = _CONNECTIVES | frozenset(_ABOUT_IP.split())
_ELSEWHERE = frozenset(_ABOUT_LINKS.split())
_LOOPS = frozenset({"protochain"})
_OTHER_SYNTAX = {"lt": "<", "gt": ">", "eq": "=", "dport": "dst port", "sport": "src port", "ipv6": "ip6", "ipv4": "ip"}
_PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmp6": 58, "ipv6-icmp": 58,
    "eigrp": 88, "ospf": 89, "pim": 103, "vrrp": 112, "sctp": 132, "udplite": 136,
}  # fmt: skip
_ICMP6 = (
    "destinationunreach=1 packettoobig=2 timeexceeded=3 parameterproblem=4 echo=128 echoreply=129 "
    "multicastlistenerquery=130 multicastlistenerreportv1=131 multicastlistenerdone=132 routersolicit=133 "
    "routeradvert=134 neighborsolicit=135 neighboradvert=136 redirect=137 routerrenum=138 nodeinformationquery=139 "
    "nodeinformationresponse=140 ineighbordiscoverysolicit=141 ineighbordiscoveryadvert=142 "
    "multicastlistenerreportv2=143 homeagentdiscoveryrequest=144 homeagentdiscoveryreply=145 mobileprefixsolicit=146 "
    "mobileprefixadvert=147 certpathsolicit=148 certpathadvert=149 multicastrouteradvert=151 "
    "multicastroutersolicit=152 multicastrouterterm=153"
)
_ICMP = (
    "echoreply=0 unreach=3 sourcequench=4 redirect=5 echo=8 routeradvert=9 routersolicit=10 timxceed=11 paramprob=12 "
    "tstamp=13 tstampreply=14 ireq=15 ireqreply=16 maskreq=17 maskreply=18"
)
_TCP = "fin=1 syn=2 rst=4 push=8 ack=16 urg=32 ece=64 cwr=128"
CONSTANTS = {"icmptype": 0, "icmpcode": 1, "icmp6type": 0, "icmp6code": 1, "tcpflags": 13} | {
    f"{family}-{name}": int(value)
    for family, table in (("icmp", _ICMP), ("icmp6", _ICMP6), ("tcp", _TCP))
    for name, value in (entry.split("=") for entry in table.split())
}

_OPERATOR = r"<<|>>|<=|>=|!=|==|&&|\|\||[][()+\-*/%&|^!<>=:]"
_OUTSIDE = re.compile(rf"\s*(?:(?P<word>\\?[A-Za-z0-9:](?:[A-Za-z0-9._:-]*[A-Za-z0-9.:])?)|(?P<operator>{_OPERATOR}))")
_INSIDE = re.compile(rf"\s*(?:(?P<word>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9.])?)|(?P<operator>{_OPERATOR}))")
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]+|[0-9]+")
_RANGE = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_DOTTED = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){1,3}")


def screen(expression: str) -> str:
    """Return an expression with keywords, numbers and numeric addresses only.

    Raises
    ------
    RuleError
        A character or a word is not allowed, a name would need a name server, or a keyword is not about IP packets.
    """
    out: list[str] = []
    kind = ""  # the last keyword: it says what a bare word means
    for word, operator in _tokens(expression):
        if word is None:
            out.append(operator or "")
            continue
        translated = _translate(word, out[-1] if out else "", kind, expression)
        if translated in KEYWORDS - _CONNECTIVES:
            kind = translated
        out.append(translated)
    return " ".join(out)


def _tokens(expression: str) -> Iterator[tuple[str | None, str | None]]:
    """Yield (word, None) or (None, operator)."""
    bad = re.search(r"[^\x20-\x7e\t\r\n]", expression)
    if bad:
        raise refused(expression, f"character {bad.start() + 1} is {bad.group()!r}", "write it in plain ASCII")
    at, depth, end = 0, 0, len(expression.rstrip())
    while at < end:
        match = (_INSIDE if depth > 0 else _OUTSIDE).match(expression, at)
        if not match:
            rest = expression[at:].strip()
            raise refused(expression, f"{rest[0]!r} before {rest[1:20]!r} has no meaning", f"leave it out; {EXAMPLE}")
        depth += {"[": 1, "]": -1}.get(match["operator"], 0)
        at = match.end()
        yield match["word"], match["operator"]


def _translate(word: str, before: str, kind: str, expression: str) -> str:
    """Return the text that libpcap gets for a word, which follows the token `before` and the keyword `kind`."""
    if kind == "proto" and (word[0] == "\\" or before == "proto" or word not in KEYWORDS):
        protocol = _PROTOCOLS.get(word.lstrip("\\"))
        if protocol is not None:
            return str(protocol)
    if word in KEYWORDS:
        return word
    if word in CONSTANTS and before not in KEYWORDS:
        return str(CONSTANTS[word])
    if _NUMBER.fullmatch(word):
        return _number(word, expression)
    if before == "portrange" and _RANGE.fullmatch(word):
        return word
    address = _address(word)
    if address:
        return address
    if kind == "port":
        ports = services().get(word, frozenset())
        if len(ports) == 1:
            return str(next(iter(ports)))
    raise _unknown(word, kind, expression)


def _number(word: str, expression: str) -> str:
    """Return a number in decimal. libpcap reads numbers as C does, and its older versions wrap around silently."""
    try:
        value = int(word, 16 if word[:2] in ("0x", "0X") else 8 if word[0] == "0" else 10)
    except ValueError:
        raise refused(expression, f"{word!r} is not an octal number", "write it without the leading 0") from None
    if value > 0xFFFFFFFF:
        raise refused(expression, f"{word} does not fit in 32 bits", "compare at most 4 bytes at once")
    return str(value)


def _address(word: str) -> str:
    if _DOTTED.fullmatch(word) and all(int(part) <= 255 and str(int(part)) == part for part in word.split(".")):
        return word
    try:
        # Every version of libpcap reads the full form as one address.
        return ipaddress.IPv6Address(word).exploded
    except ValueError:
        return ""


@lru_cache(maxsize=1)
def services(path: Path = Path("/etc/services")) -> dict[str, frozenset[int]]:
    """Return the port numbers of each service name and alias; empty if the file is missing."""
    ports: dict[str, frozenset[int]] = {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ports
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        if len(fields) < 2 or not re.fullmatch(r"[0-9]{1,5}/\w+", fields[1]):
            continue
        for name in (fields[0], *fields[2:]):
            ports[name] = ports.get(name, frozenset()) | {int(fields[1].partition("/")[0])}
    return ports


def _unknown(word: str, kind: str, expression: str) -> RuleError:
    if word in _ELSEWHERE:
        why = f"{word!r} is about the link or the capturing device, but rules see a packet from its IP header on"
        return refused(expression, why, f"match addresses, ports and header fields, {EXAMPLE}")
    if word in _LOOPS:
        return refused(
            expression, f"{word!r} needs a loop, which the kernel program does not have", "use 'proto' instead"
        )
    if kind == "portrange" and ("-" in word or word in services()):
        return refused(
            expression,
            f"{word!r} is not a range of port numbers",
            "write 'portrange 5000-6000', each with its own 'portrange'",
        )
    if kind == "port":
        count = len(services().get(word, ()))
        why = f"/etc/services gives {word!r} {count} ports" if count else f"{word!r} is not in /etc/services"
        return refused(expression, why, f"write the port's number{_nearest(word, services())}")
    if re.fullmatch(r"[0-9A-Fa-f]{1,2}([:-][0-9A-Fa-f]{1,2}){5}", word):
        return refused(
            expression,
            f"{word!r} is an Ethernet address, but rules see a packet from its IP header on",
            f"match the IP address, {EXAMPLE}",
        )
    if word in _OTHER_SYNTAX:
        return refused(expression, f"{word!r} is not a pcap word", f"write {_OTHER_SYNTAX[word]!r}")
    why = f"{word!r} is not a keyword, number or numeric address; names of hosts and networks are never looked up"
    return refused(
        expression, why, f"write the address in digits{_nearest(word, KEYWORDS | CONSTANTS.keys())}; {EXAMPLE}"
    )


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f", or did you mean {near[0]!r}?" if near else ""


def refused(expression: str, why: str, fix: str) -> RuleError:
    """Return the error for an expression that cannot be used.

    Parameters
    ----------
    expression : str
        The expression as the user wrote it; the message quotes its first 200 characters.
    why : str
        Cause.
    fix : str
        What the user can do.
    """
    quoted = expression if len(expression) <= 200 else f"{expression[:200]} …"
    return RuleError(f"the rule {quoted!r} cannot be used", why=why, fix=fix)

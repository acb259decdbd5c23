"""Words of pcap expressions: which are allowed, and how others are refused."""

import threading

import pytest

from cmonlab.errors import CmonlabError, NotTraceable, RuleError
from cmonlab.filters import pcapfilter, pcapwords
from cmonlab.filters.pcapfilter import MAX_CHARACTERS, Instruction, compile_expression

try:
    pcapfilter._libpcap()
except CmonlabError as error:
    pytest.skip(f"libpcap is not installed: {error.why}", allow_module_level=True)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("host db1.example", "never looked up"),
        ("TCP port 80", "did you mean 'tcp'"),
        ("tcp prt 80", "did you mean 'port'"),
        ("tcp dport 80", "'dst port'"),
        ("tcp port", "libpcap says: can't parse filter expression: syntax error"),
        ("tcp port 80 and", "syntax error"),
        ("port 70000", "illegal port number 70000"),
        ("port nosuchservice", "/etc/services"),
        ("vlan 3", "IP header"),
        ("inbound", "IP header"),
        ("ether host 00:11:22:33:44:55", "IP header"),
        ("host 00:11:22:33:44:55", "Ethernet address"),
        ("multicast", "link-layer multicast"),
        ("protochain 6", "loop"),
        ("host 10.0.0.256", "never looked up"),
        ("host 5000-6000", "never looked up"),
        ("portrange http-https", "not a range"),
        ("ip[0] = 99999999999", "32 bits"),
        ("port 089", "octal"),
        ("tcp\0port 80", r"character 4 is '\x00'"),
        ("tcp pört 80", "character 6 is 'ö'"),
        ("tcp; port 80", "';' before ' port 80'"),
        ("ip[0] / 0 = 1", "division by zero"),
        ("1 = 2", "rejects all packets"),
    ],
)
def test_refusal_quotes_the_expression_and_says_how_to_fix_it(expression, said):
    with pytest.raises(RuleError) as caught:
        compile_expression(expression)
    assert repr(expression) in caught.value.what
    assert said in str(caught.value)
    assert caught.value.why and caught.value.fix


def test_length_of_an_expression_is_limited():
    with pytest.raises(RuleError, match=f"of at most {MAX_CHARACTERS}"):
        compile_expression("tcp or " * MAX_CHARACTERS + "udp")
    many = " or ".join(f"udp[udp[{at}]] = {at}" for at in range(75))
    with pytest.raises(RuleError, match=f"instructions of at most {pcapfilter.MAX_INSTRUCTIONS}"):
        compile_expression(many)


def test_white_space_is_ignored_and_empty_text_matches_all():
    everything = [Instruction(0x06, 0, 0, 65535)]
    assert compile_expression("") == compile_expression(" \t\r\n ") == everything
    assert compile_expression(" tcp\n  port\t80 \n") == compile_expression("tcp port 80")


@pytest.mark.parametrize(("name", "value"), sorted(pcapwords.CONSTANTS.items()))
def test_constants_equal_those_of_libpcap(monkeypatch, name, value):
    by_number = compile_expression(f"ip[0] = {value}")
    monkeypatch.setattr(pcapfilter, "screen", str)
    assert compile_expression(f"ip[0] = {name}") == by_number


def test_names_of_services_and_protocols_become_numbers(tmp_path, monkeypatch):
    path = tmp_path / "services"
    path.write_text("http 80/tcp www # web\nhttp 80/udp\nodd 1/tcp\nodd 2/udp\nbroken\nworse x/tcp\n")
    known = pcapwords.services(path)
    assert known == {"http": {80}, "www": {80}, "odd": {1, 2}}
    monkeypatch.setattr(pcapwords, "services", lambda: known)
    assert pcapwords.screen("tcp port http or www") == "tcp port 80 or 80"
    with pytest.raises(RuleError, match="gives 'odd' 2 ports"):
        compile_expression("port odd")
    with pytest.raises(RuleError, match="never looked up"):
        compile_expression("port http and src www")
    assert pcapwords.screen(r"ip proto \tcp or ospf and udp") == "ip proto 6 or 89 and udp"
    assert pcapwords.screen("tcp[tcpflags]&tcp-syn!=0") == "tcp [ 13 ] & 2 != 0"
    assert pcapwords.screen("ip6 net fe80::/10") == "ip6 net fe80:0000:0000:0000:0000:0000:0000:0000 / 10"


def test_many_threads_can_compile_at_once():
    expected = {port: compile_expression(f"tcp port {port} or udp[4:2] > {port}") for port in range(1, 30)}
    found = {}

    def work(port):
        for _ in range(5):
            found.setdefault(port, []).append(compile_expression(f"tcp port {port} or udp[4:2] > {port}"))

    threads = [threading.Thread(target=work, args=(port,)) for port in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {port: [program] * 5 for port, program in expected.items()}


def test_error_without_libpcap_names_the_package(monkeypatch):
    monkeypatch.setattr(pcapfilter, "_SONAMES", ("libnosuchpcap.so.0",))
    pcapfilter._libpcap.cache_clear()
    with pytest.raises(NotTraceable, match="apt install libpcap0"):
        compile_expression("tcp")
    pcapfilter._libpcap.cache_clear()

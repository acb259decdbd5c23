"""Compilation never makes libpcap look up a name."""

import os
import shutil
import subprocess
import sys

import pytest

from cmonlab.errors import CmonlabError
from cmonlab.filters import pcapfilter

try:
    pcapfilter._libpcap()
except CmonlabError as error:
    pytest.skip(f"libpcap is not installed: {error.why}", allow_module_level=True)
if not shutil.which("gcc"):
    pytest.skip("gcc is not installed", allow_module_level=True)

NAMES = [
    "host foo.bar",
    "foo",
    "src foo",
    "net foo",
    "port http or src foo",
    "ip6 host fe80",
    "host 1.2.3.4.5",
    "host 1-2",
]
NAMES += [
    "host \\tcp",
    "TCP port 80",
    "tcp src icmp6-echo",
    "gateway foo",
    "ether host foo",
    "port 80 and (host a or b)",
]
INTERPOSER = """
#include <stdlib.h>
#include <unistd.h>
#include <arpa/inet.h>
static int refuse_name(const char *name)
{
    unsigned char address[16];
    if (name && inet_pton(AF_INET6, name, address) != 1) { write(2, "looked up a name\\n", 17); _exit(99); }
    return -2;
}
int getaddrinfo(const char *n, const char *s, const void *h, void **r)
{
    static int (*real)(const char *, const char *, const void *, void **);
    if (!real) real = dlsym(RTLD_NEXT, "getaddrinfo");
    refuse_name(n ? n : s);
    return real(n, s, h, r);
}
void *gethostbyname(const char *n) { refuse_name("x"); return 0; }
void *getservbyname(const char *n, const char *p) { refuse_name("x"); return 0; }
void *getnetbyname(const char *n) { refuse_name("x"); return 0; }
void *getprotobyname(const char *n) { refuse_name("x"); return 0; }
void *ether_hostton(const char *n) { refuse_name("x"); return 0; }
"""


def test_names_are_never_looked_up(tmp_path):
    """Compile with look-up functions that end the process."""
    source, library = tmp_path / "names.c", tmp_path / "names.so"
    source.write_text("#define _GNU_SOURCE\n#include <dlfcn.h>\n" + INTERPOSER)
    subprocess.run(["gcc", "-w", "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True)
    program = """
import sys
from cmonlab.errors import RuleError
from cmonlab.filters import pcapfilter, pcapwords
for text in sys.argv[2:]:
    if sys.argv[1] == "raw":
        pcapfilter.screen = str
    try:
        pcapfilter.compile_expression(text)
    except RuleError as error:
        print(error.why)
"""

    def run(mode, texts):
        return subprocess.run(
            [sys.executable, "-c", program, mode, *texts],
            env={"LD_PRELOAD": str(library), "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
        )

    fine = [
        "ip6 host fe80::1",
        "port http or https",
        "ip proto \\tcp",
        "portrange 5-6",
        "tcp[tcpflags] & tcp-syn != 0",
        "net fe80::/10",
    ]
    done = run("screened", NAMES + fine)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(NAMES), done.stdout
    assert run("raw", ["host foo.bar"]).returncode == 99
    assert run("raw", ["ip6 host fe80::1"]).returncode == 0

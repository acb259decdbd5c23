"""Transport over NATS: broken connections, refusals of the server, tokens and TLS."""

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError

from cmonlab.errors import TransportError
from cmonlab.live.transport import NatsServer, connect
from cmonlab.live.transport.nats import without_secrets
from cmonlab.system import ownership
from tests.support.servers import WAIT_S, gone, orphan, until


def kill(server):
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: gone(server.pid))


def test_transport_recovers_after_the_server_was_killed(tmp_path):
    with (
        NatsServer(tmp_path) as first,
        connect(first.url, first.token) as one,
        connect(first.url, first.token) as other,
    ):
        live = []
        other.subscribe("live", live.append)
        other.serve("echo", lambda payload: payload)
        one.create_stream("stored", ["stored"], 1 << 22, 60)
        for number in range(50):
            one.publish_to_stream("stored", b"%d" % number)
        one.flush()
        replay = other.replay("stored")
        assert [int(replay.get(WAIT_S).payload) for _ in range(30)] == list(range(30))
        kill(first)
        until(lambda: "not connected" in repr(one) and "not connected" in repr(other))
        with pytest.raises(TransportError, match="no connection"):
            one.publish("live", b"lost")
        with pytest.raises(TransportError, match="not acknowledged"):
            # Waits for the server, as the following messages do.
            one.publish_to_stream("stored", b"50")
            one.flush(timeout_s=0.05)
        for number in range(51, 60):
            one.publish_to_stream("stored", b"%d" % number)
        with NatsServer(tmp_path, port=first.port) as second:
            assert second.token == first.token
            one.flush()
            until(lambda: repr(other).endswith(", connected>"))
            assert one.request("echo", b"x") == b"x"
            one.publish("live", b"again")
            until(lambda: live)
            assert [message.payload for message in live] == [b"again"]
            found = [replay.get(WAIT_S) for _ in range(30)]
            assert [int(message.payload) for message in found] == list(range(30, 60))
            assert [message.sequence for message in found] == list(range(31, 61))
            assert replay.get(0) is None
    assert (tmp_path / "streams").is_dir()


def test_messages_sent_while_the_connection_breaks_are_stored_once_and_in_order(tmp_path):
    with NatsServer(tmp_path) as first, connect(first.url, first.token) as one:
        one.create_stream("stored", ["stored"], 1 << 26, 60)
        for number in range(100):
            one.publish_to_stream("stored", b"%06d" % number * 1000)
        os.kill(first.pid, signal.SIGKILL)
        for number in range(100, 200):
            one.publish_to_stream("stored", b"%06d" % number * 1000)
        until(lambda: gone(first.pid))
        with NatsServer(tmp_path, port=first.port):
            one.flush()
            with one.replay("stored") as replay:
                assert [int(replay.get(WAIT_S).payload[:6]) for _ in range(200)] == list(range(200))
                assert replay.get(0.05) is None


def test_replay_continues_after_the_server_deleted_its_consumer(monkeypatch):
    monkeypatch.setattr("cmonlab.live.transport.replay._BATCH", 2)
    with NatsServer() as server, connect(server.url, server.token) as one:
        one.create_stream("stored", ["stored"], 1 << 20, 60)
        for number in range(10):
            one.publish_to_stream("stored", b"%d" % number)
        one.flush()
        with one.replay("stored") as replay:
            found = []
            for _ in range(10):
                # Between two batches, and in the middle of one.
                found.append(int(replay.get(WAIT_S).payload))
                with contextlib.suppress(NotFoundError):
                    one._loop.call(one._js.delete_consumer("stored", replay._consumer), WAIT_S)
            assert found == list(range(10))
            one._loop.call(one._js.delete_stream("stored"), WAIT_S)
            with pytest.raises(TransportError, match="stream 'stored' cannot be read"):
                replay.get(WAIT_S)


def test_server_without_streams_is_reported(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = orphan(tmp_path / "plain", ownership.me(), port)
    try:
        with connect(f"nats://127.0.0.1:{port}") as one:
            with pytest.raises(TransportError, match="has no streams"):
                one.create_stream("stored", ["stored"], 1 << 20, 60)
            with pytest.raises(TransportError, match="has no streams"):
                one.replay("stored")
    finally:
        process.kill()
        process.wait()


def test_stream_larger_than_the_store_is_refused():
    refused = pytest.raises(TransportError, match="insufficient storage")
    with NatsServer(store_bytes=1 << 20) as server, connect(server.url, server.token) as one, refused:
        one.create_stream("stored", ["stored"], 1 << 21, 60)


def test_close_reports_unacknowledged_messages(tmp_path, monkeypatch):
    monkeypatch.setattr("cmonlab.live.transport.nats._CLOSE_S", 0.1)
    with NatsServer(tmp_path) as server:
        one = connect(server.url, server.token)
        one.create_stream("stored", ["stored"], 1 << 20, 60)
        kill(server)
        one.publish_to_stream("stored", b"lost")
        with pytest.raises(TransportError, match="1 messages are not acknowledged"):
            one.close()
        one.close()


def test_wrong_token_is_refused_and_never_shown(caplog):
    with NatsServer() as server:
        for token in ("wrong-secret", None):
            with pytest.raises(TransportError, match="does not accept the token") as caught:
                connect(server.url, token)
            assert "wrong-secret" not in str(caught.value)
        with connect(f"nats://{server.token}@127.0.0.1:{server.port}") as one:
            assert repr(one) == f"<NatsTransport {server.url}, connected>"
        assert (
            server.token not in repr(server)
            and server.token.encode() not in Path(f"/proc/{server.pid}/cmdline").read_bytes()
        )
        assert server.token not in (server.directory / "nats.log").read_text()
        assert stat.S_IMODE(server.directory.stat().st_mode) == 0o700
        for name in ("nats.json", "token"):
            assert stat.S_IMODE((server.directory / name).stat().st_mode) == 0o600
    assert server.token not in caplog.text
    assert not server.directory.exists()
    server.close()


def test_missing_and_silent_server_give_different_errors():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TransportError, match=r"nothing answered in 0\.2 s"):
            connect(url, "x", timeout_s=0.2)
    with pytest.raises(TransportError, match=f"cannot connect to {url}\n.*Connect call failed"):
        connect(url, "x")


def test_url_is_shown_without_secrets():
    assert without_secrets("tls://user:secret@host:4222") == "tls://host:4222"
    assert without_secrets("secret@host") == "nats://host"


def test_tls_url_never_sends_the_token_unencrypted():
    with NatsServer() as server, pytest.raises(TransportError, match="offers no TLS; nothing was sent"):
        connect(server.url.replace("nats", "tls"), server.token)


def test_tls_certificate_is_verified(tmp_path, monkeypatch):
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*make.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    configure = NatsServer._configure

    def with_tls(self, *arguments):
        configure(self, *arguments)
        file = self.directory / "nats.json"
        file.write_text(
            json.dumps(json.loads(file.read_text()) | {"tls": {"cert_file": str(certificate), "key_file": str(key)}})
        )

    monkeypatch.setattr(NatsServer, "_configure", with_tls)
    with NatsServer() as server:
        url = server.url.replace("nats", "tls")
        with pytest.raises(TransportError, match=r"its certificate is not trusted.*\n.*SSL_CERT_FILE"):
            connect(url, server.token)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with connect(url, server.token) as one:
            one.serve("echo", bytes)
            assert one.request("echo", b"x") == b"x"

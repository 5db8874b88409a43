"""The Kubernetes API as a small server of our own, over real TLS."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest

from datamodel.errors import Invalid, Unavailable
from ipamd.config import ApiServer
from ipamd.kubernetes import internal_addresses
from tests.etcd_server import Certificates, free_ports, make_certificates

NODE = {
    "kind": "Node",
    "status": {
        "addresses": [
            {"type": "Hostname", "address": "node-1"},
            {"type": "ExternalIP", "address": "203.0.113.1"},
            {"type": "InternalIP", "address": "10.0.0.11"},
            {"type": "InternalIP", "address": "fd00::11"},
        ]
    },
}


class Api:
    """Answers what it is told to; remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = json.dumps(NODE).encode()
        self.pause_s = 0.0  # before each half of the answer
        self.asked: list[tuple[str, str | None]] = []


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def server(api: Api, certificates: Certificates, tmp_path: Path) -> Iterator[ApiServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            api.asked.append((self.path, self.headers["Authorization"]))
            time.sleep(api.pause_s)
            self.send_response(api.status)
            self.send_header("Content-Length", str(len(api.body)))
            self.end_headers()
            half = len(api.body) // 2
            try:
                self.wfile.write(api.body[:half])
                time.sleep(api.pause_s)
                self.wfile.write(api.body[half:])
            except OSError:
                pass  # nobody waits any more

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server, certificates.server_key)
    (port,) = free_ports(1)
    listener = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    listener.socket = context.wrap_socket(
        listener.socket, server_side=True, do_handshake_on_connect=False
    )
    listener.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    (tmp_path / "token").write_text("secret\n")
    (tmp_path / "ca.crt").write_bytes(certificates.ca.read_bytes())
    yield ApiServer("127.0.0.1", port, "node-1", tmp_path)
    listener.shutdown()
    thread.join()
    listener.server_close()


def refused(server: ApiServer) -> str:
    with pytest.raises(Invalid) as caught:
        internal_addresses(server)
    assert str(caught.value).startswith(f"{server}: ")
    return str(caught.value).removeprefix(f"{server}: ")


def not_answered(server: ApiServer, timeout_s: float = 5.0) -> str:
    with pytest.raises(Unavailable) as caught:
        internal_addresses(server, timeout_s)
    assert str(caught.value).startswith(f"{server}: ")
    return str(caught.value).removeprefix(f"{server}: ")


def test_the_internal_addresses_of_the_node_are_those_of_its_kubelet(api, server):
    found = internal_addresses(server)

    assert found == (ip_address("10.0.0.11"), ip_address("fd00::11"))
    assert api.asked == [("/api/v1/nodes/node-1", "Bearer secret")]


def test_a_long_answer_is_read_to_its_end(api, server):
    images = [{"names": [f"registry/image-{i}"]} for i in range(20_000)]
    api.body = json.dumps({**NODE, "images": images}).encode()

    assert len(internal_addresses(server)) == 2


def test_a_node_without_addresses_has_none(api, server):
    api.body = b'{"kind":"Node","status":{}}'

    assert internal_addresses(server) == ()


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (401, "nodes node-1: answers 401; the token of ipamd's service account is not valid"),
        (403, "nodes node-1: answers 403; give ipamd's service account the right to"),
        (404, "nodes node-1: answers 404; there is no such node; set CALICO_K8S_NODE_REF"),
        (302, "nodes node-1: answers 302"),
    ],
)
def test_a_refusal_says_what_to_do(api, server, status, text):
    api.status = status

    assert refused(server).startswith(text)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_may_answer_later(api, server, status):
    api.status = status

    assert not_answered(server) == f"nodes node-1: answers {status}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"kind":"Status"}',
        b'{"status":{"addresses":[{"type":"InternalIP","address":"here"}]}}',
        b'{"status":{"addresses":[1]}}',
    ],
)
def test_an_answer_that_is_no_node_is_told(api, server, body):
    api.body = body

    assert refused(server).startswith("its answer is not a Node: ")


def test_an_answer_without_end_is_given_up(api, server):
    api.body = b"x" * (9 << 20)

    assert not_answered(server) == "its answer is longer than 8388608 bytes"


@pytest.mark.parametrize("timeout_s", [0.05, 0.15])  # before the answer, and in the middle of it
def test_a_server_that_is_slow_is_not_waited_for(api, server, timeout_s):
    api.pause_s = 0.1

    assert not_answered(server, timeout_s) == f"no answer within {timeout_s:g} s"


def test_a_server_that_does_not_even_speak_tls_is_not_waited_for(server):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]

        assert not_answered(replace(server, port=port), 0.05) == "no answer within 0.05 s"


def test_a_server_that_is_not_there_may_come(server):
    (port,) = free_ports(1)

    assert "Connection refused" in not_answered(replace(server, port=port))


def test_a_stranger_is_not_told_the_token(api, server, tmp_path):
    strange = make_certificates(tmp_path)
    (tmp_path / "ca.crt").write_bytes(strange.ca.read_bytes())

    assert "its certificate is not one that" in refused(server)
    assert api.asked == []


@pytest.mark.parametrize("name", ["token", "ca.crt"])
def test_outside_a_pod_the_missing_file_is_named(server, name):
    path = server.service_account / name
    path.unlink()

    assert refused(server) == (
        f"{path} cannot be read: No such file or directory; kubernetes-internal-ip needs "
        "ipamd to run in a pod with a service account"
    )


@pytest.mark.parametrize("token", ["", "two\nlines", "nöt"])
def test_a_token_that_is_none_is_told(server, token):
    (server.service_account / "token").write_text(token)

    assert refused(server).endswith("/token is not a token")


def test_an_authority_that_is_none_is_told(server):
    (server.service_account / "ca.crt").write_text("nothing")

    assert "/ca.crt is not a certificate: " in refused(server)

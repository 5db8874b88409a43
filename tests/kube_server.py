"""The Kubernetes API as a small server of our own, over real TLS: answers in recorded shapes."""

import contextlib
import json
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.etcd_server import Certificates

NODE = {
    "kind": "Node",
    "apiVersion": "v1",
    "metadata": {"name": "node-1"},
    "status": {
        "addresses": [
            {"type": "Hostname", "address": "node-1"},
            {"type": "ExternalIP", "address": "203.0.113.1"},
            {"type": "InternalIP", "address": "10.0.0.11"},
            {"type": "InternalIP", "address": "fd00::11"},
        ]
    },
}
NAMESPACE = {
    "kind": "Namespace",
    "apiVersion": "v1",
    "metadata": {
        "name": "shop",
        "uid": "5bd5f4a8-4d40-4e7b-9d1d-0d3b9e6a3f10",
        "resourceVersion": "812",
        "creationTimestamp": "2026-08-22T13:30:01Z",
        "labels": {"kubernetes.io/metadata.name": "shop", "team": "blue"},
        "managedFields": [{"manager": "kubectl-create", "operation": "Update"}],
    },
    "spec": {"finalizers": ["kubernetes"]},
    "status": {"phase": "Active"},
}
POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {
        "name": "web-0",
        "generateName": "web-",
        "namespace": "shop",
        "uid": "0c1f6a52-6a0c-4f4e-8a51-5a2f8b9b2f77",
        "resourceVersion": "4711",
        "creationTimestamp": "2026-08-22T13:33:20Z",
        "labels": {"app": "web", "statefulset.kubernetes.io/pod-name": "web-0"},
        "ownerReferences": [{"kind": "StatefulSet", "name": "web", "controller": True}],
    },
    "spec": {
        "volumes": [{"name": "kube-api-access-x", "projected": {"defaultMode": 420}}],
        "initContainers": [{"name": "init", "image": "busybox", "ports": [{"containerPort": 9}]}],
        "containers": [
            {
                "name": "web",
                "image": "nginx",
                "ports": [
                    {"name": "http", "containerPort": 8080, "protocol": "TCP"},
                    {"hostPort": 5353, "containerPort": 53, "protocol": "UDP"},
                    {"containerPort": 9100, "protocol": "TCP"},
                ],
                "resources": {},
            },
            {"name": "side", "image": "busybox"},
        ],
        "serviceAccountName": "shopkeeper",
        "serviceAccount": "shopkeeper",
        "nodeName": "node-1",
    },
    "status": {"phase": "Pending", "qosClass": "BestEffort"},
}
NODES, NAMESPACES = "/api/v1/nodes/node-1", "/api/v1/namespaces/shop"
PODS = f"{NAMESPACES}/pods/web-0"


def refusal(code: int, reason: str, message: str, **details: str) -> bytes:
    """What the API says when it does not give what is asked for."""
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    about = {"message": message, "reason": reason, **({"details": details} if details else {})}
    return json.dumps({**status, **about, "code": code}).encode()


class Api:
    """Answers what it is told to; remembers what it was asked."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {NODES: NODE, NAMESPACES: NAMESPACE, PODS: POD}
        self.status = 200
        self.body: bytes | None = None  # instead of the document
        self.pause_s = 0.0  # before each half of the answer
        self.drip_s = 0.0  # before each byte of it, its head included
        self.length: int | None = None  # that it says it has; None: the true one
        self.is_chunked = False
        self.forgets = False  # connections that have served a request: there comes no answer
        self.closes: str = ""  # "before", "after" or in the "middle" of its answer, untold
        self.asked: list[tuple[str, str | None]] = []
        self.connections = 0
        self.clients: list[str] = []  # common names of their certificates

    def answer(self, path: str) -> tuple[bytes, bytes]:
        """Head and body for *path*."""
        status, body = self._found(path)
        head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n"
        if self.is_chunked:
            chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode(), chunks
        length = len(body) if self.length is None else self.length
        return f"{head}Content-Length: {length}\r\n\r\n".encode(), body

    def _found(self, path: str) -> tuple[int, bytes]:
        if self.body is not None or self.status != 200:
            return self.status, self.body or b""
        if path in self.documents:
            return 200, json.dumps(self.documents[path]).encode()
        kind, name = path.rsplit("/", 2)[1:]
        return 404, refusal(404, "NotFound", f'{kind} "{name}" not found', name=name, kind=kind)

    def stream(self, path: str) -> Iterator[bytes] | None:
        """The parts of an answer that goes on and on; ``None``: it is one like others."""
        return None


@contextlib.contextmanager
def serving(
    api: Api, certificates: Certificates | None, wants_client: bool = False
) -> Iterator[int]:
    """Serve *api* on a port of 127.0.0.1; without certificates in plain HTTP."""
    listener = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api}))
    listener.daemon_threads = True
    if certificates:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.server, certificates.server_key)
        if wants_client:
            context.load_verify_locations(certificates.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        listener.socket = context.wrap_socket(
            listener.socket, server_side=True, do_handshake_on_connect=False
        )
    listener.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield listener.server_address[1]
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()


class _Handler(BaseHTTPRequestHandler):
    api: Api
    protocol_version = "HTTP/1.1"
    timeout = 10
    disable_nagle_algorithm = True  # as every Go server

    def setup(self) -> None:
        super().setup()
        self.api.connections += 1
        self.has_served = False

    def do_GET(self) -> None:
        self.api.asked.append((self.path, self.headers["Authorization"]))
        if isinstance(self.connection, ssl.SSLSocket) and (
            certificate := self.connection.getpeercert()
        ):
            self.api.clients.append(certificate["subject"][0][0][1])
        if self.has_served and self.api.forgets:
            self.rfile.read()  # until the client has enough of it
        self.has_served, self.close_connection = True, bool(self.api.closes)
        if self.api.closes == "before":
            return
        try:
            if stream := self.api.stream(self.path):
                self._send_parts(stream)
            else:
                self._send(*self.api.answer(self.path))
        except OSError:  # nobody waits any more, or the answer is to end here
            self.close_connection = True

    def _send_parts(self, parts: Iterator[bytes]) -> None:
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        self.close_connection = True
        for part in parts:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, head: bytes, body: bytes) -> None:
        time.sleep(self.api.pause_s)
        if self.api.drip_s:
            for byte in head + body:
                time.sleep(self.api.drip_s)
                self.wfile.write(bytes([byte]))
            return
        half = len(body) // 2
        self.wfile.write(head + body[:half])
        time.sleep(self.api.pause_s)
        if self.api.closes != "middle":
            self.wfile.write(body[half:])

    def log_message(self, *_: object) -> None:
        pass

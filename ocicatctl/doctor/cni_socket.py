"""Asks the CNI server for its versions, as the launcher would.

Edge: the CNI server's Unix socket. ``cni_plugin/wire.py`` describes the bytes.
"""

import json
import socket

_REQUEST = b"@role=ocicat\0CNI_COMMAND=VERSION"
_RECEIVED = b"\x06"


def ask_version(path: str, timeout_s: float) -> str:
    """Why the server does not answer; "": it does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.settimeout(timeout_s)
        try:
            server.connect(path)
            server.sendall(len(_REQUEST).to_bytes(4, "big") + bytes(4) + _REQUEST)
            header = _receive(server, 9)
            answer = _receive(server, int.from_bytes(header[1:5], "big"))
            server.sendall(_RECEIVED)
        except TimeoutError:
            return f"{path}: no answer within {timeout_s:g} s"
        except OSError as error:
            return f"{path}: {error.strerror or error}"
    try:
        json.loads(answer)["supportedVersions"]
    except (ValueError, KeyError, TypeError):
        return f"{path}: answers VERSION with something else"
    return ""


def _receive(server: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = server.recv(count - len(data))
        if not chunk:
            raise ConnectionResetError("it hung up in the middle")
        data += chunk
    return data

"""What the Kubernetes API knows of this node: the addresses that its kubelet reports.

Edge: HTTPS and the files of a pod's service account. Only for the autodetection method
``kubernetes-internal-ip``; ipamd needs no Kubernetes otherwise.
"""

import http.client
import ipaddress
import json
import ssl
import time
from typing import Any
from urllib.parse import quote

from datamodel.block import Address
from datamodel.errors import Invalid, OcicatError, Unavailable
from ipamd.config import ApiServer

TIMEOUT_S = 5.0
_LONGEST_ANSWER = 8 << 20
_REMEDIES = {
    401: "the token of ipamd's service account is not valid",
    403: 'give ipamd\'s service account the right to "get" the resource "nodes"',
    404: "there is no such node; set CALICO_K8S_NODE_REF to its name in Kubernetes",
}


def internal_addresses(api: ApiServer, timeout_s: float = TIMEOUT_S) -> tuple[Address, ...]:
    """Return the node's addresses of type InternalIP, in their order. Blocks.

    Args:
        api: whom to ask.
        timeout_s: for connecting, and then for the whole answer.

    Raises:
        Invalid: there is no service account, the API refuses it, or does not know the node.
        Unavailable: the API does not answer, or cannot for now.
    """
    token = _read(api, "token").strip()
    if not (token and token.isascii() and token.isprintable()):
        raise Invalid(f"{api}: {api.service_account / 'token'} is not a token")
    connection = http.client.HTTPSConnection(
        api.host, api.port, timeout=timeout_s, context=_tls(api)
    )
    try:
        connection.connect()
        end = time.monotonic() + timeout_s
        status, body = _get(connection, f"/api/v1/nodes/{quote(api.node, safe='')}", token, end)
    except TimeoutError as error:
        raise Unavailable(f"{api}: no answer within {timeout_s:g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise Invalid(
            f"{api}: its certificate is not one that {api.service_account / 'ca.crt'} vouches for: "
            f"{error.verify_message}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"{api}: {error}") from error
    finally:
        connection.close()
    if status != http.client.OK:
        raise _refusal(api, status)
    return _internal(api, body)


def _read(api: ApiServer, name: str) -> str:
    path = api.service_account / name
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Invalid(
            f"{api}: {path} cannot be read: {reason}; kubernetes-internal-ip needs "
            "ipamd to run in a pod with a service account"
        ) from error


def _tls(api: ApiServer) -> ssl.SSLContext:
    authority = _read(api, "ca.crt")
    try:
        return ssl.create_default_context(cadata=authority)
    except ssl.SSLError as error:
        path = api.service_account / "ca.crt"
        raise Invalid(f"{api}: {path} is not a certificate: {error.reason}") from error


def _get(
    connection: http.client.HTTPSConnection, path: str, token: str, end: float
) -> tuple[int, bytes]:
    """Make one request; whatever of it waits, waits until *end* at the longest."""
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    sock = connection.sock  # the response goes on using it when the connection has let go of it
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    body = bytearray()
    while part := response.read1(1 << 16):
        body += part
        if len(body) > _LONGEST_ANSWER:
            raise http.client.HTTPException(f"its answer is longer than {_LONGEST_ANSWER} bytes")
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if sock.fileno() >= 0:  # else all of it has come
            sock.settimeout(left)
    return response.status, bytes(body)


def _refusal(api: ApiServer, status: int) -> OcicatError:
    about = f"{api}: nodes {api.node}: answers {status}"
    if status in _REMEDIES:
        return Invalid(f"{about}; {_REMEDIES[status]}")
    if status == http.client.TOO_MANY_REQUESTS or status >= http.client.INTERNAL_SERVER_ERROR:
        return Unavailable(about)
    return Invalid(about)


def _internal(api: ApiServer, body: bytes) -> tuple[Address, ...]:
    try:
        document: Any = json.loads(body)
        listed = document["status"].get("addresses") or []
        texts = [str(a["address"]) for a in listed if a["type"] == "InternalIP"]
        return tuple(ipaddress.ip_address(text) for text in texts)
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise Invalid(f"{api}: its answer is not a Node: {error!r}") from error

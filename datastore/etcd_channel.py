"""One gRPC channel to one etcd endpoint, and what its failures mean.

Edge: gRPC and the certificate files.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import grpc
import grpc.aio

from datamodel.errors import Invalid
from datastore import etcd_pb2 as pb
from datastore.config import EtcdConfig
from datastore.etcd_pb2_grpc import AuthStub, KVStub, LeaseStub, WatchStub

WatchCall = grpc.aio.StreamStreamCall["pb.WatchRequest", "pb.WatchResponse"]

_MAX_ANSWER_BYTES = 64 * 1024 * 1024  # a list of all blocks; gRPC's own limit is 4 MiB
_LONGEST_CONNECT_MS = 3000


@dataclass(frozen=True, slots=True)
class Connection:
    """The calls that one endpoint takes."""

    endpoint: str
    channel: grpc.aio.Channel
    files: tuple[bytes | None, ...]  # the certificates with which it was made
    txn: grpc.aio.UnaryUnaryMultiCallable[pb.TxnRequest, pb.TxnResponse]
    watch: grpc.aio.StreamStreamMultiCallable[pb.WatchRequest, pb.WatchResponse]
    authenticate: grpc.aio.UnaryUnaryMultiCallable[pb.AuthenticateRequest, pb.AuthenticateResponse]
    grant: grpc.aio.UnaryUnaryMultiCallable[pb.LeaseGrantRequest, pb.LeaseGrantResponse]
    keep_alive: grpc.aio.UnaryUnaryMultiCallable[
        pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse
    ]
    time_to_live: grpc.aio.UnaryUnaryMultiCallable[
        pb.LeaseTimeToLiveRequest, pb.LeaseTimeToLiveResponse
    ]

    async def close(self) -> None:
        """Close the channel and cancel what is in flight."""
        await self.channel.close()


def connect(config: EtcdConfig, endpoint: str, keepalive_s: float) -> Connection:
    """Make a channel; it connects at the first call and again whenever it has lost its peer.

    Raises:
        Invalid: a certificate file cannot be read, or is none.
    """
    scheme, _, target = endpoint.partition("://")
    options = _options(keepalive_s)
    files = certificate_files(config)
    if scheme == "https":
        authority, key, certificate = files
        credentials = grpc.ssl_channel_credentials(authority, key, certificate)
        channel = grpc.aio.secure_channel(target, credentials, options)
    else:
        channel = grpc.aio.insecure_channel(target, options)
    lease = LeaseStub(channel)
    return Connection(
        endpoint=endpoint,
        channel=channel,
        files=files,
        # The generated stubs have no types.
        txn=KVStub(channel).Txn,
        watch=WatchStub(channel).Watch,
        authenticate=AuthStub(channel).Authenticate,
        grant=lease.LeaseGrant,
        keep_alive=lease.LeaseKeepAlive,
        time_to_live=lease.LeaseTimeToLive,
    )


def _options(keepalive_s: float) -> list[tuple[str, int]]:
    return [
        # A member that stalls keeps its connections open: without pings a watch on it waits for
        # ever (etcd#8980). etcd takes a ping every 5 s, and only while a call is open; who sends
        # more is told to go away ("too_many_pings").
        # How long it waits for the answer, grpcio 1.85 takes from ping_timeout (else 60 s).
        ("grpc.keepalive_time_ms", int(keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(keepalive_s * 500)),
        ("grpc.http2.ping_timeout_ms", int(keepalive_s * 500)),
        ("grpc.keepalive_permit_without_calls", 0),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # Despite its name also how long one attempt to connect may take (20 s by default).
        ("grpc.min_reconnect_backoff_ms", _LONGEST_CONNECT_MS),
        ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),  # no DNS lookups of settings
        ("grpc.enable_retries", 0),  # the session retries, and knows how often
        ("grpc.use_local_subchannel_pool", 1),  # share no connection and no backoff with others
    ]


def certificate_files(config: EtcdConfig) -> tuple[bytes | None, bytes | None, bytes | None]:
    """What the files hold now: authority, key, certificate. They may be renewed at any time.

    Raises:
        Invalid: one cannot be read, or is something else.
    """
    return (
        _content("ETCD_CA_CERT_FILE", config.ca_cert_file, "CERTIFICATE"),
        _content("ETCD_KEY_FILE", config.key_file, "PRIVATE KEY"),
        _content("ETCD_CERT_FILE", config.cert_file, "CERTIFICATE"),
    )


def _content(variable: str, path: Path | None, kind: str) -> bytes | None:
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Invalid(f"{variable}: {path} cannot be read: {error.strerror}") from error
    # gRPC would not name the file, and over an empty one it aborts the whole process.
    if f"{kind}-----".encode() not in content:
        raise Invalid(f"{variable}: {path} holds no {kind.lower()} in PEM form")
    return content


@lru_cache(maxsize=2)
def metadata(token: str | None) -> grpc.aio.Metadata:
    """What goes with every call: a member without a leader is to refuse it instead of waiting."""
    return grpc.aio.Metadata(("hasleader", "true"), *((("token", token),) if token else ()))


# ---- failures ----------------------------------------------------------------------------------

_REFUSALS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
)
# Of the same codes, but it passes.
_PASSING = ("too many requests", "database space exceeded")
_OLD_TOKEN = ("invalid auth token", "revision of auth store is old", "user name is empty")

_REMEDIES = {
    "invalid user ID or password": "check ETCD_USERNAME and ETCD_PASSWORD",
    "user name is empty": "it wants a user: set ETCD_USERNAME and ETCD_PASSWORD",
    "invalid auth token": "it wants a user: set ETCD_USERNAME and ETCD_PASSWORD",
    "permission denied": "grant the user what docs/etcd-access.md grants it",
    "too large": "raise etcd's --max-request-bytes",
    "CLIENT: Received message larger": "remove what is not used, see calicoctl ipam check",
    "larger than max": "raise etcd's --max-request-bytes",
    "too many operations": "raise etcd's --max-txn-ops",
    "unknown service": "it is no etcd v3, check ETCD_ENDPOINTS",
}

_PLAIN_WORDS = {
    "Connection refused": "connection refused",
    "certificate has expired": ("its certificate has expired; renew it, or set our clock right"),
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not one that ETCD_CA_CERT_FILE vouches for",
    "Failed to create security handshaker": (
        "ETCD_CERT_FILE, ETCD_KEY_FILE and ETCD_CA_CERT_FILE are damaged or do not fit together"
    ),
    # It ended the connection over the certificate that it was shown, or not shown.
    "TSI_DATA_CORRUPTED": (
        "it refuses us; check ETCD_CERT_FILE and ETCD_KEY_FILE, and whether they have expired"
    ),
    "Hostname Verification": "its certificate is not for the host that ETCD_ENDPOINTS names",
    "Handshake read failed": "it does not speak TLS; http or https in ETCD_ENDPOINTS?",
    "Ssl handshake failed": "TLS handshake failed",
    "database space exceeded": "its database is full: compact, defragment, disarm the alarm",
}


def is_old_token(error: grpc.aio.AioRpcError) -> bool:
    """Whether a new token may help."""
    return any(text in (error.details() or "") for text in _OLD_TOKEN)


def is_refusal(error: grpc.aio.AioRpcError, *, has_user: bool) -> bool:
    """Whether the same request would be refused again, by whichever member."""
    if has_user and is_old_token(error):
        return False  # a member that lags does not know the newest token yet
    detail = error.details() or ""
    return error.code() in _REFUSALS and not any(text in detail for text in _PASSING)


def refusal(endpoint: str, error: grpc.aio.AioRpcError) -> str:
    """Say who refuses, why, and what to do about it."""
    remedies = (what for text, what in _REMEDIES.items() if text in (error.details() or ""))
    what_to_do = next(remedies, None)
    text = f"etcd {endpoint}: refuses the request ({reason(error)})"
    return f"{text}; {what_to_do}" if what_to_do else text


def reason(error: BaseException) -> str:
    """Say in a few words why an attempt came to nothing."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return "no answer in time" if isinstance(error, TimeoutError) else "the call was over"
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time"
    detail = error.details() or error.code().name
    plain = (words for text, words in _PLAIN_WORDS.items() if text in detail)
    return next(plain, detail.removeprefix("etcdserver: "))

"""Asks ipamd over its Unix socket, with a deadline on every call.

Edge: gRPC. Used by the CNI plugin. Blocking: the plugin's threads call it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, TypeVar

import grpc

from datamodel.attachment import Attachment, Pod
from datamodel.block import Address
from datamodel.errors import OcicatError, Unavailable
from ipam_api import ipam_pb2, ipam_pb2_grpc
from ipam_api.status import OURS_METADATA, error_of

T = TypeVar("T")

# ipamd may be restarting: look for it again soon, not after gRPC's usual 1 s, 1.6 s, 2.6 s, …
_CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_http_proxy", 0),
]

RETRY_PAUSE_S = 0.1


class NotReached(Unavailable):
    """ipamd was not there: it has not seen the request and will not."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """What ipamd answers to Allocate."""

    addresses: tuple[Address, ...]
    node: str
    superseded_container_id: str  # the pod's previous sandbox; "" if there is none


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the workload endpoint is to say about the attachment's link."""

    interface_name: str
    mac: str
    profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Holding:
    """What ipamd answers to Get."""

    addresses: tuple[Address, ...]
    interface_name: str  # of the recorded endpoint; "" if none is recorded


class IpamClient:
    """The daemon of this node."""

    def __init__(self, socket_path: str) -> None:
        self._where = socket_path
        self._channel = grpc.insecure_channel(f"unix:{socket_path}", options=_CHANNEL_OPTIONS)
        self._stub = ipam_pb2_grpc.IpamStub(self._channel)

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def allocate(
        self,
        attachment: Attachment,
        pod: Pod | None,
        endpoint: Recorded,
        pools: tuple[str, ...],
        timeout_s: float,
    ) -> "PendingAllocation":
        """Ask for the attachment's addresses and return at once; ``wait`` for the answer.

        Get-or-create: asking again gives the same addresses.
        """
        request = ipam_pb2.AllocateRequest(
            attachment=_attachment(attachment),
            pod=_pod(pod),
            endpoint=ipam_pb2.Endpoint(
                interface_name=endpoint.interface_name,
                mac=endpoint.mac,
                profiles=endpoint.profiles,
            ),
            ipv4=True,
            ipv4_pools=pools,
        )
        deadline = time.monotonic() + timeout_s
        return PendingAllocation(
            lambda: self._stub.Allocate.future(
                request, timeout=max(0.01, deadline - time.monotonic())
            ),
            deadline,
            self._where,
        )

    def release(self, attachment: Attachment, pod: Pod | None, timeout_s: float) -> None:
        """Give back everything the attachment holds; nothing held is success.

        Raises:
            Unavailable: no answer in *timeout_s*, at once if there is no daemon: spool it.
        """
        request = ipam_pb2.ReleaseRequest(attachment=_attachment(attachment), pod=_pod(pod))
        self._checked(lambda: self._stub.Release(request, timeout=timeout_s))

    def get(self, attachment: Attachment, pod: Pod | None, timeout_s: float) -> Holding:
        """Say what the attachment holds.

        Raises:
            Unavailable: no answer in *timeout_s*.
        """
        request = ipam_pb2.GetRequest(attachment=_attachment(attachment), pod=_pod(pod))
        answer = self._checked(lambda: self._stub.Get(request, timeout=timeout_s))
        return Holding(
            addresses=tuple(ip_address(a.address) for a in answer.addresses),
            interface_name=answer.endpoint.interface_name,
        )

    def _checked(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except grpc.RpcError as error:
            raise _error(error, self._where) from error


class PendingAllocation:
    """An Allocate that is under way."""

    def __init__(self, start: Callable[[], Any], deadline: float, where: str) -> None:
        self._start = start
        self._deadline = deadline
        self._where = where
        self._call = start()
        self._failure: OcicatError | None = None

    def wait(self) -> Allocation:
        """Wait for the answer; again, for the same answer. An absent daemon is waited for.

        Raises:
            Exhausted, Invalid: as ipamd says; nothing is held.
            NotReached: ipamd was not there until the deadline; nothing is held.
            Unavailable: no answer until the deadline; the addresses may be held all the same.
        """
        while self._failure is None:
            try:
                return _allocation(self._call.result())
            except grpc.RpcError as error:
                failure = _error(error, self._where)
                if isinstance(failure, NotReached) and time.monotonic() < self._deadline:
                    time.sleep(RETRY_PAUSE_S)
                    self._call = self._start()
                    continue
                self._failure = failure
        raise self._failure


def _allocation(answer: ipam_pb2.AllocateResponse) -> Allocation:
    return Allocation(
        addresses=tuple(ip_address(a.address) for a in answer.addresses),
        node=answer.node,
        superseded_container_id=answer.superseded_container_id,
    )


def _error(error: grpc.RpcError, where: str) -> OcicatError:
    details = error.details() or ""
    metadata: Any = error.trailing_metadata() or ()
    if OURS_METADATA[0][0] in {key for key, _ in metadata}:
        return error_of(error.code(), details)
    # gRPC's words for a connection that was never made. Any other text: the request may have gone.
    kind = NotReached if details.startswith("failed to connect") else Unavailable
    return kind(
        f"ipamd {where}: does not answer ({error.code().name.lower()}: {details}); "
        "check that it runs and reaches etcd"
    )


def _attachment(attachment: Attachment) -> ipam_pb2.Attachment:
    return ipam_pb2.Attachment(
        network=attachment.network,
        container_id=attachment.container_id,
        ifname=attachment.ifname,
    )


def _pod(pod: Pod | None) -> ipam_pb2.Pod | None:
    return None if pod is None else ipam_pb2.Pod(namespace=pod.namespace, name=pod.name)

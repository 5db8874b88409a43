"""What the same write costs without us: a loop of etcd transactions of the same size.

Edge: gRPC. Requests are made before the clock starts; the client is gRPC's blocking one, which has
the shorter way to an answer than the one on asyncio that ipamd uses.
"""

import itertools
import time
from dataclasses import dataclass

import grpc

from bench.ipam_pods import attachment, pod
from datamodel.endpoint import EndpointId
from datastore import codec, keys
from datastore import etcd_pb2 as pb
from datastore.etcd_pb2_grpc import KVStub

TIMEOUT_S = 10.0
_MAX_ANSWER_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many bytes the keys and values of one Allocate's transaction have."""

    keys: tuple[int, ...]  # of block, handle, endpoint
    values: tuple[int, ...]


def mean(one: Sizes, other: Sizes) -> Sizes:
    """Values in the middle between two."""
    middle = tuple((a + b) // 2 for a, b in zip(one.values, other.values, strict=True))
    return Sizes(other.keys, middle)


class Bare:
    """One client that writes one transaction after the other, beside Calico's keys."""

    def __init__(self, endpoint: str) -> None:
        options = [("grpc.max_receive_message_length", _MAX_ANSWER_BYTES)]
        self._channel = grpc.insecure_channel(endpoint.partition("://")[2], options=options)
        self._stub = KVStub(self._channel)
        self._numbers = itertools.count()
        self._revisions: dict[bytes, int] = {}  # of the keys that stand for blocks

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()

    def revision(self) -> int:
        """The store's: it grows by one with every transaction that writes."""
        answer = self._stub.Range(pb.RangeRequest(key=b"/"), timeout=TIMEOUT_S)
        revision: int = answer.header.revision
        return revision

    def sizes_of(self, number: int, node: str) -> Sizes:
        """The sizes of what the store holds of a pod that has an address."""
        handle_key = keys.handle(attachment(number).handle_id)
        handle = self._value(handle_key)
        (block,) = codec.decode_handle(handle_key, handle)
        where = EndpointId.of(node, attachment(number), pod(number))
        block_key, endpoint_key = keys.block(block), keys.endpoint(where.namespace, where.name)
        return Sizes(
            tuple(map(len, (block_key, handle_key, endpoint_key))),
            (len(self._value(block_key)), len(handle), len(self._value(endpoint_key))),
        )

    def _value(self, key: str) -> bytes:
        (found,) = self._stub.Range(pb.RangeRequest(key=key.encode()), timeout=TIMEOUT_S).kvs
        value: bytes = found.value
        return value

    def write(self, sizes: Sizes) -> float:
        """Write one transaction like that of an Allocate; return the seconds it took.

        One value is replaced that nobody may have changed, two are new.
        """
        names = ("block", *(f"{what}{next(self._numbers)}" for what in ("handle", "endpoint")))
        where = [
            f"/bench/{name}/".ljust(size, "x").encode()
            for name, size in zip(names, sizes.keys, strict=True)
        ]
        revisions = (self._revisions.get(where[0], 0), 0, 0)
        request = pb.TxnRequest(
            compare=[
                pb.Compare(
                    target=pb.Compare.MOD,
                    result=pb.Compare.EQUAL,
                    key=key,
                    mod_revision=revision,
                )
                for key, revision in zip(where, revisions, strict=True)
            ],
            success=[
                pb.RequestOp(request_put=pb.PutRequest(key=key, value=b"x" * size))
                for key, size in zip(where, sizes.values, strict=True)
            ],
            failure=[pb.RequestOp(request_range=pb.RangeRequest(key=key)) for key in where],
        )
        begun = time.perf_counter()
        response = self._stub.Txn(request, timeout=TIMEOUT_S)
        took_s = time.perf_counter() - begun
        if not response.succeeded:
            raise RuntimeError("etcd: a bare transaction was rejected")
        self._revisions[where[0]] = response.header.revision
        return took_s

"""A node for fault tests: a real ipamd, and the kernel and plugin beside it as plain values.

``Node`` does with ipamd what the CNI plugin does, keeps the links that a kernel would then have,
and says whether the store agrees with them.
"""

import time
from collections.abc import Collection, Mapping
from typing import Self

import grpc

from datamodel.attachment import Attachment
from datastore import codec, keys
from datastore.config import EtcdConfig
from datastore.etcd import EtcdStore
from datastore.store import MAX_OPERATIONS, Change
from ipam_api import ipam_pb2
from tests.consistency import assert_consistent
from tests.etcd_proxy import LoopThread
from tests.ipamd_process import IpamdProcess, allocate_request, attachment, release_request

GRACE_S = 0.2
PACE = {"OCICAT_LEAK_GRACE_S": str(GRACE_S), "OCICAT_RECONCILE_PERIOD_S": str(GRACE_S)}
TIMEOUT_S = 10.0


def handle_of(container: str) -> str:
    return Attachment("net", container, "eth0").handle_id


class DirectStore:
    """The store past ipamd, for looking at it and for what operators and other nodes write."""

    def __init__(self, config: EtcdConfig, loop: LoopThread) -> None:
        self._loop = loop
        self._store = EtcdStore(config, deadline_s=20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._store.close())

    @property
    def content(self) -> dict[str, bytes]:
        """Every key and its value."""
        snapshot = self._loop.run(self._store.read("/"))
        return {key: entry.value for key, entry in snapshot.entries.items()}

    @property
    def revision(self) -> int:
        return self._loop.run(self._store.read()).revision

    def put(self, entries: Mapping[str, bytes]) -> int:
        """Write *entries*; return the revision."""
        return self._loop.run(self._store.commit(Change(put=entries))).revision

    def empty(self) -> None:
        """Delete every key."""
        found = list(self.content)
        for i in range(0, len(found), MAX_OPERATIONS):
            some = frozenset(found[i : i + MAX_OPERATIONS])
            self._loop.run(self._store.commit(Change(delete=some)))


def held_in(content: Mapping[str, bytes]) -> dict[str, set[str]]:
    """The addresses that each handle holds, as the blocks say."""
    found: dict[str, set[str]] = {}
    for key, value in content.items():
        if key.startswith(keys.ALL_BLOCKS):
            block = codec.decode_block(key, value)
            for handle in {a.handle_id for a in block.attributes if a.handle_id}:
                found.setdefault(handle, set()).update(map(str, block.sequences_of(handle)))
    return found


class Node:
    """What runs on one node, and what its kernel has."""

    def __init__(self, ipamd: IpamdProcess, store: DirectStore) -> None:
        self.ipamd = ipamd
        self.store = store
        self.links: dict[str, ipam_pb2.ReportedLink] = {}  # by container
        self.spool: set[str] = set()  # containers whose release ipamd did not take
        self.given: dict[str, list[str]] = {}  # container -> the addresses it got last
        self._pods: dict[str, str | None] = {}

    def start(self) -> None:
        """Start ipamd and report what the kernel has."""
        self.ipamd.start(report=False)
        self.report()

    def settle(self) -> None:
        """Wait until ipamd has heard of what is in the store: its own last write."""
        revision = self.store.revision
        end = time.monotonic() + TIMEOUT_S
        while self.ipamd.stub.Status(ipam_pb2.StatusRequest(), timeout=1).revision < revision:
            assert time.monotonic() < end, "ipamd does not hear of what it wrote"
            time.sleep(0.005)

    # ---- what the plugin does ------------------------------------------------------------------

    def add(
        self,
        container: str,
        pod: str | None = None,
        *,
        ipv6: bool = False,
        address: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> list[str]:
        """ADD: if ipamd does not answer, the link goes and the release is spooled.

        Raises:
            grpc.RpcError: ipamd did not answer, or refused.
        """
        self._pods[container] = pod
        self.spool.discard(container)
        request = allocate_request(container, pod)
        request.ipv6 = ipv6
        request.addresses.extend([address] if address else [])
        try:
            answer = self.ipamd.stub.Allocate(request, timeout=timeout_s)
        except grpc.RpcError:
            self.spool.add(container)
            raise
        addresses = self.given[container] = [a.address for a in answer.addresses]
        self.links[container] = ipam_pb2.ReportedLink(
            interface_name=request.endpoint.interface_name,
            attachment=attachment(container),
            pod=request.pod,
            addresses=addresses,
            mac=request.endpoint.mac,
        )
        if older := answer.superseded_container_id:
            self.delete(older)
        return addresses

    def delete(self, container: str, timeout_s: float = TIMEOUT_S) -> None:
        """DEL: the link first, then the release, spooled if ipamd does not answer."""
        self.links.pop(container, None)
        request = release_request(container, self._pods.get(container))
        try:
            self.ipamd.stub.Release(request, timeout=timeout_s)
        except grpc.RpcError:
            self.spool.add(container)

    def deliver(self) -> None:
        """Deliver the spooled releases."""
        spool, self.spool = self.spool, set()
        for container in spool:
            self.delete(container)
        assert not self.spool, "ipamd does not take the spooled releases"

    def report(self) -> None:
        """Report what the kernel has."""
        self.ipamd.report(*list(self.links.values()))

    def reconcile(self) -> None:
        """Let the grace period pass and report twice: what leaked is freed afterwards."""
        for _ in range(2):
            time.sleep(GRACE_S + 0.02)
            self.report()

    # ---- what must hold ------------------------------------------------------------------------

    def check(self, others: Collection[str] = ()) -> None:
        """The store is consistent, and what it says is held is what the links have.

        Args:
            others: handles of other nodes, which are left out of the comparison.
        """
        content = self.store.content
        assert_consistent(content)
        held = {h: a for h, a in held_in(content).items() if h not in others}
        assert held == {handle_of(c): set(link.addresses) for c, link in self.links.items()}
        addresses = [a for link in self.links.values() for a in link.addresses]
        assert len(addresses) == len(set(addresses)), "an address was given out twice"

"""What a node puts into the store when it starts: cluster information, default pool, itself.

Story. Several nodes may start at once on an empty store: everything is written only where nothing
is, in the compare-and-swap loop of ``datastore/store.py``.
"""

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from ipaddress import IPv4Interface

from datamodel.node import Node
from datastore import codec, keys
from datastore.codec import Stamp
from datastore.store import Change, Decision, Entry, Store, settle
from ipamd.config import Config

log = logging.getLogger(__name__)


class _Facts:
    """What was read of the store for one registration."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry | None] = {}
        self.pools: frozenset[str] | None = None

    def learn(self, revision: int, entries: Mapping[str, Entry | None]) -> None:
        self.entries.update(entries)

    def learn_keys(self, prefix: str, found: Iterable[str]) -> None:
        self.pools = frozenset(found)


async def register(store: Store, config: Config, detect: Callable[[], IPv4Interface]) -> None:
    """Write what is missing, and this node's address and AS number.

    Args:
        detect: finds the node's address; called only if it is neither set nor stored.

    Raises:
        Unavailable: the store does not answer.
        Invalid: the node has no address.
    """
    stamp = Stamp(str(uuid.uuid4()), datetime.now(UTC))
    facts = _Facts()
    await settle(store, facts, lambda: _decide(facts, config, stamp, detect))
    log.info("registered node=%s", config.node)


def _decide(
    facts: _Facts, config: Config, stamp: Stamp, detect: Callable[[], IPv4Interface]
) -> Decision[None]:
    singletons = {
        keys.CLUSTER_INFORMATION: codec.encode_cluster_information(uuid.UUID(stamp.uid).hex, stamp),
        keys.IPAM_CONFIG: codec.DEFAULT_IPAM_CONFIG,
    }
    node_key = keys.node(config.node)
    needs = {key for key in (*singletons, node_key) if key not in facts.entries}
    if facts.pools is None:
        needs.add(keys.POOLS)
    if needs:
        return Decision(None, needs=frozenset(needs))
    put = {key: value for key, value in singletons.items() if facts.entries[key] is None}
    if config.default_pool and not facts.pools:
        key = keys.pool(config.default_pool.name)
        if facts.entries.get(key) is None:
            put[key] = codec.encode_pool(config.default_pool, stamp)
    entry = facts.entries[node_key]
    value = _node_value(config, entry, stamp, detect)
    if entry is None or entry.value != value:
        put[node_key] = value
    expect = {key: entry.revision if (entry := facts.entries.get(key)) else 0 for key in put}
    return Decision(None, Change(expect, put))


def _node_value(
    config: Config, entry: Entry | None, stamp: Stamp, detect: Callable[[], IPv4Interface]
) -> bytes:
    key = keys.node(config.node)
    stored = codec.decode_node(key, entry.value) if entry else Node(config.node)
    ipv4 = config.ipv4 or (None if config.detects_ipv4 else stored.ipv4) or detect()
    node = Node(config.node, ipv4=ipv4, as_number=config.as_number)
    return codec.encode_node(node, stamp, entry.value if entry else None)

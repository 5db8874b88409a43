"""The transactions of the controller: what a handle has leaked; a node that is gone, or back again.

Pure: no I/O. Decisions run again when somebody wrote first (``datastore/store.py``). What they take
is exactly what was seen, by sequence numbers: an address that was released and given out again
since, even to the same handle, is not the one that leaked.
"""

from dataclasses import dataclass
from datetime import datetime

from datamodel.attachment import Attachment
from datamodel.block import Address
from datamodel.endpoint import EndpointId
from datamodel.errors import Invalid
from datamodel.pool import Network
from datastore import codec, keys
from datastore.codec import DepartedNode
from datastore.departed import Alive
from datastore.known import Known
from datastore.store import Change, Decision, Entry
from datastore.taken import Freed, Taken
from kube_controllers.survey import Holding, StoredNode


@dataclass(frozen=True, slots=True)
class Rest:
    """How long freed addresses rest, from when on."""

    now: datetime
    cooldown_s: int


def decide_leak(leak: Holding, known: Known, rest: Rest) -> Decision[Taken]:
    """Free what a handle has leaked: all of it, with handle and endpoint, or nothing.

    Nothing is freed if the handle holds anything else than what was seen.

    Raises:
        Invalid: a block cannot be read.
    """
    handle_key = keys.handle(leak.handle_id)
    endpoint_key = _endpoint_key(leak)
    wanted = {handle_key, *map(keys.block, leak.blocks), *([endpoint_key] if endpoint_key else [])}
    if needs := {key for key in wanted if key not in known}:
        return Decision(Taken(), needs=frozenset(needs))
    cidrs = leak.blocks | _counted(known[handle_key])
    if needs := {key for key in map(keys.block, cidrs) if key not in known}:
        return Decision(Taken(), needs=frozenset(needs))
    expect: dict[str, int] = {}
    put: dict[str, bytes] = {}
    delete: set[str] = set()

    def look(key: str) -> Entry | None:
        entry = known[key]
        expect[key] = entry.revision if entry else 0
        return entry

    held: dict[Address, int] = {}
    for cidr in sorted(cidrs, key=lambda c: (c.version, c)):
        entry = look(keys.block(cidr))
        block = codec.decode_block(entry.key, entry.value) if entry else None
        if block is None or not block.held_by(leak.handle_id):
            continue
        held |= block.sequences_of(leak.handle_id)
        block, _ = block.release(leak.handle_id, now=rest.now, cooldown_s=rest.cooldown_s)
        if block.affinity is None and block.is_unused:
            delete.add(keys.block(cidr))
        else:
            put[keys.block(cidr)] = codec.encode_block(block.next_write())
    if held != leak.addresses or not held:
        return Decision(Taken())
    if look(handle_key):
        delete.add(handle_key)
    removed = _endpoint_to_remove(leak, look(endpoint_key) if endpoint_key else None)
    delete |= {*removed}
    freed = tuple(Freed(address, leak.handle_id, leak.pod) for address in held)
    return Decision(Taken(freed, resources=removed), Change(expect, put, frozenset(delete)))


def _counted(entry: Entry | None) -> frozenset[Network]:
    """Where the handle says it holds something; one that nobody can read says nothing."""
    try:
        return frozenset(codec.decode_handle(entry.key, entry.value)) if entry else frozenset()
    except Invalid:
        return frozenset()


def _endpoint_key(leak: Holding) -> str | None:
    attachment = Attachment.of_handle(leak.handle_id)
    if attachment is None:
        return None
    where = EndpointId.of(leak.node, attachment, leak.pod)
    return keys.endpoint(where.namespace, where.name)


def _endpoint_to_remove(leak: Holding, entry: Entry | None) -> tuple[str, ...]:
    """The endpoint of the same container; that of a newer sandbox of the pod stays."""
    attachment = Attachment.of_handle(leak.handle_id)
    if entry is None or attachment is None:
        return ()
    try:
        endpoint = codec.decode_endpoint(entry.key, entry.value)
    except Invalid:
        return ()
    listed = {network.network_address for network in endpoint.networks}
    is_its_own = endpoint.container_id == attachment.container_id
    return (entry.key,) if is_its_own and listed <= leak.addresses.keys() else ()


# ---- nodes -------------------------------------------------------------------------------------


def decide_departure(node: StoredNode, known: Known) -> Decision[None]:
    """Delete the resource of a node that is gone, and note that it is being taken back.

    Raises:
        Alive: somebody has written it since it was looked at, or runs under its name.
    """
    key, claim, note = keys.node(node.name), keys.claim(node.name), keys.departed(node.name)
    if needs := {k for k in (key, claim, note) if k not in known}:
        return Decision(None, needs=frozenset(needs))
    entry, begun = known[key], known[note]
    if known[claim] is not None:
        raise Alive(f"node {node.name}: an ipamd runs under its name")
    expect = {key: entry.revision if entry else 0, claim: 0, note: begun.revision if begun else 0}
    if entry is None:
        if begun is None:  # somebody else has done all of it
            raise Alive(f"node {node.name}: was deleted by somebody else")
        return Decision(None, Change(expect))  # is so still
    if node.entry is None or entry.revision != node.entry.revision:
        raise Alive(f"node {node.name}: its resource was written a moment ago")
    value = codec.encode_departed(DepartedNode(node.kubernetes_names, entry.value))
    return Decision(None, Change(expect, {note: value}, frozenset({key})))


def decide_return(name: str, known: Known) -> Decision[bool]:
    """Have the resource of a node that is back after all as it was; whether that was needed."""
    key, note = keys.node(name), keys.departed(name)
    if needs := {k for k in (key, note) if k not in known}:
        return Decision(False, needs=frozenset(needs))
    entry, begun = known[key], known[note]
    if begun is None:
        return Decision(False)
    expect = {key: entry.revision if entry else 0, note: begun.revision}
    put = {}
    if entry is None:
        put[key] = codec.decode_departed(note, begun.value).resource
    return Decision(bool(put), Change(expect, put, frozenset({note})))


def decide_end(name: str, known: Known) -> Decision[None]:
    """Note no longer that a node is being taken back: all of it has been."""
    note = keys.departed(name)
    if note not in known:
        return Decision(None, needs=frozenset({note}))
    begun = known[note]
    if begun is None:
        return Decision(None)
    return Decision(None, Change({note: begun.revision}, delete=frozenset({note})))

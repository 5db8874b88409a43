"""Interop by data: values of every Calico from 3.20 on, read and rewritten; and those that we make.

Each file in ``interop/`` is a case. One of Calico's is named after a version that writes it so
(``newer``: one that is not there yet, with fields that nobody knows) and has

    about     what is particular about it
    key       where it is stored
    value     what Calico stores there, or ``text`` if that is no JSON object
    with      other cases that are stored beside it, ``stored``: other values
    expect    what we read in it (READERS says in which words); without, we never read it
    apply     a document for the action of that name
    rewrites  what we do (ACTIONS), and all the difference that it makes in the whole store: where
              there is no line, there is no difference, in known fields as in unknown ones
    lost      what a rewrite of ours, or of an older Calico, drops, and why that cannot be helped

One of ours (``ours-…``) has what we do, and the values that we write, field by field in the order
of Calico's structs. ``make golden`` writes none of them: a difference is a decision.
"""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict, replace
from difflib import SequenceMatcher
from functools import partial
from ipaddress import ip_address, ip_network
from itertools import zip_longest
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from datamodel.affinity import Affinity
from datamodel.attachment import Kernel
from datamodel.bgp import BgpConfiguration
from datamodel.bgp_filter import BgpFilter
from datamodel.bgp_peer import BgpPeer
from datamodel.errors import Invalid, OcicatError
from datamodel.node import Node
from datamodel.pool import Pool
from datastore import codec, codec_bgp, keys
from datastore.known import Known
from datastore.memory import MemoryStore
from datastore.node_removal import delete_node
from datastore.store import Entry, Snapshot, Store, settle
from ipamd.config import read_config
from ipamd.registration import Registration
from ipamd.request import Fence, Link, Prepare, Tidy
from ocicatctl.ipam.configure import decide as decide_config
from ocicatctl.ipam.release import release_all
from ocicatctl.ipam.release_plan import Target
from ocicatctl.resources.documents import parse
from ocicatctl.resources.kinds import KINDS, POOL, with_revision
from ocicatctl.resources.manifest import Verb, named, resources_in
from ocicatctl.resources.pool_delete import delete_pool
from ocicatctl.resources.query import Query, answer
from ocicatctl.resources.write import write
from tests.consistency import problems
from tests.ipam import (
    LINK,
    NODE,
    NOW,
    STAMP,
    Stored,
    a_pool,
    a_release,
    a_store,
    an_allocate,
    content,
    filled,
    settled,
)

Case = dict[str, Any]

GOLDEN = Path(__file__).parent / "interop"
CASES: dict[str, Case] = {p.stem: json.loads(p.read_text()) for p in sorted(GOLDEN.glob("*.json"))}
PODS = [f"{keys.ENDPOINTS}default/node--1-k8s-web--0-eth0"]
OURS = [name for name in CASES if name.startswith("ours-")]
THEIRS = [name for name in CASES if not name.startswith("ours-")]


def go_json(value: Any) -> bytes:
    """JSON as Go writes it: no blanks, and three characters escaped wherever they stand."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def stored_as(case: Case) -> bytes:
    return case["text"].encode() if "text" in case else go_json(case["value"])


def base() -> Stored:
    """A cluster of one node with a pool of each family, cut as the fact sheet's examples are."""
    return a_store(
        a_pool("blocks4", "10.65.0.0/16", block_size=29),
        a_pool("blocks6", "fd80:24e2:f998:72d6::/64", block_size=122),
        **{
            keys.CLUSTER_INFORMATION: codec.encode_cluster_information("0" * 32, STAMP),
            keys.KUBE_CONTROLLERS_CONFIGURATION: codec.encode_kube_controllers_configuration(STAMP),
        },
    )


def around(case: Case) -> Stored:
    """The case's value, and what is stored beside it."""
    values = {CASES[name]["key"]: stored_as(CASES[name]) for name in case.get("with", ())}
    others = {key: go_json(value) for key, value in case.get("stored", {}).items()}
    return base().having(**values, **others, **{case["key"]: stored_as(case)})


# ---- what we read ------------------------------------------------------------------------------


def _block(entry: Entry) -> Any:
    block = codec.decode_block(entry.key, entry.value)
    held = {}
    for ordinal, index in enumerate(block.allocations):
        if index is not None:
            who = block.attributes[index]
            facts = who.secondary or {}
            held[str(block.address(ordinal))] = {
                "handle": who.handle_id,
                **{name: facts[name] for name in ("pod", "node", "type") if name in facts},
                "sequence": block.sequence_numbers.get(ordinal, 0),
                **({"cooling since": f"{who.released_at}"} if who.released_at else {}),
            }
    return {
        "node": block.host,
        "sequence": block.sequence_number,
        "held": held,
        "free": len(block.unallocated),
        "next": None if block.free() is None else str(block.address(block.free() or 0)),
        "empty": block.is_empty,
    }


def _affinity(entry: Entry) -> Any:
    found = codec.decode_affinity(entry.key, entry.value)
    return {"node": found.host, "block": str(found.cidr), "confirmed": found.is_confirmed}


def _handle(entry: Entry) -> Any:
    return {str(c): n for c, n in codec.decode_handle(entry.key, entry.value).items()}


def _config(entry: Entry) -> Any:
    found = codec.decode_ipam_config(entry.value)
    return {
        "strict": found.strict_affinity,
        "claims": found.auto_allocate_blocks,
        "blocks": found.block_limit,
        "cooldown": found.ip_cooldown_s,
        "others": found.extra,
    }


def _pool(entry: Entry) -> Any:
    pool = codec.decode_pool(entry.key, entry.value)
    return {
        "cidr": str(pool.cidr),
        "block size": pool.block_size,
        "modes": [pool.ipip_mode, pool.vxlan_mode],
        "flags": [pool.nat_outgoing, pool.disabled, pool.disable_bgp_export],
        "selectors": [pool.node_selector, pool.namespace_selector],
        "uses": list(pool.allowed_uses),
        "assignment": pool.assignment_mode,
        "allocatable": pool.is_allocatable and not pool.is_deleting,
    }


def _node(entry: Entry) -> Any:
    node = codec.decode_node(entry.key, entry.value)
    return {
        "name": node.name,
        "addresses": [str(a) for a in (node.ipv4, node.ipv6) if a],
        "as": node.as_number,
        "cluster id": node.route_reflector_cluster_id,
        "labels": node.labels,
    }


def _endpoint(entry: Entry) -> Any:
    found = codec.decode_endpoint(entry.key, entry.value)
    where = found.id
    return {
        "id": [where.node, where.namespace, where.orchestrator, where.workload, where.ifname],
        "container": found.container_id,
        "networks": [str(network) for network in found.networks],
        "link": [found.interface_name, found.mac],
        "profiles": list(found.profiles),
    }


def _bgp(entry: Entry) -> Any:
    return _said(codec_bgp.decode_bgp_configuration(entry.key, entry.value), BgpConfiguration())


def _bgp_peer(entry: Entry) -> Any:
    return _said(codec_bgp.decode_bgp_peer(entry.key, entry.value), BgpPeer(""))


def _bgp_filter(entry: Entry) -> Any:
    return _said(codec_bgp.decode_bgp_filter(entry.key, entry.value), BgpFilter(""))


def _said(found: Any, default: Any) -> Any:
    """The fields of the model that are not as in *default*, as JSON."""
    shown = json.loads(json.dumps(asdict(found), default=str))
    usual = json.loads(json.dumps(asdict(default), default=str))
    return {name: value for name, value in shown.items() if value != usual[name]}


def _table(entry: Entry) -> Any:
    """A kind that no daemon reads: what ``ocicatctl get -o wide`` shows."""
    kind = next(kind for kind in KINDS if entry.key.startswith(kind.prefix))
    cells = kind.cells(entry, 64512)
    return {name: cells[name] for name in kind.wide}


READERS: dict[str, Callable[[Entry], Any]] = {
    keys.ALL_BLOCKS: _block,
    keys.ALL_AFFINITIES: _affinity,
    keys.ALL_HANDLES: _handle,
    keys.IPAM_CONFIG: _config,
    keys.POOLS: _pool,
    keys.RESERVATIONS: lambda entry: list(codec.decode_reservation(entry.key, entry.value)),
    keys.NODES: _node,
    keys.ENDPOINTS: _endpoint,
    keys.BGP_CONFIGURATIONS: _bgp,
    keys.BGP_PEERS: _bgp_peer,
    keys.BGP_FILTERS: _bgp_filter,
    keys.CLUSTER_INFORMATION: _table,
}


@pytest.mark.parametrize("name", [name for name in THEIRS if "expect" in CASES[name]])
def test_what_calico_wrote_is_read(name):
    case = CASES[name]
    read = next(reader for prefix, reader in READERS.items() if case["key"].startswith(prefix))

    assert read(Entry(case["key"], stored_as(case), 7)) == case["expect"]


def served(name: str) -> bool:
    return any(CASES[name]["key"].startswith(kind.prefix) for kind in KINDS)


@pytest.mark.parametrize("name", [name for name in THEIRS if served(name)])
def test_get_shows_every_field(name):
    case = CASES[name]
    kind = next(kind for kind in KINDS if case["key"].startswith(kind.prefix))
    scope, _, called = case["key"].removeprefix(kind.prefix).rpartition("/")
    query = Query(kind, (called,), scope or None)
    entries = {case["key"]: Entry(case["key"], stored_as(case), 7)}

    text, mistakes = answer(query, Snapshot(9, entries), "json")

    value = case["value"]
    assert mistakes == []
    assert json.loads(text) == value | {"metadata": value["metadata"] | {"resourceVersion": "7"}}


# ---- what we do --------------------------------------------------------------------------------


class Refused(Exception):
    """We do not do it; the lines say why."""


async def act(stored: Stored, action: str, case: Case) -> Stored:
    """The store after the action, which is a verb and what it is told."""
    verb, *words = action.split()
    return await ACTIONS[verb](stored, words, case)


def _decided(stored: Stored, request: Any) -> Stored:
    after, outcomes = settled(stored, request)
    assert [outcome for outcome in outcomes if isinstance(outcome, OcicatError)] == []
    return after


async def _allocate(stored: Stored, words: list[str], case: Case) -> Stored:
    """An ADD of container and pod ("-": none), with "dual" for both families."""
    container, pod, *more = words
    kernel = Kernel("boot-1", "4026531840") if "kernel" in more else None
    return _decided(
        stored,
        an_allocate(
            container,
            None if pod == "-" else pod,
            versions=(4, 6) if "dual" in more else (4,),
            link=Link(LINK.interface_name, LINK.mac, LINK.profiles, kernel),
        ),
    )


async def _release(stored: Stored, words: list[str], case: Case) -> Stored:
    """A DEL of container and pod."""
    container, pod = words
    return _decided(stored, a_release(container, None if pod == "-" else pod))


async def _tidy(stored: Stored, words: list[str], case: Case) -> Stored:
    return _decided(stored, Tidy())


async def _fence(stored: Stored, words: list[str], case: Case) -> Stored:
    return _decided(stored, Fence(ip_network(words[0])))


async def _prepare(stored: Stored, words: list[str], case: Case) -> Stored:
    return _decided(stored, Prepare(int(words[0])))


async def _in_store(stored: Stored, do: Callable[[Store], Awaitable[Any]]) -> Stored:
    store = await filled(MemoryStore(), stored) if stored.entries else MemoryStore()
    await do(store)
    return Stored(1, {}).having(**await content(store))


async def _register(stored: Stored, words: list[str], case: Case) -> Stored:
    """A start of ipamd with these settings."""
    environment = {"ETCD_ENDPOINTS": "http://127.0.0.1:2379", "NODENAME": NODE}
    config = read_config(environment | dict(word.split("=") for word in words), "host")

    async def must_not_detect(version: int) -> Any:
        raise AssertionError("the address is given")

    return await _in_store(stored, lambda s: Registration(s, config, must_not_detect).register())


async def _configure(stored: Stored, words: list[str], case: Case) -> Stored:
    """``ocicatctl ipam configure``, with calicoctl's names of settings."""
    changes = {name: json.loads(value) for name, value in (word.split("=") for word in words)}

    async def configure(store: Store) -> None:
        known = Known()
        await settle(store, known, partial(decide_config, changes, known))

    return await _in_store(stored, configure)


async def _write(verb: Verb, store: Store, document: Any) -> None:
    found, unreadable = parse(shown(document).encode(), "f")
    resources, mistakes = resources_in(found, None, verb)
    if unreadable or mistakes:
        raise Refused([*unreadable, *mistakes])
    report = await write(store, verb, resources, lambda: STAMP)
    assert report.errors == ""


async def _apply(stored: Stored, words: list[str], case: Case) -> Stored:
    """``ocicatctl apply`` of the case's document, or of what ``get`` shows."""

    async def run(store: Store) -> None:
        document = case.get("apply")
        if words == ["unchanged"]:
            entry = (await store.read(case["key"])).entries[case["key"]]
            document = with_revision(entry)
        await _write(Verb.APPLY, store, document)

    return await _in_store(stored, run)


async def _create(stored: Stored, words: list[str], case: Case) -> Stored:
    """``ocicatctl create`` of the case's documents."""

    async def run(store: Store) -> None:
        for document in case["create"]:
            await _write(Verb.CREATE, store, document)

    return await _in_store(stored, run)


async def _disable(stored: Stored, words: list[str], case: Case) -> Stored:
    """The first step of deleting a pool."""
    found: list[Mapping[str, bytes]] = []

    async def run(store: Store) -> None:
        async def look(_: float) -> None:
            found.append(await content(store))

        await delete_pool(store, named(POOL, words, None)[0], print, look)

    await _in_store(stored, run)
    return Stored(1, {}).having(**found[0])


async def _free(stored: Stored, words: list[str], case: Case) -> Stored:
    """``ocicatctl ipam release --ip``."""
    targets = [Target(ip_address(word)) for word in words]
    return await _in_store(stored, lambda store: release_all(store, targets, is_forced=False))


async def _delete_node(stored: Stored, words: list[str], case: Case) -> Stored:
    return await _in_store(
        stored, lambda store: delete_node(store, words[0], print, now=lambda: NOW)
    )


ACTIONS: dict[str, Callable[[Stored, list[str], Case], Awaitable[Stored]]] = {
    "allocate": _allocate,
    "release": _release,
    "tidy": _tidy,
    "fence": _fence,
    "prepare": _prepare,
    "register": _register,
    "configure": _configure,
    "apply": _apply,
    "create": _create,
    "disable": _disable,
    "free": _free,
    "delete-node": _delete_node,
}


# ---- what that changes -------------------------------------------------------------------------


def parsed(value: bytes) -> Any:
    return json.loads(value) if value else None


def shown(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


_ABSENT = object()


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Every difference of two documents, as far down as they have the same shape."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            step = key if re.fullmatch(r"[\w-]+", key) else f"[{key}]"
            where = f"{path}.{step}".removeprefix(".").replace(".[", "[")
            yield from differences(before.get(key, _ABSENT), after.get(key, _ABSENT), where)
    elif isinstance(before, list) and isinstance(after, list):
        for place, old, new in _aligned(before, after, is_fixed=path == "allocations"):
            yield from differences(old, new, f"{path}[{place}]")
    else:
        # As text: 1, 1.0 and true are three values to whoever reads them in Go.
        old, new = ("absent" if v is _ABSENT else shown(v) for v in (before, after))
        if old != new:
            yield f"{path}: {old} -> {new}"


def _aligned(
    before: list[Any], after: list[Any], *, is_fixed: bool
) -> Iterator[tuple[int, Any, Any]]:
    """The items of two lists side by side; an item keeps its place, or is told by its content."""
    matcher = SequenceMatcher(None, [*map(shown, before)], [*map(shown, after)], autojunk=False)
    spans = [("", 0, len(before), 0, len(after))] if is_fixed else matcher.get_opcodes()
    for _, i, i_end, j, j_end in spans:
        pairs = zip_longest(before[i:i_end], after[j:j_end], fillvalue=_ABSENT)
        for n, (old, new) in enumerate(pairs):
            yield (j if old is _ABSENT else i) + n, old, new


def changes(case: Case, before: Stored, after: Stored) -> dict[str, list[str]]:
    """Every key that is not as it was; the case's own is "this"."""
    found = {}
    for key in sorted({*before.entries, *after.entries}):
        old, new = before.values.get(key), after.values.get(key)
        if old is None:
            lines = ["made"]
        elif new is None:
            lines = ["deleted"]
        else:
            lines = [_foreseeable(line) for line in differences(parsed(old), parsed(new))]
        if lines:
            found["this" if key == case.get("key") else key] = lines
    return found


REWRITES = [(name, action) for name in THEIRS for action in CASES[name].get("rewrites", ())]


@pytest.mark.parametrize(("name", "action"), REWRITES)
async def test_a_rewrite_changes_what_it_should(name, action):
    case = CASES[name]
    before = around(case)

    after, outcome = await _outcome(before, action, case)

    assert outcome == case["rewrites"][action]
    for key, value in after.values.items():
        if value != before.values.get(key):
            assert list(mistakes(parsed(value), shape_of(key), may_have_more=True)) == []
    # A store of very old values has contradictions; none may be added.
    assert sorted(contradictions(after) - contradictions(before)) == []


async def _outcome(before: Stored, action: str, case: Case) -> tuple[Stored, Any]:
    try:
        after = await act(before, action, case)
    except Refused as refused:
        return before, {"refused": refused.args[0]}
    return after, changes(case, before, after)


def contradictions(stored: Stored) -> set[str]:
    """What does not fit together; a container whose pod has a newer one is about to go."""
    old = {"attributes": None, "sequenceNumber": 0, "sequenceNumberForAllocation": None}
    values = {
        k: go_json({**old, "deleted": False, **parsed(v)}) if k.startswith(keys.ALL_BLOCKS) else v
        for k, v in stored.values.items()
        if k.startswith((keys.IPAM, keys.RESOURCES))
    }
    found = problems(values, unwired=["k8s-pod-network.4f0c9a5d2b"])
    return {problem for problem in found if "have no sequence number" not in problem}


@pytest.mark.parametrize("name", THEIRS)
async def test_what_is_rewritten_once_is_not_rewritten_again(name):
    case = CASES[name]
    for action in ("register IP=172.18.0.3/16", "tidy"):
        once = await act(around(case), action, case)

        assert (await act(once, action, case)).values == once.values


@pytest.mark.parametrize("name", [name for name in THEIRS if CASES[name]["key"] in PODS])
@pytest.mark.parametrize("action", ["allocate 4f0c9a5d2b web-0 dual", "allocate 5a1b web-0"])
async def test_an_add_that_is_repeated_writes_no_endpoint(name, action):
    case = CASES[name]
    once = await act(around(case), action, case)
    again = await act(once, action, case)

    changed = [key for key, entry in again.entries.items() if entry != once.entries.get(key)]
    assert again.entries.keys() == once.entries.keys()
    assert all(key.startswith(keys.ALL_BLOCKS) for key in changed)


# What happens in a cluster while values lie in it that we do not know.
LIFE = (
    "register IP=172.18.0.2/16 AS=64513",
    "prepare 4",
    "prepare 6",
    "allocate 4f0c9a5d2b web-0 dual kernel",
    "allocate 4f0c9a5d2b web-0 dual kernel",
    "allocate 5a1b web-0",
    "allocate c3 -",
    "release 4f0c9a5d2b web-0",
    'configure IPCooldownSeconds=30 KubeVirtVMAddressPersistence="Enabled"',
    "release 5a1b web-0",
    "tidy",
    "create",
    "disable z",
    "delete-node node-2",
)
UNREAD = [name for name in THEIRS if "expect" not in CASES[name]]


async def test_what_we_do_not_read_is_left_alone():
    values = {CASES[name]["key"]: stored_as(CASES[name]) for name in UNREAD}
    other = Pool("z", ip_network("10.98.0.0/24"), 26)
    block = ip_network("10.65.0.32/29")
    before = base().having(
        **values,
        **{
            keys.node("node-2"): codec.encode_node(Node("node-2"), STAMP),
            keys.affinity("node-2", block): codec.encode_affinity(Affinity("node-2", block)),
            keys.pool("z"): codec.encode_pool(other, STAMP),
        },
    )
    case = {"create": CASES["ours-resources"]["create"]}

    after = before
    for action in LIFE:
        after = await act(after, action, case)

    assert len(values) == len(UNREAD)
    assert {key: after.values.get(key) for key in values} == values


# ---- what we write -----------------------------------------------------------------------------


def text(value: Any) -> bool:
    return isinstance(value, str)


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def whole(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def uint64(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**64


def time(value: Any) -> bool:
    return text(value) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value) is not None


def uuid(value: Any) -> bool:
    return text(value) and str(UUID(value)) == value


def anything(value: Any) -> bool:
    return "Infinity" not in shown(value) and "NaN" not in shown(value)


class Nullable:
    """A pointer, map or slice of Go that is not left out where it is nil."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape


# Structs in the order of their fields; "!" behind one that is never left out, "*" for a map.
TEXTS, MAP = [text], {"*": text}
METADATA = {
    "name!": text,
    "generateName": text,
    "namespace": text,
    "uid!": uuid,
    "creationTimestamp!": time,
    "labels": MAP,
    "annotations": MAP,
}


def resource(spec: Any, **more: Any) -> Any:
    envelope = {"kind!": text, "apiVersion!": lambda v: v == "projectcalico.org/v3"}
    return {**envelope, "metadata!": METADATA, "spec!": spec, **more}


ATTRIBUTE = {
    "handle_id!": Nullable(text),  # since 3.32 left out if there is none; older ones need it
    "secondary!": Nullable(MAP),
    "alternateOwnerAttrs": MAP,  # 3.32
    "releasedAt": time,  # 3.33
}
PASSWORD = {"secretKeyRef!": {"name": text, "key!": text, "optional": flag}}
FILTER_RULE = {
    "cidr": text,
    "prefixLength": {"min": whole, "max": whole},
    "source": text,
    "interface": text,
    "matchOperator": text,
    "peerType": text,
    "communities": {"values!": TEXTS},
    "asPathPrefix": [whole],
    "priority": whole,
    "action!": text,
    "operations": [
        {
            "addCommunity": {"value!": text},
            "prependASPath": {"prefix!": [whole]},
            "setPriority": {"value!": whole},
        }
    ],
}
SHAPES: dict[str, Any] = {
    keys.ALL_BLOCKS: {
        "cidr!": text,
        "affinity!": Nullable(text),
        "affinity_claim_time": time,  # 3.32
        "allocations!": [Nullable(whole)],
        "unallocated!": [whole],
        "attributes!": Nullable([ATTRIBUTE]),
        "sequenceNumber!": uint64,
        "sequenceNumberForAllocation!": {"*": uint64},
        "deleted!": lambda value: value is False,
        "hostAffinity": text,
    },
    keys.ALL_AFFINITIES: {"state!": text, "deleted!": flag},
    keys.ALL_HANDLES: {"block!": {"*": whole}, "deleted!": flag},
    keys.IPAM_CONFIG: {
        "strict_affinity": flag,
        "auto_allocate_blocks": flag,
        "maxBlocksPerHost": whole,
        "kubeVirtVMAddressPersistence": text,  # 3.32
        "ipCooldownSeconds": whole,  # 3.33
    },
    keys.POOLS: resource(
        {
            "cidr!": text,
            "vxlanMode": text,
            "ipipMode": text,
            "natOutgoing": flag,
            "disabled": flag,
            "disableBGPExport": flag,
            "blockSize": whole,
            "nodeSelector": text,
            "namespaceSelector": text,  # 3.31
            "allowedUses": TEXTS,
            "assignmentMode": text,  # 3.30
        },
        status=anything,
    ),
    keys.RESERVATIONS: resource({"reservedCIDRs": TEXTS}),
    keys.NODES: resource(
        {
            "bgp": {
                "asNumber": whole,
                "ipv4Address": text,
                "ipv6Address": text,
                "ipv4IPIPTunnelAddr": text,
                "routeReflectorClusterID": text,
            },
            "ipv4VXLANTunnelAddr": text,
            "vxlanTunnelMACAddr": text,
            "ipv6VXLANTunnelAddr": text,
            "vxlanTunnelMACAddrV6": text,
            "orchRefs": [{"nodeName": text, "orchestrator!": text}],
            "wireguard": {"interfaceIPv4Address": text, "interfaceIPv6Address": text},
            "addresses": [{"address!": text, "type": text}],
            "interfaces": [{"name": text, "addresses": TEXTS}],
        },
        **{"status!": anything},
    ),
    keys.ENDPOINTS: resource(
        {
            "orchestrator": text,
            "workload": text,
            "node": text,
            "containerID": text,
            "pod": text,
            "endpoint": text,
            "serviceAccountName": text,
            "ipNetworks": TEXTS,
            "ipNATs": [{"internalIP!": text, "externalIP!": text}],
            "ipv4Gateway": text,
            "ipv6Gateway": text,
            "profiles": TEXTS,
            "interfaceName": text,
            "mac": text,
            "ports": [
                {
                    "name": text,
                    "protocol!": anything,
                    "port!": whole,
                    "hostPort!": whole,
                    "hostIP!": text,
                }
            ],
            "allowSpoofedSourcePrefixes": TEXTS,
            "qosControls": anything,
        }
    ),
    keys.BGP_CONFIGURATIONS: resource(
        {
            "logSeverityScreen": text,
            "nodeToNodeMeshEnabled": flag,
            "asNumber": whole,
            "serviceLoadBalancerIPs": [{"cidr": text}],
            "serviceExternalIPs": [{"cidr": text}],
            "serviceClusterIPs": [{"cidr": text}],
            "communities": [{"name": text, "value": text}],
            "prefixAdvertisements": [{"cidr": text, "communities": TEXTS}],
            "listenPort": whole,
            "nodeMeshPassword": PASSWORD,
            "nodeMeshMaxRestartTime": text,
            "bindMode": text,
            "ignoredInterfaces": TEXTS,
        }
    ),
    keys.BGP_FILTERS: resource(
        {name: [FILTER_RULE] for name in ("exportV4", "importV4", "exportV6", "importV6")}
    ),
    keys.BGP_PEERS: resource(
        {
            "node": text,
            "nodeSelector": text,
            "peerIP": text,
            "asNumber": whole,
            "localASNumber": whole,
            "peerSelector": text,
            "keepOriginalNextHop": flag,
            "nextHopMode": text,
            "password": PASSWORD,
            "sourceAddress": text,
            "maxRestartTime": text,
            "keepaliveTime": text,
            "numAllowedLocalASNumbers": whole,
            "ttlSecurity": whole,
            "reachableBy": text,
            "filters": TEXTS,
            "reversePeering": text,
        }
    ),
    keys.CLUSTER_INFORMATION: resource(
        {
            "clusterGUID": lambda value: re.fullmatch(r"[0-9a-f]{32}", value) is not None,
            "clusterType": text,
            "calicoVersion": text,
            "datastoreReady!": flag,  # without it Calico's CNI plugin panics
        }
    ),
    keys.KUBE_CONTROLLERS_CONFIGURATION: resource({"controllers!": anything}, status=anything),
}


def shape_of(key: str) -> Any:
    if key.startswith(keys.ALL_BORROWED):  # ours alone
        return {}
    return next(shape for prefix, shape in SHAPES.items() if key.startswith(prefix))


def mistakes(
    value: Any, shape: Any, path: str = "", *, may_have_more: bool = False
) -> Iterator[str]:
    """What keeps Calico from reading the value, or is not in the order in which it writes it."""
    if isinstance(shape, Nullable):
        if value is not None:
            yield from mistakes(value, shape.shape, path, may_have_more=may_have_more)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{path}: {value!r} is no list"
            return
        for i, item in enumerate(value):
            yield from mistakes(item, shape[0], f"{path}[{i}]", may_have_more=may_have_more)
    elif isinstance(shape, dict):
        yield from _struct_mistakes(value, shape, path, may_have_more)
    elif not shape(value):
        yield f"{path}: {value!r} is none"


def _struct_mistakes(value: Any, shape: Any, path: str, may_have_more: bool) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no object"
        return
    fields = dict.fromkeys(value, shape["*"]) if "*" in shape else shape
    by_name = {name.removesuffix("!"): inner for name, inner in fields.items()}
    yield from (
        f"{path}.{n[:-1]}: is missing" for n in fields if n[-1:] == "!" and n[:-1] not in value
    )
    in_order = [name for name in by_name if name in value]
    if not may_have_more and in_order != list(value):
        yield f"{path}: has the fields {list(value)}, which should be {in_order}"
    for name in in_order:
        where = f"{path}.{name}"
        yield from mistakes(value[name], by_name[name], where, may_have_more=may_have_more)


UNFORESEEABLE = {
    r'"uid":"[0-9a-f-]{36}"': '"uid":"<uuid>"',
    r'"creationTimestamp":"[^"]*"': '"creationTimestamp":"<time>"',
    r'"clusterGUID":"[0-9a-f]{32}"': '"clusterGUID":"<32 hex digits>"',
    r'metadata.uid: absent -> "[0-9a-f-]{36}"': 'metadata.uid: absent -> "<uuid>"',
    r'metadata.creationTimestamp: null -> "[^"]*"': 'metadata.creationTimestamp: null -> "<time>"',
}


TOLD_OF_TUNNEL = re.compile("node node-7 has it as a tunnel's, but .* does not hold it")


@pytest.mark.parametrize("name", OURS)
async def test_what_we_write_is_what_calico_would(name):
    # An equal attribute of Calico's, its fields in another order, may have been written before.
    codec._attribute_json.cache_clear()
    codec._holders.clear()
    case = CASES[name]
    before = after = base() if case["on"] == "base" else Stored(1, {})
    if "stored" in case:
        before = after = before.having(**{k: go_json(v) for k, v in case["stored"].items()})
    for action in case["does"]:
        after = await act(after, action, case)

    written = {k: v for k, v in after.values.items() if v != before.values.get(k)}
    for key, value in written.items():
        assert list(mistakes(parsed(value), shape_of(key))) == [], key
    assert {key: _foreseeable(value.decode()) for key, value in sorted(written.items())} == {
        key: shown(value) for key, value in sorted(case["writes"].items())
    }
    assert sorted(before.entries.keys() - after.entries.keys()) == case.get("deletes", [])
    # An operator may write any address of a tunnel into a Node; ipamd of that node corrects it.
    assert [p for p in problems(after.values) if not TOLD_OF_TUNNEL.search(p)] == []


def _foreseeable(value: str) -> str:
    for pattern, placeholder in UNFORESEEABLE.items():
        value = re.sub(pattern, placeholder, value)
    return value


def test_the_shapes_are_in_use():
    written = {key for name in OURS for key in CASES[name]["writes"]}

    assert {p for p in SHAPES if not any(key.startswith(p) for key in written)} == set()


# ---- values that nobody should have written ----------------------------------------------------


def changed(name: str, **fields: Any) -> tuple[str, bytes]:
    """A case's key, and its value with other fields at the top."""
    case = CASES[name]
    return case["key"], json.dumps({**case["value"], **fields}).encode()


@pytest.mark.parametrize("number", [1.0, 1.5, 1e18, "17", True, -1, 2**64 - 1, 2**64, [1]])
@pytest.mark.parametrize("field", ["sequenceNumber", "sequenceNumberForAllocation"])
def test_a_sequence_number_that_go_would_refuse_is_refused(field, number):
    value = number if field == "sequenceNumber" else {"0": number}

    with pytest.raises(Invalid, match="is not a sequence number"):
        codec.decode_block(*changed("block-v3.26", **{field: value}))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("name", ["block-newer", "handle-newer", "node-newer"])
def test_a_number_that_cannot_be_written_is_not_read(name, number):
    key, value = changed(name, someday="number")
    value = value.replace(b'"number"', number.encode())

    with pytest.raises(Invalid, match=f"etcd key {key}: value is not JSON: {number} is no number"):
        codec.load(key, value)


@pytest.mark.parametrize("number", ["0.1", "-0.0", "1.0", "1.7976931348623157e308", "5e-324"])
def test_every_other_number_is_written_as_it_was_read(number):
    value = codec.dump(codec.load("/k", f'{{"a":{number}}}'.encode()))

    assert shown(parsed(value)["a"]) == shown(json.loads(number))


def test_half_of_a_surrogate_pair_is_written_as_it_was_read():
    key, value = changed("block-newer", tier="\ud83d")
    before = base().having(**{key: value, CASES["affinity-v3.26"]["key"]: b""})

    after = _decided(before, Fence(ip_network("10.65.0.8/29")))

    assert parsed(after.values[key])["tier"] == "\ud83d"
    assert after.values[key].decode()  # UTF-8, which has no halves


def test_a_full_block_without_a_queue_is_full():
    key, value = changed("block-v3.26-full", unallocated=None)

    assert codec.decode_block(key, value).free() is None


@pytest.mark.parametrize("number", [1.1, 64512.0, True, "1.70000", "70000.1", "-1.5", "1.2.3", [1]])
def test_an_as_number_that_go_would_refuse_is_refused(number):
    key, value = changed("node-v3.26", spec={"bgp": {"asNumber": number}})

    with pytest.raises(Invalid, match=f"etcd key {key}: "):
        codec.decode_node(key, value)


def test_a_nat_goes_with_its_address_and_with_no_other():
    case = CASES["workloadendpoint-v3.33-every-field"]
    value = stored_as(case)
    before = codec.decode_endpoint(case["key"], value)

    after = replace(before, networks=(before.networks[0], ip_network("fd80:24e2:f998:72d6::2/128")))

    written = codec.encode_endpoint(after, STAMP, value)
    assert list(differences(parsed(value), parsed(written))) == [
        'spec.ipNetworks[1]: "fd80:24e2:f998:72d6::1/128" -> "fd80:24e2:f998:72d6::2/128"',
        'spec.ipNATs[1]: {"internalIP":"fd80:24e2:f998:72d6::1","externalIP":"fc00::9"} -> absent',
    ]


def test_null_is_an_empty_text():
    names = ("containerID", "endpoint", "interfaceName", "mac", "node", "orchestrator", "profiles")
    key, value = changed("workloadendpoint-v3.26-k8s", spec=dict.fromkeys(names))

    found = codec.decode_endpoint(key, value)

    assert (found.id.node, found.container_id, found.mac, found.profiles) == ("", "", "", ())


@pytest.mark.parametrize("field", ["node", "orchestrator", "endpoint", "profiles", "ipNetworks"])
@pytest.mark.parametrize("wrong", [7, [7], {"a": 1}])
def test_an_endpoint_of_which_go_reads_nothing_is_told_and_not_shown(field, wrong):
    case = CASES["workloadendpoint-v3.26-k8s"]
    key, value = changed("workloadendpoint-v3.26-k8s", spec={**case["value"]["spec"], field: wrong})
    kind = next(kind for kind in KINDS if key.startswith(kind.prefix))

    text, told = answer(Query(kind), Snapshot(9, {key: Entry(key, value, 7)}), "wide")

    assert "web-0" not in text
    assert [line.partition(": ")[0] for line in told] == [f"etcd key {key}"]


# ---- the cases themselves ----------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_spelled_right(name):
    theirs = {"about", "key", "value", "text", "with", "stored", "expect", "apply", "lost"}
    ours = {"about", "on", "stored", "create", "apply", "does", "writes", "deletes"}

    assert CASES[name].keys() <= (ours if name in OURS else theirs | {"rewrites"})

"""Which address the node's tunnels have, decided on plain values."""

import json
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.block import Attribute, Block
from datamodel.errors import Exhausted, Invalid, OcicatError
from datamodel.ipam_config import IpamConfig
from datamodel.pool import ENCAPSULATION_MODES, Pool
from datamodel.tunnel import IPIP, TUNNELS, VXLAN, VXLAN_V6, Tunnel
from datastore import codec, keys
from datastore.store import Change
from ipamd.request import Done, KeepTunnel
from tests.consistency import assert_consistent
from tests.ipam import (
    NODE,
    NOW,
    STAMP,
    Stored,
    a_foreign_block,
    a_pool,
    a_release,
    a_store,
    an_allocate,
    decided,
    settled,
)

IN_IPIP = a_pool("a", "10.0.0.0/24", block_size=28, ipip_mode="Always")
IN_VXLAN = a_pool("b", "10.1.0.0/24", block_size=28, vxlan_mode="CrossSubnet")
IN_SIX = Pool("c", ip_network("fd00::/120"), 124, vxlan_mode="Always")
PLAIN = a_pool("d", "10.2.0.0/24", block_size=28)
ALL = tuple(map(KeepTunnel, TUNNELS))


def kept(stored: Stored, *requests: KeepTunnel, node: str = NODE) -> Stored:
    """The store after every tunnel was decided; nothing of it is refused, and it is consistent."""
    stored, outcomes = settled(stored, *(requests or ALL), node=node)
    assert set(outcomes) == {Done()}
    assert_consistent(stored.values)
    return stored


def stated(stored: Stored, tunnel: Tunnel, node: str = NODE) -> object:
    """The address that the Node resource names."""
    entry = stored.entries[keys.node(node)]
    return tunnel.address_of(codec.decode_node(entry.key, entry.value))


def held(stored: Stored, tunnel: Tunnel, node: str = NODE) -> dict[object, Mapping[str, str]]:
    """What blocks say the tunnel holds, with the holder's attribute."""
    found = {}
    for key in stored.below(keys.ALL_BLOCKS):
        block = codec.decode_block(key, stored.entries[key].value)
        for address in block.sequences_of(tunnel.handle_id(node)):
            holder = block.holder_of(address)
            assert holder is not None
            found[address] = holder.secondary
    return found


def with_pool(stored: Stored, pool: Pool, **changes: object) -> Stored:
    changed = replace(pool, **changes)
    return stored.having(**{keys.pool(pool.name): codec.encode_pool(changed, STAMP)})


# ---- given, kept, taken back -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "tunnel", "handle", "kind"),
    [
        (IN_IPIP, IPIP, "ipip-tunnel-addr-node-1", "ipipTunnelAddress"),
        (IN_VXLAN, VXLAN, "vxlan-tunnel-addr-node-1", "vxlanTunnelAddress"),
        (IN_SIX, VXLAN_V6, "vxlan-v6-tunnel-addr-node-1", "vxlanV6TunnelAddress"),
    ],
    ids=["ipip", "vxlan", "vxlan-v6"],
)
def test_a_pool_that_is_tunnelled_gives_the_node_an_address_as_calico_records_it(
    pool, tunnel, handle, kind
):
    stored = kept(a_store(pool, PLAIN))

    assert held(stored, tunnel) == {stated(stored, tunnel): {"node": NODE, "type": kind}}
    assert stated(stored, tunnel) in pool.cidr
    assert keys.handle(handle) in stored.entries
    assert [t for t in TUNNELS if stated(stored, t)] == [tunnel]


def test_without_a_tunnelled_pool_nothing_is_written():
    stored = a_store(PLAIN)

    assert decided(stored, *ALL).change.put == {}


def test_node_handle_and_blocks_are_written_together_for_all_tunnels():
    change = decided(a_store(IN_IPIP, IN_VXLAN, IN_SIX), *ALL).change

    written = {key for key in change.put if not key.startswith(keys.ALL_AFFINITIES)}
    assert len(written) == 1 + 3 + 3
    assert change.expect.keys() >= change.put.keys()


def test_what_is_right_is_only_looked_at():
    stored = kept(a_store(IN_IPIP, IN_VXLAN, IN_SIX))

    change = decided(stored, *ALL).change

    assert (change.put, change.delete) == ({}, frozenset())


def test_when_no_pool_is_tunnelled_any_more_the_address_and_the_field_go():
    before = a_store(IN_IPIP)
    stored = kept(before)

    stored = kept(with_pool(stored, IN_IPIP, ipip_mode="Never"))

    assert held(stored, IPIP) == {}
    assert not stored.below(keys.ALL_HANDLES)
    node = json.loads(stored.values[keys.node(NODE)])
    assert node == json.loads(before.values[keys.node(NODE)])


@pytest.mark.parametrize(
    "change",
    [
        {"disabled": True},
        {"node_selector": "has(rack)"},
        {"node_selector": "rack =="},
        {"allowed_uses": ("Workload",)},
        {"vxlan_mode": "Never"},
        {"vxlan_mode": "Sometimes"},
    ],
    ids=str,
)
def test_a_pool_that_serves_no_longer_is_left_for_another_one(change):
    other = a_pool("z", "10.3.0.0/24", block_size=28, vxlan_mode="Always")
    stored = kept(a_store(IN_VXLAN, other))
    assert stated(stored, VXLAN) in IN_VXLAN.cidr

    stored = kept(with_pool(stored, IN_VXLAN, **change))

    assert list(held(stored, VXLAN)) == [stated(stored, VXLAN)]
    assert stated(stored, VXLAN) in other.cidr


def test_a_pool_that_is_gone_is_left_as_well():
    stored = kept(a_store(IN_IPIP)).without(keys.pool(IN_IPIP.name))

    stored = kept(stored)

    assert (stated(stored, IPIP), held(stored, IPIP)) == (None, {})


def test_another_encapsulation_of_the_same_pool_takes_another_handle():
    stored = kept(a_store(IN_IPIP))

    stored = kept(with_pool(stored, IN_IPIP, ipip_mode="Never", vxlan_mode="Always"))

    assert (stated(stored, IPIP), held(stored, IPIP)) == (None, {})
    assert list(held(stored, VXLAN)) == [stated(stored, VXLAN)]


def test_pools_for_which_pods_must_ask_serve_tunnels():
    stored = kept(a_store(replace(IN_VXLAN, assignment_mode="Manual")))

    assert stated(stored, VXLAN) in IN_VXLAN.cidr


def test_a_selector_decides_for_each_node():
    document = json.loads(a_store().values[keys.node(NODE)])
    document["metadata"]["labels"] = {"rack": "r1"}
    pool = replace(IN_VXLAN, node_selector="rack == 'r1'")
    stored = a_store(pool, nodes=(NODE, "node-2")).having(
        **{keys.node(NODE): json.dumps(document).encode()}
    )

    stored = kept(kept(stored), node="node-2")

    assert stated(stored, VXLAN) in pool.cidr
    assert stated(stored, VXLAN, "node-2") is None


# ---- what others left --------------------------------------------------------------------------


def test_what_a_previous_installation_allocated_is_kept():
    handle, address = IPIP.handle_id(NODE), ip_address("10.0.0.21")
    block = Block.new(ip_network("10.0.0.16/28"), NODE, 1).assign_address(
        address, Attribute(handle, {"node": NODE, "type": "ipipTunnelAddress"})
    )
    node = a_store().values[keys.node(NODE)]
    stored = a_store(IN_IPIP).having(
        **{
            keys.block(block.cidr): codec.encode_block(block.next_write()),
            keys.affinity(NODE, block.cidr): b'{"state":"confirmed","deleted":false}',
            keys.handle(handle): codec.encode_handle({block.cidr: 1}),
            keys.node(NODE): codec.with_tunnel_address(keys.node(NODE), node, IPIP, address),
        }
    )

    assert decided(stored, *ALL).change.put == {}


def test_an_address_that_is_held_and_not_written_down_is_written_down():
    """Calico writes block and Node one after the other, and may be killed in between."""
    stored = kept(a_store(IN_IPIP))
    address = stated(stored, IPIP)
    [block] = stored.below(keys.ALL_BLOCKS)
    stored = stored.having(**{keys.node(NODE): a_store().values[keys.node(NODE)]})

    assert block in decided(stored, *ALL).change.expect  # somebody may release it just now
    stored = kept(stored)

    assert stated(stored, IPIP) == address
    assert list(held(stored, IPIP)) == [address]


def test_an_address_that_is_written_down_and_free_is_taken():
    stored = kept(a_store(IN_IPIP))
    [block] = [keys.cidr_of(key) for key in stored.below(keys.ALL_BLOCKS)]
    wished = block.network_address + 7
    node = stored.values[keys.node(NODE)]
    node = codec.with_tunnel_address(keys.node(NODE), node, IPIP, wished)
    free = stored.block(block).release(IPIP.handle_id(NODE), now=NOW)[0].next_write()
    half_claimed = b'{"state":"pending","deleted":false}'
    stored = stored.having(
        **{
            keys.node(NODE): node,
            keys.block(block): codec.encode_block(free),
            keys.affinity(NODE, block): half_claimed,
        }
    )

    stored = kept(stored.without(keys.handle(IPIP.handle_id(NODE))))

    assert stated(stored, IPIP) == wished


def test_an_address_that_somebody_else_holds_is_given_up():
    stored, [granted] = settled(a_store(IN_IPIP), an_allocate("c1"))
    taken = granted.grants[0].address
    node = stored.values[keys.node(NODE)]
    node = codec.with_tunnel_address(keys.node(NODE), node, IPIP, taken)

    stored = kept(stored.having(**{keys.node(NODE): node}))

    assert stated(stored, IPIP) != taken
    assert list(held(stored, IPIP)) == [stated(stored, IPIP)]


def test_of_several_that_are_held_only_the_one_that_is_written_down_stays():
    stored = kept(a_store(IN_IPIP))
    handle = IPIP.handle_id(NODE)
    [block] = [keys.cidr_of(key) for key in stored.below(keys.ALL_BLOCKS)]
    attribute = Attribute(handle, {"node": NODE, "type": "ipipTunnelAddress"})
    more, address = stored.block(block).assign(attribute)
    node = stored.values[keys.node(NODE)]
    twice = {
        keys.block(block): codec.encode_block(more.next_write()),
        keys.handle(handle): codec.encode_handle({block: 2}),
        keys.node(NODE): codec.with_tunnel_address(keys.node(NODE), node, IPIP, address),
    }

    stored = kept(stored.having(**twice))

    assert list(held(stored, IPIP)) == [address] == [stated(stored, IPIP)]


def test_an_address_in_a_block_that_is_not_ours_any_more_is_found_by_its_handle():
    stored = kept(a_store(IN_IPIP, nodes=(NODE, "node-2")))
    [block] = [keys.cidr_of(key) for key in stored.below(keys.ALL_BLOCKS)]
    lost = replace(stored.block(block), affinity="host:node-2").next_write()
    stored = stored.without(keys.affinity(NODE, block)).having(
        **{
            keys.block(block): codec.encode_block(lost),
            keys.affinity("node-2", block): b'{"state":"confirmed","deleted":false}',
        }
    )

    assert decided(stored, *ALL).change.put == {}
    stored = kept(with_pool(stored, IN_IPIP, ipip_mode="Never"))

    assert (stated(stored, IPIP), held(stored, IPIP)) == (None, {})


def test_the_gateway_of_other_plugins_goes_with_the_last_address_of_its_block():
    stored = kept(a_store(IN_IPIP))
    stored, _ = settled(stored, an_allocate("c1", link=None, is_delegated=True))
    stored, _ = settled(stored, a_release("c1"))
    assert any("ocicat-gateway" in key for key in stored.below(keys.ALL_HANDLES))

    stored = kept(with_pool(stored, IN_IPIP, ipip_mode="Never"))

    assert stored.below(keys.ALL_HANDLES) == []


# ---- what pods are told -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool", "expected"), [(PLAIN, 0), (IN_IPIP, 20), (IN_VXLAN, 50), (IN_SIX, 70)], ids=str
)
def test_a_pod_is_told_what_the_tunnel_of_its_pool_takes(pool, expected):
    stored = a_store(pool)
    request = an_allocate("c1", versions=(pool.cidr.version,))

    stored, [first] = settled(stored, request)
    _, [again] = settled(stored, request)

    assert first.grants[0].overhead == expected
    assert again == first


# ---- refusals ----------------------------------------------------------------------------------


def test_a_tunnel_for_which_there_is_no_room_does_not_stop_the_others():
    one = a_pool("one", "10.9.0.0/28", block_size=28, ipip_mode="Always")
    theirs = a_foreign_block(one.cidr, taken=16)
    stored = a_store(one, IN_VXLAN, nodes=(NODE, "node-2"), **theirs)

    stored, [ipip, *others] = settled(stored, *ALL)

    assert isinstance(ipip, Exhausted)
    assert others == [Done(), Done()]
    assert stated(stored, VXLAN) in IN_VXLAN.cidr


def test_an_address_in_a_pool_that_serves_no_longer_stays_while_no_other_has_room():
    one = a_pool("one", "10.9.0.0/28", block_size=28, ipip_mode="Always")
    theirs = a_foreign_block(one.cidr, taken=16)
    stored = kept(a_store(IN_IPIP, nodes=(NODE, "node-2"))).having(
        **{keys.pool("one"): codec.encode_pool(one, STAMP), **theirs}
    )
    address = stated(stored, IPIP)

    stored, [outcome] = settled(with_pool(stored, IN_IPIP, disabled=True), KeepTunnel(IPIP))

    assert isinstance(outcome, Exhausted)
    assert stated(stored, IPIP) == address


def test_a_node_that_was_deleted_gets_no_address():
    stored = a_store(IN_IPIP).without(keys.node(NODE))

    _, outcomes = settled(stored, *ALL)

    assert all(isinstance(o, Invalid) and "no Node resource" in str(o) for o in outcomes)


def test_the_node_that_is_deleted_meanwhile_gets_none():
    assert keys.node(NODE) in decided(a_store(IN_IPIP), KeepTunnel(IPIP)).change.expect


def test_fields_that_others_wrote_into_the_node_stay():
    document = json.loads(a_store().values[keys.node(NODE)])
    document["spec"] = {"wireguard": {"x": 1}, "bgp": {"asNumber": 1, "y": [2]}, "z": None}
    stored = a_store(IN_IPIP, IN_VXLAN).having(**{keys.node(NODE): json.dumps(document).encode()})

    stored = kept(stored)

    after = json.loads(stored.values[keys.node(NODE)])
    assert list(after["spec"]) == ["wireguard", "bgp", "z", "ipv4VXLANTunnelAddr"]
    after["spec"].pop("ipv4VXLANTunnelAddr")
    assert after["spec"]["bgp"].pop("ipv4IPIPTunnelAddr")
    assert after == document


def test_a_tunnels_address_keeps_its_block():
    """A block without pods is not empty while the tunnel has an address in it."""
    stored = kept(a_store(IN_IPIP))
    stored, _ = settled(stored, an_allocate("c1"))

    stored, _ = settled(stored, a_release("c1"))

    assert list(held(stored, IPIP)) == [stated(stored, IPIP)]
    assert_consistent(stored.values)


# ---- whatever happens --------------------------------------------------------------------------

POOLS = (
    a_pool("a", "10.0.0.0/29", block_size=30),
    a_pool("b", "10.0.1.0/29", block_size=30),
    Pool("c", ip_network("fd00::/125"), 126),
)
nodes = st.sampled_from((NODE, "node-2"))
pool_edits = st.tuples(
    st.just("pool"),
    st.sampled_from(POOLS),
    st.fixed_dictionaries(
        {
            "disabled": st.sampled_from((False, False, True)),
            "ipip_mode": st.sampled_from(ENCAPSULATION_MODES),
            "vxlan_mode": st.sampled_from(ENCAPSULATION_MODES),
            "node_selector": st.sampled_from(("all()", "all()", "has(nothing)")),
            "allowed_uses": st.sampled_from((("Workload", "Tunnel"), ("Workload",))),
        }
    ),
)
pods = st.tuples(st.sampled_from(("add", "delete")), nodes, st.integers(0, 4))
asked = st.tuples(st.just("keep"), nodes, st.sampled_from(TUNNELS))
forgetting = st.tuples(st.just("forget"), nodes)


@given(
    st.lists(pool_edits | pods | asked | forgetting, max_size=30),
    st.booleans(),
    st.sampled_from((0, 5)),
    st.integers(0, 99),
)
def test_whatever_happens_each_node_has_exactly_the_addresses_that_it_needs(
    story, is_strict, cooldown_s, seed
):
    config = IpamConfig(strict_affinity=is_strict, ip_cooldown_s=cooldown_s)
    stored = a_store(*POOLS, nodes=(NODE, "node-2")).having(
        **{keys.IPAM_CONFIG: codec.encode_ipam_config(config, None)}
    )
    for step in story:
        stored = _after(stored, *step)
    order = [(node, tunnel) for node in (NODE, "node-2") for tunnel in TUNNELS]
    Random(seed).shuffle(order)

    for node, tunnel in order:
        stored, [outcome] = settled(stored, KeepTunnel(tunnel), node=node)
        _assert_right(stored, tunnel, node, outcome)

    off = {keys.pool(p.name): codec.encode_pool(p, STAMP) for p in POOLS}
    stored = stored.with_change(Change(put=off))
    for node in (NODE, "node-2"):
        stored, _ = settled(stored, *ALL, node=node)
    assert not any("tunnel-addr" in key for key in stored.below(keys.ALL_HANDLES))
    assert not any(held(stored, t, n) or stated(stored, t, n) for n, t in order)


def _after(stored: Stored, what: str, *rest) -> Stored:
    if what == "pool":
        return with_pool(stored, rest[0], **rest[1])
    if what == "forget":  # somebody writes the Node anew, without the tunnels
        plain = a_store(nodes=rest).values[keys.node(rest[0])]
        return stored.having(**{keys.node(rest[0]): plain})
    node, argument = rest
    request = {
        "add": lambda: an_allocate(f"{node}-c{argument}", f"{node}-p{argument}"),
        "delete": lambda: a_release(f"{node}-c{argument}", f"{node}-p{argument}"),
        "keep": lambda: KeepTunnel(argument),
    }[what]()
    return settled(stored, request, node=node)[0]


def _assert_right(stored: Stored, tunnel: Tunnel, node: str, outcome: object) -> None:
    pools = [
        pool
        for key in stored.below(keys.POOLS)
        if not (pool := codec.decode_pool(key, stored.entries[key].value)).disabled
        and tunnel.is_used_by(pool)
        and pool.node_selector == "all()"
        and "Tunnel" in pool.allowed_uses
    ]
    address, has = stated(stored, tunnel, node), held(stored, tunnel, node)
    if isinstance(outcome, OcicatError):
        assert isinstance(outcome, Exhausted)
        assert pools
    elif pools:
        assert list(has) == [address]
        assert any(address in pool.cidr for pool in pools)
        assert keys.handle(tunnel.handle_id(node)) in stored.entries
    else:
        assert (address, has) == (None, {})
        assert keys.handle(tunnel.handle_id(node)) not in stored.entries

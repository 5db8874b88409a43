"""`ocicatctl routes IP`, what is read of the store for it and its siblings, and how it is shown."""

from dataclasses import replace
from ipaddress import IPv4Interface, ip_address, ip_network

import pytest
from click.testing import CliRunner

from bird_api.protocols import Session
from bird_api.routes import BirdRoute, Hop
from datamodel.block import Attribute
from datamodel.errors import Invalid
from datamodel.node import Node
from datastore import codec, keys
from kernel_api.lookup import KernelHop, KernelRoute
from ocicatctl.__main__ import ocicatctl
from ocicatctl.routes import text
from ocicatctl.routes.explain import explain
from ocicatctl.routes.explain_address import AddressFacts, AddressFinding, explain_address
from ocicatctl.routes.facts import Bird, Destination, Kernel, View
from ocicatctl.routes.reading import Reader
from tests.unit.ocicatctl.addressing import (
    FIRST,
    POOL,
    SECOND,
    STAMP,
    WEB_0,
    WEB_1,
    a_block,
    a_store,
    an_affinity,
    facts_of,
    stored_block,
)

BORROWER = Attribute("net.c9", facts_of("web-9", "node-1"))
LENT = SECOND[1]
ADDRESSES = {
    keys.node(name): codec.encode_node(Node(name, IPv4Interface(address)), STAMP)
    for name, address in (("node-1", "172.16.0.1/24"), ("node-2", "172.16.0.2/24"))
}
WITH_BORROWER = stored_block(
    a_block(SECOND, "node-2", Attribute("net.c1", facts_of("web-1", "node-2")), BORROWER)
)
SESSION = Session(
    "Mesh_172_16_0_2", ip_address("172.16.0.2"), "node-to-node mesh", "up", "21:57", "Established"
)
TOLD = BirdRoute(
    SECOND,
    "unicast",
    SESSION.name,
    "21:58",
    True,
    hops=(Hop("eth0", ip_address("172.16.0.2")),),
    source="BGP",
    attributes={"BGP.next_hop": "172.16.0.2", "BGP.as_path": "65001"},
)
USED = KernelRoute(SECOND, "unicast", "bird", hops=(KernelHop("eth0", ip_address("172.16.0.2")),))
OWN_BLOCK = KernelRoute(FIRST, "blackhole", "bird")


async def found(
    address: object,
    *more: dict[str, bytes],
    used: KernelRoute | None = None,
    kernel: tuple[KernelRoute, ...] = (USED, OWN_BLOCK),
    bird: Bird | None = None,
) -> AddressFinding:
    reader = Reader(await a_store(ADDRESSES, *more))
    asked = ip_address(str(address))
    block, read, affinity = await reader.with_address(asked)
    nodes, pools, is_mesh = await reader.cluster()
    asked_bird = bird or Bird([SESSION], [TOLD])
    view = View("node-1", nodes, pools, is_mesh, asked_bird, Kernel(kernel))
    refusal = "" if used else "Invalid argument"
    facts = AddressFacts(
        asked,
        view,
        block,
        read,
        affinity,
        asked_bird.routes if asked in SECOND else [],
        used,
        refusal,
    )
    return explain_address(facts)


async def test_an_address_elsewhere_is_shown_from_its_pod_to_the_kernel():
    shown = text.address_text(await found(WEB_1, used=USED))

    assert shown == (
        "10.0.0.8 is held by pod default/web-1 on node node-2\n"
        "  block     10.0.0.8/29, of node node-2, affinity confirmed\n"
        "  borrowed  no\n"
        "  pool      main (10.0.0.0/24), encapsulation none\n"
        "  session   Mesh_172_16_0_2: up since 21:57 (Established)\n"
        "  BIRD      10.0.0.8/29 via 172.16.0.2 on eth0, told by node-2 in Mesh_172_16_0_2 "
        "since 21:58, the best, next hop 172.16.0.2, AS path 65001\n"
        "  kernel    10.0.0.8/29 via 172.16.0.2 dev eth0 proto bird\n"
    )


async def test_a_free_address_of_this_node_is_dropped_and_that_is_right():
    finding = await found(FIRST[5])

    assert finding.problems == ()
    assert "  kernel    10.0.0.0/29 blackhole proto bird\n" in text.address_text(finding)


async def test_a_pod_of_this_node_needs_its_link():
    pod = KernelRoute(ip_network(WEB_0), "unicast", "boot", hops=(KernelHop("cali0123456789a"),))
    tunnel = KernelRoute(ip_network(WEB_0), "local", "kernel", hops=(KernelHop("tunl0"),))

    assert (await found(WEB_0, used=pod)).problems == ()
    assert (await found(WEB_0, used=tunnel)).problems == ()
    assert (await found(WEB_0)).problems == (
        "it is held on this node, but no link here has it; see ocicatctl ipam check",
    )


async def test_another_route_that_catches_it_is_told():
    foreign = replace(USED, network=ip_network(WEB_1), protocol="static")

    (problem,) = (await found(WEB_1, used=foreign)).problems
    (of_table,) = (await found(WEB_1, used=replace(foreign, table=100))).problems

    assert problem == ("another route catches it: 10.0.0.8/32 via 172.16.0.2 dev eth0 proto static")
    assert of_table.startswith("another route in table 100 catches it: ")


async def test_what_the_kernel_refuses_is_told():
    assert (await found(WEB_1)).problems == ("the kernel sends nothing there: Invalid argument",)


async def test_a_borrowed_address_is_routed_alone():
    finding = await found(LENT, WITH_BORROWER)

    assert finding.routed is not None
    assert finding.routed.destination == Destination(
        ip_network(LENT), "node-1", None, SECOND, "node-2"
    )
    assert "  borrowed  yes\n" in text.address_text(finding)


async def test_an_address_of_no_block_is_nobodys_unless_it_is_a_nodes():
    (outside,) = (await found("192.0.2.1")).problems
    node = await found("172.16.0.2", used=USED)

    assert outside == "it is in no block: no node has it, and nobody tells of it"
    assert node.problems == ()
    assert text.address_text(node).startswith("172.16.0.2 is the address of node node-2 itself\n")


async def test_a_block_that_nobody_can_read_is_told():
    finding = await found(WEB_1, {keys.block(SECOND): b"{"})

    assert finding.problems == (
        "block 10.0.0.8/29 cannot be read: nobody can say who has the address",
    )


async def test_a_bird_that_does_not_answer_is_among_the_problems_of_every_answer():
    finding = await found(WEB_1, used=USED, bird=Bird(mistake="BIRD x: no answer"))

    document = text.address_document(finding)

    assert document["problems"] == ["BIRD x: no answer"]
    assert "  wrong     BIRD x: no answer\n" in text.address_text(finding)


# ---- what is read ------------------------------------------------------------------------------


async def test_every_block_is_listed_also_those_that_nobody_has_and_those_of_ipv6():
    nobodys, six = ip_network("10.0.0.16/29"), ip_network("fd00::/122")
    store = await a_store(
        stored_block(a_block(nobodys, None)),
        an_affinity(six, "node-2", "pending"),
        without=[keys.affinity("node-2", SECOND)],
    )

    assert await Reader(store).all_blocks() == [
        Destination(FIRST, "node-1", "confirmed"),
        Destination(SECOND, "node-2", None),
        Destination(nobodys, None, None),
        Destination(six, "node-2", "pending"),
    ]


async def test_of_a_node_what_it_borrows_is_listed_too():
    store = await a_store(WITH_BORROWER)

    assert await Reader(store).of_node("node-1") == [
        Destination(FIRST, "node-1", "confirmed"),
        Destination(ip_network(LENT), "node-1", None, SECOND, "node-2"),
    ]
    with pytest.raises(Invalid, match=r"resource does not exist: Node\(node-9\)"):
        await Reader(store).of_node("node-9")


async def test_what_cannot_be_read_is_noted_and_does_not_hide_the_rest():
    reader = Reader(
        await a_store({keys.affinity("node-1", FIRST): b"{", keys.node("node-2"): b"{"})
    )

    blocks = await reader.all_blocks()
    nodes, pools, is_mesh = await reader.cluster()

    assert blocks[0] == Destination(FIRST, "node-1", "unreadable")
    assert (list(nodes), pools, is_mesh) == (["node-1"], [POOL], True)
    assert len(reader.mistakes) == 2


# ---- how it is shown ---------------------------------------------------------------------------


async def test_what_is_wrong_is_below_the_table():
    nodes, pools, is_mesh = await Reader(await a_store(ADDRESSES)).cluster()
    down = replace(SESSION, state="down", info="")
    view = View("node-1", nodes, pools, is_mesh, Bird([down]), Kernel([OWN_BLOCK]))
    wanted = (Destination(FIRST, "node-1", "confirmed"), Destination(SECOND, "node-2", "confirmed"))

    shown = text.table([explain(destination, view) for destination in wanted], view)

    assert shown == (
        "+-------------+--------+------+---------------+------+----------------------+\n"
        "| DESTINATION |  NODE  | POOL | ENCAPSULATION | BIRD |        KERNEL        |\n"
        "+-------------+--------+------+---------------+------+----------------------+\n"
        "| 10.0.0.0/29 | node-1 | main | none          | -    | blackhole proto bird |\n"
        "| 10.0.0.8/29 | node-2 | main | none          | -    | -                    |\n"
        "+-------------+--------+------+---------------+------+----------------------+\n"
        "\n"
        "10.0.0.8/29: session Mesh_172_16_0_2 with node node-2 is down since 21:57\n"
    )


def test_the_node_column_says_what_is_unusual():
    assert Destination(FIRST, None).owner == "nobody"
    assert Destination(FIRST, "node-1", "").owner == "node-1"
    assert Destination(FIRST, "node-1", "pending").owner == "node-1, pending"
    assert Destination(FIRST, "node-1").owner == "node-1, no affinity"
    borrowed = Destination(ip_network(LENT), "node-1", None, SECOND, "node-2")
    assert borrowed.owner == "node-1, borrowed of node-2"


@pytest.mark.parametrize("target", ["10.0.0", "fe80::1%eth0", "no/node", "10.0.0.1/24"])
def test_what_is_neither_a_node_nor_an_address_is_wrong_usage(target):
    assert CliRunner().invoke(ocicatctl, ["routes", target]).exit_code == 2

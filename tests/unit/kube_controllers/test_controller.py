"""The controller against an API of our own over HTTP, in virtual time: what it frees, and when."""

import json
from dataclasses import replace
from ipaddress import ip_network

from datamodel.attribute import DELEGATED
from datamodel.errors import Unavailable
from datastore import codec, keys
from datastore.store import Change
from tests.consistency import assert_consistent
from tests.controlled import FIRST, SECOND, World, delete_node, play, two_nodes
from tests.kube_server import refusal
from tests.leftovers import mentions

HOUR_S = 3600.0


async def assert_nothing_is_freed(world: World, *gone: str) -> None:
    for number in (1, 2):
        expected = [p for p in (f"db-{number}", f"web-{number}") if p not in gone]
        assert await world.holds(f"node-{number}") == expected
    assert await world.holds("plain") == ["lone"]


def drain(world: World, number: int = 1) -> None:
    """A node is deleted, and its pods with it."""
    delete_node(world.kube, number)


# ---- nodes -------------------------------------------------------------------------------------


def test_a_node_that_is_deleted_is_taken_back_after_its_grace():
    async def story(world: World) -> None:
        drain(world)
        await world.heard()
        await world.passes(50)
        await assert_nothing_is_freed(world)

        await world.passes(30)

        entries = await world.content()
        assert_consistent(entries)
        assert mentions(entries) == []
        assert await world.holds("node-2") == ["db-2", "web-2"]
        assert await world.holds("plain") == ["lone"]
        assert (world.controller.nodes_removed, world.controller.freed["node"]) == (1, 2)

    play(story)


def test_tunnels_and_gateways_of_a_deleted_node_go_with_it():
    async def story(world: World) -> None:
        drain(world)
        await world.heard()
        await world.passes(100)

        assert mentions(await world.content()) == []

    stored = two_nodes()
    stored.hold(FIRST, "ipip-tunnel-addr-node-1", node="node-1", type="ipipTunnelAddress")
    stored.hold(FIRST, "vxlan-tunnel-addr-node-1")  # as very old ones
    stored.hold(FIRST, "ocicat-gateway-node-1", node="node-1", type="ocicatGateway")
    play(story, stored)


def test_borrowed_addresses_of_a_deleted_node_go_back():
    async def story(world: World) -> None:
        drain(world)
        await world.heard()
        await world.passes(100)

        entries = await world.content()
        assert_consistent(entries)
        assert mentions(entries) == []

    stored = two_nodes()
    stored.pod("node-1", "guest-1", SECOND)
    play(story, stored)


def test_a_plain_host_is_never_touched():
    async def story(world: World) -> None:
        await world.passes(HOUR_S)

        await assert_nothing_is_freed(world)

    play(story)


def test_as_long_as_pods_are_bound_to_it_a_node_is_not_gone():
    async def story(world: World) -> None:
        world.kube.delete("nodes", "kube-1")
        world.kube.delete("pods", "web-1")
        await world.heard()

        await world.passes(HOUR_S)

        await assert_nothing_is_freed(world)
        assert world.controller.judgement.held == {"pods are bound to the node": 1}

    play(story)


def test_a_node_that_is_added_again_in_its_grace_is_not_gone():
    async def story(world: World) -> None:
        world.kube.delete("nodes", "kube-1")
        await world.heard()
        await world.passes(40)
        world.kube.put_node("kube-1")
        await world.heard()

        await world.passes(HOUR_S)

        await assert_nothing_is_freed(world)

    play(story)


def test_a_node_that_works_is_not_gone():
    """Whatever its ipamd writes makes the grace period begin anew."""

    async def story(world: World) -> None:
        drain(world)
        await world.heard()
        key = keys.node("node-1")
        for _ in range(10):
            await world.passes(50)
            value = (await world.store.read(key)).entries[key].value
            await world.store.commit(Change(put={key: value}))
        await assert_nothing_is_freed(world)

        await world.passes(150)

        assert mentions(await world.content()) == []

    play(story)


def test_a_node_under_whose_name_an_ipamd_runs_is_not_gone():
    async def story(world: World) -> None:
        drain(world)
        await world.heard()

        await world.passes(HOUR_S)
        await assert_nothing_is_freed(world)
        assert world.controller.judgement.held == {"the node's ipamd runs": 1}
        await world.store.commit(Change(delete=frozenset({keys.claim("node-1")})))
        await world.passes(400)

        assert mentions(await world.content()) == []

    stored = two_nodes()
    stored.values[keys.claim("node-1")] = b"{}"
    play(story, stored)


def test_a_node_with_addresses_of_somebody_unknown_is_left():
    async def story(world: World) -> None:
        drain(world)
        await world.heard()

        await world.passes(HOUR_S)

        await assert_nothing_is_freed(world)
        (finding,) = world.controller.judgement.findings
        assert finding == (
            "node node-1: is gone from Kubernetes, but somebody unknown holds addresses of the "
            "node; nothing of it is freed. If it is gone for good, run ocicatctl node delete node-1"
        )

    stored = two_nodes()
    stored.hold(FIRST, "podman.c1", node="node-1")
    play(story, stored)


def test_a_node_that_comes_back_just_when_it_is_deleted_keeps_everything():
    async def story(world: World) -> None:
        commit = world.store.commit

        async def overtaken(change: Change):
            answer = await commit(change)
            if keys.node("node-1") in change.delete:
                world.kube.put_node("kube-1")
            return answer

        before = await world.content()
        world.store.commit = overtaken  # type: ignore[method-assign]
        drain(world)
        await world.heard()
        await world.passes(300)

        entries = await world.content()
        assert {k: json.loads(v) for k, v in entries.items()} == {
            k: json.loads(v) for k, v in before.items()
        }

    play(story)


def test_a_node_that_comes_back_after_the_controller_was_killed_has_its_resource_again():
    async def story(world: World) -> None:
        await world.passes(10)

        await assert_nothing_is_freed(world)
        entries = await world.content()
        assert json.loads(entries[keys.node("node-1")]) == json.loads(resource)
        assert keys.departed("node-1") not in entries

    stored = two_nodes()
    resource = stored.values.pop(keys.node("node-1"))
    note = codec.DepartedNode(("kube-1",), resource)
    stored.values[keys.departed("node-1")] = codec.encode_departed(note)
    play(story, stored)


def test_whose_copy_is_behind_brings_no_node_back():
    """Another controller may have begun to take back what we have not heard of yet."""

    async def story(world: World) -> None:
        world.kube.is_mute = True
        drain(world)
        note = codec.DepartedNode(("kube-1",), two_nodes().values[keys.node("node-1")])
        value = codec.encode_departed(note)
        change = {keys.departed("node-1"): value}
        await world.store.commit(Change(put=change, delete=frozenset({keys.node("node-1")})))
        world.controller.node_lost()
        await world.passes(5)
        assert keys.node("node-1") not in await world.content()

        await world.passes(400)

        assert mentions(await world.content()) == []

    play(story)


def test_what_a_killed_controller_has_begun_is_finished():
    async def story(world: World) -> None:
        await world.passes(100)

        assert mentions(await world.content()) == []

    stored = two_nodes()
    note = codec.DepartedNode(("kube-1",), stored.values.pop(keys.node("node-1")))
    stored.values[keys.departed("node-1")] = codec.encode_departed(note)
    play(story, stored, is_drained=True)


def test_a_node_without_a_resource_is_only_told():
    async def story(world: World) -> None:
        await world.passes(HOUR_S)

        assert await world.holds("lost") == ["web-9"]
        (finding,) = world.controller.judgement.findings
        assert finding.startswith("node lost: has no resource, but 2 affinities and handles")

    stored = two_nodes()
    lost = ip_network("10.233.111.0/28")
    stored.block(lost, "lost")
    stored.pod("lost", "web-9", lost)
    play(story, stored)


# ---- pods of nodes that live -------------------------------------------------------------------


def test_what_nobody_else_can_free_goes_after_a_long_grace():
    """An address that another plugin's interface has, or that Calico gave out."""

    async def story(world: World) -> None:
        world.kube.delete("pods", "web-1")
        await world.heard()
        await world.passes(900)
        await assert_nothing_is_freed(world)

        await world.passes(320)

        await assert_nothing_is_freed(world, "web-1")
        assert_consistent(await world.content())
        assert world.controller.freed == {"pod": 1}

    play(story)


def with_facts(**facts: str):
    """web-1's address with more facts."""
    stored = two_nodes()
    block = stored.blocks[FIRST]
    attributes = tuple(
        replace(a, secondary={**(a.secondary or {}), **facts})
        if a.handle_id == "k8s-pod-network.web-1"
        else a
        for a in block.attributes
    )
    stored.blocks[FIRST] = replace(block, attributes=attributes)
    return stored


def test_an_address_of_another_plugins_interface_is_freed_with_its_handle():
    async def story(world: World) -> None:
        world.kube.delete("pods", "web-1")
        await world.heard()

        await world.passes(1300)

        assert keys.handle("k8s-pod-network.web-1") not in await world.content()

    play(story, with_facts(type=DELEGATED))


def test_what_the_nodes_ipamd_can_see_is_left_to_it():
    async def story(world: World) -> None:
        world.kube.delete("pods", "web-1")
        await world.heard()

        await world.passes(HOUR_S)

        await assert_nothing_is_freed(world)
        assert world.controller.judgement.held == {"the node's ipamd can see for itself": 1}

    play(story, with_facts(boot="b", netns="4026531840", timestamp="2026-11-20 18:00:01 +0000 UTC"))


def test_facts_that_nobody_knows_keep_an_address():
    async def story(world: World) -> None:
        world.kube.delete("pods", "web-1")
        await world.heard()

        await world.passes(HOUR_S)

        await assert_nothing_is_freed(world)

    play(story, with_facts(**{"vmi-name": "vm-1"}))


def test_of_a_pod_that_moved_the_old_address_goes_and_the_new_one_stays():
    async def story(world: World) -> None:
        world.kube.delete("pods", "web-1")
        world.kube.put_pod("web-1", "kube-2", uid="u2")
        await world.heard()

        await world.passes(1300)

        assert await world.holds("node-1") == ["db-1"]
        assert await world.holds("node-2") == ["db-2", "web-1", "web-2"]

    stored = two_nodes()
    handle = "k8s-pod-network.web-1-moved"
    address = stored.hold(SECOND, handle, namespace="default", pod="web-1", node="node-2")
    stored.endpoint("node-2", "web-1", address)
    play(story, stored)


def test_a_pod_that_is_made_anew_on_its_node_keeps_what_is_held_for_it():
    async def story(world: World) -> None:
        world.kube.delete("pods", "web-1")
        world.kube.put_pod("web-1", None, uid="u2")
        await world.heard()
        await world.passes(HOUR_S)
        world.kube.put_pod("web-1", "kube-1", uid="u2")
        await world.heard()
        await world.passes(HOUR_S)

        await assert_nothing_is_freed(world)

    play(story)


def test_a_pod_that_has_ended_keeps_its_address():
    async def story(world: World) -> None:
        world.kube.put_pod("web-1", "kube-1", phase="Succeeded")
        world.kube.put_pod("db-1", "kube-1", phase="Failed")
        await world.heard()

        await world.passes(HOUR_S)

        await assert_nothing_is_freed(world)

    play(story)


def test_on_a_node_that_is_not_ready_nothing_is_freed():
    """Its containers run on, and nobody there hears that their pods were deleted."""

    async def story(world: World) -> None:
        world.kube.delete("pods", "web-1")
        world.kube.put_node("kube-1", is_ready=False)
        await world.heard()
        await world.passes(HOUR_S)
        await assert_nothing_is_freed(world)

        world.kube.put_node("kube-1")
        await world.heard()
        await world.passes(800)
        await assert_nothing_is_freed(world)
        await world.passes(700)

        await assert_nothing_is_freed(world, "web-1")

    play(story)


def test_a_static_pod_keeps_its_address_without_a_mirror():
    async def story(world: World) -> None:
        await world.passes(HOUR_S)

        assert await world.holds("node-1") == ["db-1", "proxy-kube-1", "web-1"]

    stored = two_nodes()
    stored.pod("node-1", "proxy-kube-1", FIRST)
    play(story, stored)


def test_an_address_that_is_given_to_the_same_handle_again_is_another_one():
    async def story(world: World) -> None:
        key = keys.block(FIRST)
        world.kube.delete("pods", "web-1")
        await world.heard()
        await world.passes(800)
        block = codec.decode_block(key, (await world.store.read(key)).entries[key].value)
        attribute = block.holder_of(FIRST[0])
        freed, (address,) = block.release(attribute.handle_id, now=world.controller._now())
        again = freed.next_write().assign_address(address, attribute).next_write()
        await world.store.commit(Change(put={key: codec.encode_block(again)}))

        await world.passes(850)

        await assert_nothing_is_freed(world)

    play(story)


def test_a_pod_that_shows_at_the_last_moment_keeps_its_address():
    """The copy does not know of it; Kubernetes, asked for it alone, does."""

    async def story(world: World) -> None:
        world.kube.delete("pods", "web-1")
        await world.heard()
        world.kube.is_mute = True
        world.kube.put_pod("web-1", "kube-1", uid="u2")
        world.kube.lists_at = world.kube.version - 1

        await world.passes(0.5 * HOUR_S)

        await assert_nothing_is_freed(world)

    play(story)


# ---- what the API does -------------------------------------------------------------------------


def test_while_the_api_is_down_nothing_is_freed_and_the_grace_begins_anew():
    async def story(world: World) -> None:
        world.kube.delete("pods", "web-1")
        await world.heard()
        await world.passes(600)
        world.kube.go_down()
        await world.passes(HOUR_S)
        await assert_nothing_is_freed(world)
        assert "Kubernetes is not known" in world.controller.trouble
        world.kube.come_up()
        await world.passes(800)
        await assert_nothing_is_freed(world)

        await world.passes(700)

        await assert_nothing_is_freed(world, "web-1")

    play(story)


def test_a_node_that_is_deleted_while_the_api_is_down_is_gone_a_grace_after():
    async def story(world: World) -> None:
        world.kube.go_down()
        drain(world)
        await world.passes(HOUR_S)
        await assert_nothing_is_freed(world)
        world.kube.come_up()
        await world.passes(200)

        assert mentions(await world.content()) == []

    play(story)


def test_a_node_that_is_gone_keeps_everything_while_the_api_does_not_say_so_of_it():
    """From a proxy before the API comes a 404, too."""

    async def story(world: World) -> None:
        world.kube.not_found = b"404 page not found\n"
        drain(world)
        await world.heard()
        await world.passes(HOUR_S)
        await assert_nothing_is_freed(world)

        world.kube.not_found = refusal(404, "NotFound", "x", name="kube-9", kind="nodes")
        await world.passes(HOUR_S)

        await assert_nothing_is_freed(world)

    play(story)


def test_lists_that_are_suddenly_empty_are_not_believed():
    async def story(world: World) -> None:
        for kinds in ({"nodes"}, {"pods"}, {"nodes", "pods"}):
            world.kube.empty = kinds
            world.kube.forgotten = world.kube.version
            world.kube.end_watches()
            await world.passes(0.5 * HOUR_S)
            await assert_nothing_is_freed(world)
            (finding,) = world.controller.judgement.findings
            assert "nothing is freed" in finding

    play(story)


def test_another_cluster_is_not_believed():
    async def story(world: World) -> None:
        world.kube.put_node("other-1")
        world.kube.put_pod("other", "other-1")
        for number in (1, 2):
            drain(world, number)
        await world.heard()

        await world.passes(0.5 * HOUR_S)

        await assert_nothing_is_freed(world)
        (finding,) = world.controller.judgement.findings
        assert finding == (
            "Kubernetes lists 1 nodes, but none of the 2 that etcd knows; nothing is freed. Is it "
            "the cluster of this etcd?"
        )

    play(story)


def test_old_lists_are_not_believed():
    async def story(world: World) -> None:
        old = world.kube.version
        for number in (1, 2):
            world.kube.put_pod(f"web-{number}", f"kube-{number}", uid="u2")
        world.kube.delete("pods", "db-1")
        world.kube.put_pod("db-1", "kube-1", uid="u2")
        await world.heard()
        world.kube.lists_at = old - 2  # before node 2 had pods
        world.kube.forgotten = world.kube.version
        world.kube.end_watches()

        await world.passes(800)

        await assert_nothing_is_freed(world)
        assert "but it had told of" in world.followers[1].trouble

    play(story)


def test_versions_that_the_api_has_forgotten_are_listed_again():
    async def story(world: World) -> None:
        await world.heard()
        for by_event in (False, True):
            lists = world.followers[0].lists
            world.kube.tells_expiry_by_event = by_event
            world.kube.forgotten = world.kube.version
            world.kube.end_watches()
            await world.until(lambda before=lists: world.followers[0].lists > before)
            world.kube.forgotten = 0
            await world.heard()
        drain(world)
        await world.heard()
        await world.passes(100)

        assert mentions(await world.content()) == []

    play(story)


def test_a_watch_that_is_half_closed_is_not_waited_for():
    async def story(world: World) -> None:
        world.kube.is_mute = True
        drain(world)

        await world.passes(400)

        assert mentions(await world.content()) == []

    play(story)


def test_pages_that_expire_are_no_list():
    async def story(world: World) -> None:
        world.kube.expired_pages = 50
        await world.passes(HOUR_S)
        await assert_nothing_is_freed(world)
        world.kube.expired_pages = 0
        await world.heard()

        await assert_nothing_is_freed(world)

    play(story, begins_known=False)


def test_what_is_missing_of_rights_is_said():
    async def story(world: World) -> None:
        world.kube.status, world.kube.body = 403, refusal(403, "Forbidden", "not for you")
        world.kube.end_watches()
        await world.passes(HOUR_S)

        await assert_nothing_is_freed(world)
        assert 'needs "get", "list" and "watch"' in world.followers[0].trouble

    play(story)


def test_while_etcd_is_not_followed_nothing_is_freed():
    async def story(world: World) -> None:
        drain(world)
        await world.heard()
        await world.passes(30)
        read = world.store.read

        async def failing(*ranges: str, keys_only: bool = False):
            raise Unavailable("etcd: does not answer")

        world.store.read = failing  # type: ignore[method-assign]
        world.store.fail_watches()
        await world.passes(HOUR_S)
        assert "etcd is not known" in world.controller.trouble
        world.store.read = read  # type: ignore[method-assign]
        await assert_nothing_is_freed(world)
        await world.passes(55)
        await assert_nothing_is_freed(world)
        await world.passes(60)

        assert mentions(await world.content()) == []

    play(story)

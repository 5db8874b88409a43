"""Reports of the kernel's links and what becomes of them: barrier, recovery, leaks."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from itertools import islice

import pytest

from datamodel.attachment import Kernel, Pod
from datamodel.errors import Unavailable
from datamodel.report import Report, ReportedLink
from datastore import codec, keys
from datastore.memory import MemoryStore
from datastore.store import Change
from ipamd.allocator import SETTLE_S
from ipamd.reconciler import SURPLUS_S, Pace, Reconciler
from ipamd.request import Link
from tests.consistency import assert_consistent
from tests.ipam import (
    NODE,
    NOW,
    a_foreign_block,
    a_pool,
    a_release,
    a_store,
    an_allocate,
    an_attachment,
    content,
    endpoint_key,
    filled,
    handle_key,
    serving,
)
from tests.virtual_time import in_virtual_time

HERE = Kernel("boot-1", "4026531840")
LINK = Link("cali1", "02:00:00:00:00:01", ("kns.default",), HERE)
GRACE_S = 60.0


def a_link(container_id="c1", *addresses, pod="web-0"):
    attachment = an_attachment(container_id)
    return ReportedLink(
        interface_name=f"cali{container_id}",
        attachment=attachment,
        attachment_digest=attachment.digest,
        pod=Pod("default", pod) if pod else None,
        addresses=tuple(map(ip_address, addresses)),
        mac="02:00:00:00:00:01",
    )


def a_report(*links, kernel=HERE, is_complete=True):
    return Report(kernel, is_complete, links)


OTHER = a_link("other", pod="other")  # without an address: an ADD under way


class Running:
    """One ipamd with its reconciler; the time of day goes with the loop's."""

    def __init__(self, serving):
        self.submit = serving.submit
        begun = asyncio.get_running_loop().time()
        self.reconciler = Reconciler(
            serving.mirror,
            serving.allocator,
            NODE,
            Pace(60.0, GRACE_S),
            lambda: NOW + timedelta(seconds=asyncio.get_running_loop().time() - begun),
        )

    async def add(self, container_id="c1", pod="web-0"):
        """Allocate as the plugin does; return what the kernel then has."""
        granted = await self.submit(an_allocate(container_id, pod, link=LINK))
        return a_link(container_id, str(granted.grants[0].address), pod=pod)


async def a_cluster(*pools, **more):
    store = a_store(*pools, nodes=(NODE, "node-2"), **more)
    return await filled(MemoryStore(), store)


def in_order(values, *unwired):
    assert_consistent(values, unwired=set(unwired))


# ---- the barrier -------------------------------------------------------------------------------


@in_virtual_time
async def test_no_address_is_given_out_before_the_first_report():
    async with serving(await a_cluster(), is_open=False) as node:
        running = Running(node)
        with pytest.raises(Unavailable, match="before the CNI server has told it"):
            await node.allocator.submit(an_allocate(), timeout_s=5)
        waiting = asyncio.create_task(node.submit(an_allocate()))
        await asyncio.sleep(1)
        assert not waiting.done()

        await running.reconciler.take(a_report())

        assert (await waiting).grants


@in_virtual_time
async def test_a_report_that_was_cut_short_opens_nothing():
    async with serving(await a_cluster(), is_open=False) as node:
        await Running(node).reconciler.take(a_report(is_complete=False))

        assert not node.allocator.is_open


@in_virtual_time
async def test_addresses_may_be_given_back_before_the_first_report():
    store = await a_cluster()
    async with serving(store) as node:
        await node.submit(an_allocate())
    async with serving(store, is_open=False) as node:
        released = await node.submit(a_release())

    assert released.grants


@in_virtual_time
async def test_the_first_report_records_what_links_have_and_nobody_knows():
    store = await a_cluster()
    async with serving(store, is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report(a_link("c1", "10.233.64.7")))
        again = await node.submit(an_allocate("c1", "web-0", link=LINK))

    values = await content(store)
    in_order(values)
    assert handle_key("c1") in values
    assert endpoint_key("web-0") in values
    assert again.grants[0].address == ip_address("10.233.64.7")


@in_virtual_time
async def test_an_address_that_the_store_gave_to_somebody_else_is_told_and_left():
    cidr = ip_network("10.233.64.0/24")
    store = await a_cluster(**a_foreign_block(cidr, taken=1))
    before = await content(store)
    async with serving(store, is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report(a_link("c1", "10.233.64.0")))

        [finding] = running.reconciler.findings
        assert "10.233.64.0: is held by net.node-2-0" in finding
        assert "calic1" in finding
        assert node.allocator.is_open
    assert await content(store) == before


@in_virtual_time
async def test_an_address_whose_link_nobody_can_name_is_not_given_out():
    pool = a_pool(cidr="10.0.0.0/29", block_size=29)
    nameless = replace(a_link("c1", "10.0.0.0"), attachment=None)
    async with serving(await a_cluster(pool), is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report(nameless))
        granted = [await node.submit(an_allocate(f"c{i}", f"p{i}")) for i in range(7)]

    assert ip_address("10.0.0.0") not in {g.grants[0].address for g in granted}


@pytest.mark.parametrize("is_strict_now", [False, True])
@in_virtual_time
async def test_borrowed_addresses_are_found_again_after_a_restart(is_strict_now):
    cidr = ip_network("10.0.0.0/29")
    pool = a_pool(cidr="10.0.0.0/29", block_size=29)
    config = {keys.IPAM_CONFIG: b'{"auto_allocate_blocks":true}'}
    store = await a_cluster(pool, **a_foreign_block(cidr, taken=1), **config)
    async with serving(store) as node:
        link = await Running(node).add()
    assert keys.borrowed(NODE, cidr) in await content(store)
    if is_strict_now:
        await store.commit(Change(put={keys.IPAM_CONFIG: codec.DEFAULT_IPAM_CONFIG}))
    async with serving(store, is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report(link, OTHER))
        for _ in range(3):
            await running.reconciler.take(a_report(OTHER))
            await asyncio.sleep(GRACE_S + 1)

        assert running.reconciler.freed == 1
    values = await content(store)
    assert handle_key("c1") not in values
    assert keys.borrowed(NODE, cidr) not in values


@in_virtual_time
async def test_what_is_held_in_a_block_that_became_anothers_is_found_after_a_restart():
    store = await a_cluster()
    async with serving(store) as node:
        running = Running(node)
        link = await running.add()
        [block] = running.reconciler.blocks()
        key, affinity = keys.block(block.cidr), keys.affinity(NODE, block.cidr)
        nobodys = codec.encode_block(replace(block, affinity=None).next_write())
        await store.commit(Change(put={key: nobodys}, delete=frozenset({affinity})))
        await running.reconciler.take(a_report(link))
        assert keys.borrowed(NODE, block.cidr) in await content(store)
    async with serving(store, is_open=False) as node:
        running = Running(node)
        for _ in range(3):
            await running.reconciler.take(a_report(OTHER))
            await asyncio.sleep(GRACE_S + 1)

    values = await content(store)
    assert handle_key("c1") not in values
    assert keys.borrowed(NODE, block.cidr) not in values


# ---- leaks -------------------------------------------------------------------------------------


@in_virtual_time
async def test_what_lost_its_link_is_freed_by_the_second_report_after_the_grace_period():
    store = await a_cluster()
    async with serving(store, is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report())
        await running.add("c1", "web-0")
        kept = await running.add("c2", "web-1")
        await asyncio.sleep(GRACE_S + 1)

        await running.reconciler.take(a_report(kept))
        between = await content(store)
        await asyncio.sleep(GRACE_S + 1)
        await running.reconciler.take(a_report(kept))

    values = await content(store)
    assert handle_key("c1") in between
    assert handle_key("c1") not in values
    assert endpoint_key("web-0") not in values
    assert handle_key("c2") in values
    in_order(values)


@in_virtual_time
async def test_a_pod_that_was_added_again_meanwhile_keeps_its_address():
    async with serving(await a_cluster(), is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report(OTHER))
        await running.add("c1", "web-0")
        await asyncio.sleep(GRACE_S + 1)
        await running.reconciler.take(a_report(OTHER))
        await node.submit(a_release("c1", "web-0"))
        await running.add("c1", "web-0")
        await asyncio.sleep(GRACE_S + 1)

        await running.reconciler.take(a_report(OTHER))
        await asyncio.sleep(GRACE_S + 1)

        assert running.reconciler.freed == 0


@in_virtual_time
async def test_a_container_that_is_attached_again_keeps_the_address_that_it_still_held():
    """Its link is newer than the report that says that there is none."""
    async with serving(await a_cluster(), is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report(OTHER))
        await running.add()
        await asyncio.sleep(GRACE_S + 1)
        await running.reconciler.take(a_report(OTHER))
        await asyncio.sleep(GRACE_S + 1)
        late = a_report(OTHER)
        await running.add()

        await running.reconciler.take(late)

        assert running.reconciler.freed == 0


@in_virtual_time
async def test_a_node_that_is_suddenly_without_links_keeps_its_addresses_and_says_so():
    async with serving(await a_cluster(), is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report())
        await running.add()
        for _ in range(4):
            await asyncio.sleep(GRACE_S + 1)
            await running.reconciler.take(a_report())

        assert running.reconciler.freed == 0
        assert "no link at all" in running.reconciler.findings[0]


@in_virtual_time
async def test_after_a_reboot_the_addresses_of_the_old_boot_are_freed():
    store = await a_cluster()
    async with serving(store) as node:
        await Running(node).add()
    async with serving(store, is_open=False) as node:
        running = Running(node)
        await asyncio.sleep(GRACE_S + 1)
        for _ in range(2):
            await running.reconciler.take(a_report(kernel=Kernel("boot-2", "4026531840")))
            await asyncio.sleep(GRACE_S + 1)

    assert running.reconciler.freed == 1
    in_order(await content(store))


@in_virtual_time
async def test_a_link_without_record_is_recorded_only_if_two_reports_say_so():
    async with serving(await a_cluster(), is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report())

        await running.reconciler.take(a_report(a_link("c1", "10.233.64.9")))
        after_one = running.reconciler.recorded
        await running.reconciler.take(a_report(a_link("c1", "10.233.64.9")))

        assert (after_one, running.reconciler.recorded) == (0, 1)


# ---- a restored store --------------------------------------------------------------------------


@in_virtual_time
async def test_after_a_restore_addresses_are_given_out_once_the_links_have_been_recorded():
    store = await a_cluster()
    async with serving(store, is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report())
        first = await running.add("c1", "web-0")
        backup = store.revision
        second = await running.add("c2", "web-1")
        store.restore(backup)
        await asyncio.sleep(5)

        with pytest.raises(Unavailable):
            await node.allocator.submit(an_allocate("c3", "web-2"), timeout_s=5)
        await running.reconciler.take(a_report(first, second))
        third = await node.submit(an_allocate("c3", "web-2"))

    assert third.grants[0].address not in (*first.addresses, *second.addresses)
    values = await content(store)
    assert handle_key("c2") in values
    in_order(values)


@in_virtual_time
async def test_what_a_backup_says_was_borrowed_is_freed_though_nobody_may_borrow_any_more():
    cidr = ip_network("10.0.0.0/29")
    pool = a_pool(cidr="10.0.0.0/29", block_size=29)
    config = {keys.IPAM_CONFIG: b'{"auto_allocate_blocks":true}'}
    store = await a_cluster(pool, **a_foreign_block(cidr, taken=1), **config)
    async with serving(store) as node:
        running = Running(node)
        await running.add()
        backup = store.revision
        await running.submit(a_release())
        store.restore(backup)
        await store.commit(Change(put={keys.IPAM_CONFIG: codec.DEFAULT_IPAM_CONFIG}))
        await asyncio.sleep(1)
        for _ in range(3):
            await running.reconciler.take(a_report(OTHER))
            await asyncio.sleep(GRACE_S + 1)

    assert handle_key("c1") not in await content(store)


@in_virtual_time
async def test_after_a_restore_no_block_is_claimed_until_others_have_recorded_theirs():
    store = await a_cluster()
    async with serving(store, is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report())
        store.restore(store.revision)
        await asyncio.sleep(5)
        await running.reconciler.take(a_report())

        with pytest.raises(Unavailable, match="restored a moment ago"):
            await node.submit(an_allocate())
        await asyncio.sleep(SETTLE_S)

        assert (await node.submit(an_allocate())).grants


# ---- order -------------------------------------------------------------------------------------


@in_virtual_time
async def test_a_block_that_nobody_has_needed_for_long_goes_back_and_the_last_one_stays():
    store = await a_cluster(a_pool(cidr="10.0.0.0/24", block_size=30))
    async with serving(store, is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report())
        links = [await running.add(f"c{i}", f"p{i}") for i in range(9)]
        for i in range(9):
            await node.submit(a_release(f"c{i}", f"p{i}"))
        await running.reconciler.take(a_report())
        before = await content(store)
        await asyncio.sleep(SURPLUS_S)
        await running.reconciler.take(a_report())

    values = await content(store)
    assert links
    assert len([k for k in before if k.startswith(keys.ALL_BLOCKS)]) == 3
    assert len([k for k in values if k.startswith(keys.ALL_BLOCKS)]) == 1
    in_order(values)


@in_virtual_time
async def test_more_blocks_than_one_transaction_takes_go_back_bit_by_bit():
    pool = a_pool(cidr="10.0.0.0/24", block_size=32)
    store = await a_cluster(pool)
    for cidr in islice(pool.blocks_for(NODE), 150):
        await store.commit(Change(put=a_foreign_block(cidr, host=NODE)))
    left = []
    async with serving(store, is_open=False) as node:
        running = Running(node)
        for _ in range(4):
            await running.reconciler.take(a_report())
            await asyncio.sleep(SURPLUS_S)
            in_order(await content(store))
            left.append(sum(1 for _ in running.reconciler.blocks()))

    assert left == [150, 87, 24, 1]


@in_virtual_time
async def test_half_claims_of_this_node_are_mended():
    stale, lost, half = (ip_network(f"10.233.{n}.0/24") for n in (70, 71, 72))
    pending = b'{"state":"pending","deleted":false}'
    store = await a_cluster(
        **a_foreign_block(stale),
        **{keys.affinity(NODE, stale): pending, keys.affinity(NODE, lost): pending},
        **{**a_foreign_block(half, host=NODE), keys.affinity(NODE, half): pending},
    )
    async with serving(store, is_open=False) as node:
        await Running(node).reconciler.take(a_report())

    values = await content(store)
    in_order(values)
    assert keys.affinity(NODE, half) in values
    assert not {keys.affinity(NODE, stale), keys.affinity(NODE, lost)} & values.keys()


@in_virtual_time
async def test_cooldowns_end_though_nobody_asks_for_an_address():
    config = b'{"strict_affinity":true,"auto_allocate_blocks":true,"ipCooldownSeconds":30}'
    store = await a_cluster(**{keys.IPAM_CONFIG: config})
    async with serving(store) as node:
        await node.submit(an_allocate())
        await node.submit(a_release())
    resting = await content(store)
    later = NOW + timedelta(seconds=31)
    async with serving(store, is_open=False, now=later) as node:
        await Running(node).reconciler.take(a_report())

    [key] = [key for key in resting if key.startswith(keys.ALL_BLOCKS)]
    assert codec.decode_block(key, resting[key]).in_use == 1
    assert codec.decode_block(key, (await content(store))[key]).in_use == 0


@in_virtual_time
async def test_values_that_nobody_can_read_are_told():
    store = await a_cluster(**{keys.pool("bad"): b"{"})
    async with serving(store, is_open=False) as node:
        running = Running(node)
        await running.reconciler.take(a_report())

        assert any("ippools/bad" in finding for finding in running.reconciler.findings)


# ---- asking for reports ------------------------------------------------------------------------


@in_virtual_time
async def test_a_report_is_wanted_at_once_and_then_regularly():
    async with serving(await a_cluster(), is_open=False) as node:
        reconciler = Running(node).reconciler
        loop = asyncio.get_running_loop()
        times = []
        async for _ in reconciler.wanted():
            times.append(loop.time())
            if len(times) == 3:
                break

    assert times == [0, 60, 120]


@in_virtual_time
async def test_a_restored_store_calls_for_a_report():
    store = await a_cluster()
    async with serving(store, is_open=False) as node:
        running = Running(node)
        task = asyncio.create_task(running.reconciler.run())
        await running.reconciler.take(a_report())
        wanted = running.reconciler.wanted()
        await anext(wanted)
        store.restore(store.revision)

        async with asyncio.timeout(10):
            await anext(wanted)
        task.cancel()


@in_virtual_time
async def test_a_closed_reconciler_wants_no_more_reports():
    async with serving(await a_cluster(), is_open=False) as node:
        reconciler = Running(node).reconciler
        wanted = reconciler.wanted()
        await anext(wanted)

        reconciler.close()

        assert [_ async for _ in wanted] == []


@in_virtual_time
async def test_a_fresh_report_is_waited_for():
    async with serving(await a_cluster(), is_open=False) as node:
        reconciler = Running(node).reconciler
        assert (await reconciler.last_report(fresh=False))[0] is None
        asking = asyncio.create_task(reconciler.last_report(fresh=True))
        await asyncio.sleep(1)

        await reconciler.take(a_report(OTHER))

        assert await asking == (a_report(OTHER), 0)

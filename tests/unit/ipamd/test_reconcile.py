"""Which addresses count as leaked: the rules of docs/design/0002, one by one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest

from datamodel.attachment import Attachment, Kernel, Pod
from datamodel.block import Attribute, Block
from datamodel.gotime import go_time, parse_go_time
from datamodel.report import Report, ReportedLink
from ipamd.reconcile import Held, Moment, Suspect, held_by_node, judge, unrecorded
from ipamd.request import Free

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HERE = Kernel("boot-1", "4026531840")
GRACE_S = 60
SEEN = {ip_address("10.0.0.1"): 7}
EARLIER = Suspect(SEEN, since_s=1000 - GRACE_S)
MOMENT = Moment(NOW, clock_s=1000, grace_s=GRACE_S)


def an_attachment(container_id="c1"):
    return Attachment("net", container_id, "eth0")


def held(container_id="c1", kernel=HERE, age_s=3600, **facts):
    where = {"boot": kernel.boot_id, "netns": kernel.netns} if kernel else {}
    made = go_time(NOW - timedelta(seconds=age_s))
    return Held(an_attachment(container_id).handle_id, SEEN, {"timestamp": made, **where, **facts})


def a_link(container_id="other", addresses=("10.0.0.9",)):
    attachment = an_attachment(container_id)
    return ReportedLink(
        interface_name=f"cali{container_id}",
        attachment=attachment,
        attachment_digest=attachment.digest,
        pod=Pod("default", container_id),
        addresses=tuple(map(ip_address, addresses)),
        mac="",
    )


REPORT = Report(HERE, True, (a_link(),))


def judged(what, *, report=REPORT, before=EARLIER, busy=(), moment=MOMENT):
    suspects = {what.handle_id: before} if before else {}
    return judge({what.handle_id: what}, report, suspects, busy, moment)


def test_what_has_had_no_link_for_the_grace_period_is_a_leak():
    assert judged(held()).leaks == (Free(held().handle_id, SEEN),)


def test_the_first_report_without_the_link_only_raises_a_suspicion():
    judgement = judged(held(), before=None)

    assert judgement.leaks == ()
    assert judgement.suspects == {held().handle_id: Suspect(SEEN, MOMENT.clock_s)}


def test_a_second_report_within_the_grace_period_is_not_enough():
    before = Suspect(SEEN, since_s=MOMENT.clock_s - GRACE_S + 1)

    judgement = judged(held(), before=before)

    assert judgement.leaks == ()
    assert judgement.suspects == {held().handle_id: before}


def test_a_link_that_is_there_ends_the_suspicion():
    judgement = judged(held("other"))

    assert judgement == judge({}, REPORT, {}, (), MOMENT)


def test_an_address_that_was_released_and_taken_again_begins_anew():
    other_holding = Suspect({ip_address("10.0.0.1"): 6}, since_s=0)

    judgement = judged(held(), before=other_holding)

    assert judgement.leaks == ()
    assert judgement.suspects == {held().handle_id: Suspect(SEEN, MOMENT.clock_s)}


def test_a_handle_with_a_request_under_way_is_left_alone():
    assert judged(held(), busy={held().handle_id}) == judge({}, REPORT, {}, (), MOMENT)


@pytest.mark.parametrize(
    "what",
    [
        held(kernel=None),
        replace(held(), handle_id="ipip-tunnel-addr-node-1"),
        replace(held(), facts={**held().facts, "timestamp": "yesterday"}),
        replace(held(), facts={k: v for k, v in held().facts.items() if k != "timestamp"}),
        held(age_s=GRACE_S - 1),
        held(age_s=-3600),
    ],
    ids=["no kernel", "no attachment", "odd time", "no time", "young", "from the future"],
)
def test_unknown_or_young_is_never_a_leak(what):
    assert judged(what) == judge({}, REPORT, {}, (), MOMENT)


def test_a_report_that_was_cut_short_changes_nothing_and_says_so():
    judgement = judged(held(), report=replace(REPORT, is_complete=False))

    assert judgement.leaks == ()
    assert judgement.suspects == {held().handle_id: EARLIER}
    assert "cut short" in judgement.findings[0]


def test_a_report_of_another_namespace_says_nothing_about_this_one():
    judgement = judged(held(), report=replace(REPORT, kernel=Kernel("boot-1", "1")))

    assert (judgement.leaks, judgement.suspects) == ((), {})
    assert "another network namespace" in judgement.findings[0]


def test_an_empty_report_accuses_nobody_and_says_so():
    judgement = judged(held(), report=replace(REPORT, links=()), before=None)

    assert (judgement.leaks, judgement.suspects) == ((), {})
    assert "no link at all" in judgement.findings[0]


def test_an_empty_report_confirms_what_another_one_found():
    judgement = judged(held(), report=replace(REPORT, links=()))

    assert judgement.leaks == (Free(held().handle_id, SEEN),)


def test_after_a_reboot_an_empty_report_is_explained():
    before_reboot = held(kernel=Kernel("boot-0", "4026531840"))
    empty = replace(REPORT, links=())

    first = judged(before_reboot, report=empty, before=None)
    second = judged(before_reboot, report=empty, before=EARLIER)

    assert first.findings == ()
    assert first.suspects
    assert second.leaks == (Free(before_reboot.handle_id, SEEN),)


def test_a_link_of_another_boot_may_have_been_in_any_namespace():
    before_reboot = held(kernel=Kernel("boot-0", "99"))

    assert judged(before_reboot).leaks


# ---- what is held ------------------------------------------------------------------------------


def a_block(*attributes, cidr="10.0.0.0/29"):
    block = Block.new(ip_network(cidr), "node-1", 100)
    for attribute in attributes:
        block, _ = block.assign(attribute)
        block = block.next_write()
    return block


def test_only_what_this_nodes_pods_hold_counts():
    block = a_block(
        Attribute("net.c1", {"node": "node-1"}),
        Attribute("net.c2", {"node": "node-2"}),
        Attribute("net.c3", {}),
        Attribute(None, None, released_at=NOW),
    )

    assert held_by_node([block], "node-1") == {
        "net.c1": Held("net.c1", {ip_address("10.0.0.0"): 100}, {"node": "node-1"})
    }


def test_a_handle_holds_in_all_blocks_together():
    facts = {"node": "node-1"}
    blocks = [
        a_block(Attribute("net.c1", facts)),
        a_block(Attribute("net.c1", facts), cidr="fd00::/125"),
    ]

    found = held_by_node(blocks, "node-1")["net.c1"].addresses

    assert found == {ip_address("10.0.0.0"): 100, ip_address("fd00::"): 100}


# ---- what links have ---------------------------------------------------------------------------


def test_an_address_of_a_link_that_its_handle_does_not_hold_is_unrecorded():
    link = a_link("c1", ("10.0.0.1", "10.0.0.2"))

    assert unrecorded({held().handle_id: held()}, replace(REPORT, links=(link,)), ()) == [link]


def test_a_link_whose_addresses_are_held_or_that_has_none_is_in_order():
    links = (a_link("c1", ("10.0.0.1",)), a_link("c2", ()))

    assert unrecorded({held().handle_id: held()}, replace(REPORT, links=links), ()) == []


def test_a_link_with_a_request_under_way_is_left_alone():
    assert unrecorded({}, REPORT, {a_link().attachment.handle_id}) == []


# ---- times -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-08-22 13:33:21.123456789 +0000 UTC", (13, 33, 21, 123456)),
        ("2026-08-22 13:33:21.5 +0000 UTC", (13, 33, 21, 500000)),
        ("2026-08-22 13:33:21 +0000 UTC", (13, 33, 21, 0)),
    ],
)
def test_a_time_is_read_as_go_writes_it(text, time):
    assert parse_go_time(text) == datetime(2026, 8, 22, *time, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "now", "2026-08-22 13:33:21 +0200 CEST", "2026-08-22"])
def test_any_other_time_is_none(text):
    assert parse_go_time(text) is None

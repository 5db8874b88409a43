"""What is hostile or exhausted: an answer in all cases, and the node as before."""

import json
import os
import resource
import subprocess

import pytest

from tests.conformance.rules import rule

# ---- configurations --------------------------------------------------------------------------


def with_nesting(conf: dict, depth: int) -> str:
    return json.dumps(conf)[:-1] + ', "deep": ' + "[" * depth + "]" * depth + "}"


@rule("B1")
def test_a_megabyte_of_unknown_keys_is_served(node, pod, before):
    conf = {f"unknown-{i}": "x" * 100 for i in range(9000)}

    result = node.added(pod, conf=conf)

    assert len(json.dumps(conf)) > 1 << 20
    assert node.checked(pod, result, **conf).is_silent_success
    assert node.call("DEL", pod, conf=conf).is_silent_success
    assert node.snapshot() == before


@rule("B1", "A4")
@pytest.mark.parametrize("depth", [100, 10_000, 200_000])
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_deep_nesting_is_served_or_refused(node, pod, before, verb, depth):
    outcome = node.call(verb, pod, stdin=with_nesting(node.plugin.conf_with({}), depth))

    if outcome.status:
        outcome.assert_refused(6)
    assert node.call("DEL", pod).is_silent_success
    assert node.snapshot() == before


@rule("B1", "A4")
@pytest.mark.parametrize("where", ["name", "cniVersion"])
def test_a_nul_byte_in_a_value_is_refused(node, pod, before, where):
    value = node.plugin.conf[where] + "\0"

    node.call("ADD", pod, conf={where: value}).assert_refused(7 if where == "name" else 1)

    assert node.snapshot() == before


@rule("B1", "A4")
def test_bytes_that_are_no_text_are_served_or_refused(node, pod, before):
    data = json.dumps(node.plugin.conf_with({"unknown": "@"})).encode().replace(b"@", b"\xff\xfe")

    outcome = node.call("ADD", pod, stdin=data)

    if outcome.status:
        outcome.assert_refused(6)
    node.call("DEL", pod)
    assert node.snapshot() == before


@rule("B1", "A4")
def test_surrogates_in_a_value_are_served_or_refused(node, pod, before):
    conf = node.plugin.conf_with({"dns": {"nameservers": ["\ud800"]}})

    outcome = node.call("ADD", pod, stdin=json.dumps(conf))

    if outcome.status:
        outcome.assert_refused(None)
    assert node.call("DEL", pod).is_silent_success
    assert node.snapshot() == before


@rule("B1", "A4")
@pytest.mark.parametrize("text", ['{"mtu": 1e999}', '{"mtu": 1' + "0" * 5000 + "}"])
def test_numbers_beyond_all_bounds_are_served_or_refused(node, pod, before, text):
    conf = json.dumps(node.plugin.conf_with({}))[:-1] + ", " + text[1:]

    outcome = node.call("ADD", pod, stdin=conf)

    if outcome.status:
        outcome.assert_refused(None)
    assert node.call("DEL", pod).is_silent_success
    assert node.snapshot() == before


@rule("B1")
def test_a_directory_as_stdin_is_refused(node, pod, before, tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        outcome = node.call("ADD", pod, stdin=fd)
    finally:
        os.close(fd)

    assert outcome.status != 0
    assert node.snapshot() == before


# ---- names -----------------------------------------------------------------------------------


@rule("B2")
def test_containers_whose_ids_begin_alike_get_links_of_their_own(node, pod):
    other = node.pod()
    first, second = pod.but(id="abcdefghijk-1"), other.but(id="abcdefghijk-2")

    results = [node.added(first), node.added(second)]

    assert node.host_end(first) != node.host_end(second)
    for called, result in zip((first, second), results, strict=True):
        assert node.checked(called, result).is_silent_success
    assert node.call("DEL", first).is_silent_success
    assert node.checked(second, results[1]).is_silent_success


@rule("B2")
def test_ids_that_differ_in_case_only_are_two_containers(node, pod):
    other = node.pod()
    first, second = pod.but(id="abc"), other.but(id="ABC")

    node.added(first)
    result = node.added(second)

    assert node.call("DEL", first).is_silent_success
    assert node.checked(second, result).is_silent_success


@rule("B3", "A4")
def test_a_foreign_link_under_our_name_is_an_error_and_stays(node, pod, foreign_link):
    called = pod.but(id=foreign_link.removeprefix("cali"))
    before = node.snapshot()

    node.call("ADD", called).assert_refused(7, foreign_link)
    added = node.snapshot()
    deleted = node.call("DEL", called)

    assert added == before
    assert deleted.is_silent_success
    assert node.snapshot() == before


# ---- what is exhausted or forbidden ----------------------------------------------------------


@rule("B4")
def test_a_full_file_system_leaves_nothing_afterwards(node, pod, full_state):
    outcomes = [node.call("ADD", pod), node.call("DEL", pod)]

    for outcome in outcomes:
        if outcome.status:
            outcome.assert_refused(None)
    full_state()
    assert node.call("DEL", pod).is_silent_success
    node.tidy()
    node.assert_as_before()


@pytest.fixture
def full_state(node):
    """The plugin's directory of records has no room; calling the value makes room again."""
    directory = node.records
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", directory], check=True)
    (directory / "full.log").write_bytes(b"x" * 4096)
    mounted = [directory]

    def make_room() -> None:
        while mounted:
            subprocess.run(["umount", "-l", mounted.pop()], check=True)

    yield make_room
    make_room()


@rule("S8", "B4")
def test_a_release_that_can_be_neither_delivered_nor_kept_is_an_error(node, pod, full_state):
    node.added(pod)

    with node.without("ipamd"):
        outcome = node.call("DEL", pod)
        gone = pod.ifname not in node.links(pod)

    outcome.assert_refused(None)
    assert gone
    # containerd takes a DEL for done if the error has these words in it.
    said = f"{outcome.document['msg']} {outcome.document.get('details', '')}".lower()
    assert "not found" not in said
    assert "no such file or directory" not in said
    full_state()
    assert node.call("DEL", pod).is_silent_success
    node.tidy()
    node.assert_as_before()


@rule("B5", "A4")
def test_without_the_capability_an_add_is_an_error(node, pod, before, in_process):
    wrapper = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", "--")

    node.call("ADD", pod, wrapper=wrapper).assert_refused(None)

    assert node.snapshot() == before


def few_descriptors(count: int):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


@rule("B6")
@pytest.mark.parametrize("count", [16, 8])
@pytest.mark.parametrize("mode", ["installed", "in process"])
def test_with_few_descriptors_it_is_served_or_refused(node, pod, before, request, count, mode):
    if mode == "in process":
        request.getfixturevalue("in_process")

    outcome = node.call("ADD", pod, before_exec=few_descriptors(count))

    assert outcome.status == 0 or node.snapshot() == before, outcome
    assert node.call("DEL", pod).is_silent_success
    assert node.snapshot() == before


@rule("B7", "A4")
def test_no_address_left_is_an_error_and_leaves_nothing(node, pod):
    one = node.with_one_address()
    node.added(node.pod(), conf=one)
    before = node.snapshot()

    node.call("ADD", pod, conf=one).assert_refused(None, our_code=101)

    assert node.snapshot() == before


@rule("B7", "A4")
def test_when_one_family_has_none_left_nothing_of_the_other_stays(node, pod):
    one = node.with_one_address(6)
    node.added(node.pod(), conf=one)
    before = node.snapshot()

    node.call("ADD", pod, conf=one).assert_refused(None, our_code=101)

    assert node.snapshot() == before

"""VERSION, and what each version of the specification asks for."""

import os
import time

import pytest

from tests.conformance.plugin import all_with_one
from tests.conformance.rules import rule
from tests.conformance.versions import CHECKED, VERSIONS, family

# ---- VERSION ---------------------------------------------------------------------------------


@rule("V1", "R8")
@pytest.mark.parametrize("version", VERSIONS)
def test_version_lists_what_is_spoken(node, before, version):
    outcome = node.call("VERSION", conf={"cniVersion": version})

    assert outcome.status == 0
    assert outcome.document.keys() == {"cniVersion", "supportedVersions"}
    assert version in outcome.document["supportedVersions"]
    assert outcome.document["cniVersion"] in outcome.document["supportedVersions"]
    assert node.snapshot() == before


@rule("V3")
def test_every_version_is_spoken(node):
    spoken = node.call("VERSION", stdin="").document["supportedVersions"]

    assert spoken == VERSIONS


@rule("V2")
@pytest.mark.parametrize("stdin", ["", "{", "\0", "null", '{"cniVersion": "9.9.9"}'])
def test_version_does_not_care_what_stdin_holds(node, before, stdin):
    outcome = node.call("VERSION", stdin=stdin)

    assert outcome.status == 0
    assert outcome.document["supportedVersions"]
    assert node.snapshot() == before


@rule("V2")
def test_version_does_not_wait_for_stdin(node):
    reading, writing = os.pipe()  # nothing is ever written, and nobody closes it
    begun = time.monotonic()
    try:
        outcome = node.call("VERSION", stdin=reading)
    finally:
        os.close(reading)
        os.close(writing)

    assert outcome.document["supportedVersions"]
    assert time.monotonic() - begun < 5


@rule("V2")
def test_version_takes_the_library_s_dummy_values(node, pod, before):
    dummy = {"CNI_NETNS": "dummy", "CNI_IFNAME": "dummy", "CNI_PATH": "dummy"}

    outcome = node.call("VERSION", environment=dummy)

    assert outcome.document["supportedVersions"]
    assert node.snapshot() == before


@rule("V2")
def test_version_takes_variables_that_are_wrong(node, before):
    wrong = {"CNI_CONTAINERID": "../a", "CNI_NETNS": "/dev/null", "CNI_IFNAME": "a/b"}

    assert node.call("VERSION", environment=wrong).document["supportedVersions"]
    assert node.snapshot() == before


# ---- versions of a configuration --------------------------------------------------------------

FOREIGN = ["0.0.0", "0.9.0", "1.0", "1.0.1", "v1.0.0", "1.0.0 ", "2.0.0", "1.2.0", "1.10.0"]


@rule("V4", "V5", "A4")
@pytest.mark.parametrize(("verb", "spelling"), all_with_one("ADD", ["DEL"], [*FOREIGN, "nonsense"]))
def test_a_version_that_is_not_spoken_is_refused(node, pod, before, verb, spelling):
    outcome = node.call(verb, pod, conf={"cniVersion": spelling})

    outcome.assert_refused(1, f'config is "{spelling}", plugin supports', "0.3.1", "1.0.0")
    assert node.snapshot() == before


@rule("V7", "R10")
@pytest.mark.parametrize("version", VERSIONS)
def test_an_attachment_lives_and_ends_in_every_version(node, pod, before, version):
    conf = {"cniVersion": version}

    result = node.added(pod, conf=conf)
    checked = node.checked(pod, result, **conf)
    deleted = node.call("DEL", pod, conf=conf)

    assert result["cniVersion"] == version
    if version in CHECKED:
        assert checked.is_silent_success, checked
    else:
        checked.assert_refused(1, "config version does not allow CHECK")
    assert deleted.is_silent_success, deleted
    assert node.snapshot() == before


@rule("V8")
@pytest.mark.parametrize("version", [v for v in VERSIONS if v not in CHECKED])
def test_check_is_refused_before_the_version_that_has_it(node, pod, before, version):
    outcome = node.call("CHECK", pod, conf={"cniVersion": version})

    outcome.assert_refused(1, "config version does not allow CHECK")
    assert node.snapshot() == before


@rule("V6", "R1")
@pytest.mark.parametrize("version", [None, ""], ids=["missing", "empty"])
def test_without_a_version_it_is_the_first(node, pod, version):
    result = node.added(pod, conf={"cniVersion": version})

    assert result["cniVersion"] == "0.1.0"
    assert result["ip4"]["ip"].split("/")[0] in node.addresses_in(pod)
    assert "interfaces" not in result
    assert "ips" not in result


@rule("V6", "V8")
def test_without_a_version_there_is_no_check(node, pod, before):
    outcome = node.call("CHECK", pod, conf={"cniVersion": None})

    outcome.assert_refused(1)
    assert node.snapshot() == before


@rule("V9")
@pytest.mark.since("1.1.0")
@pytest.mark.parametrize("older", ["0.1.0", "1.0.0"])
@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_gc_and_status_are_refused_before_the_version_that_has_them(node, pod, before, verb, older):
    node.added(pod)
    attached = node.snapshot()

    outcome = node.call(verb, conf={"cniVersion": older, "cni.dev/valid-attachments": []})

    outcome.assert_refused(1, f"config version does not allow {verb}")
    assert node.snapshot() == attached


@rule("V10")
@pytest.mark.parametrize(
    "verb",
    [
        "CHECK",
        pytest.param("GC", marks=pytest.mark.since("1.1.0")),
        pytest.param("STATUS", marks=pytest.mark.since("1.1.0")),
    ],
)
def test_a_version_that_is_no_number_cannot_be_compared(node, pod, before, verb):
    node.call(verb, pod, conf={"cniVersion": "nonsense"}).assert_refused(6)

    assert node.snapshot() == before


# ---- versions of prevResult -------------------------------------------------------------------


@rule("V11")
@pytest.mark.parametrize("version", CHECKED)
@pytest.mark.parametrize(
    "other",
    ["0.2.0", "0.3.1", "0.4.0", "1.0.0", pytest.param("1.1.0", marks=pytest.mark.since("1.1.0"))],
)
def test_prev_result_is_of_the_same_family(node, pod, version, other):
    result = node.added(pod, conf={"cniVersion": version})
    attached = node.snapshot()

    outcome = node.checked(pod, {**result, "cniVersion": other}, cniVersion=version)

    if family(other) == family(version):
        assert outcome.is_silent_success, outcome
    else:
        outcome.assert_refused(None, our_code=7)
    assert node.snapshot() == attached


@rule("V11")
@pytest.mark.parametrize("version", CHECKED)
def test_prev_result_without_a_version_is_of_the_configuration_s(node, pod, version):
    result = node.added(pod, conf={"cniVersion": version})
    del result["cniVersion"]

    outcome = node.checked(pod, result, cniVersion=version)

    assert outcome.is_silent_success, outcome

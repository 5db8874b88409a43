import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datamodel.attachment import (
    ALIAS_MAX_BYTES,
    Attachment,
    LinkOwner,
    Pod,
    parse_alias,
)

POD = Pod("default", "mypod")

# What the CNI specification allows.
_FIRST = string.ascii_letters + string.digits
names = st.builds(
    lambda first, rest, length: (first + rest).ljust(length, "x"),
    st.sampled_from(_FIRST),
    st.text(_FIRST + "_.-", max_size=8),
    st.sampled_from([1, 1, 64, 102, 250]),
)
ifnames = st.sampled_from(["eth0", "net1", "a.b", "b~c", "éth0", "a" * 15, "~" * 15]) | st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters="/:"), min_size=1, max_size=5
).filter(lambda name: len(name.encode()) <= 15 and name not in (".", ".."))
attachments = st.builds(Attachment, names, names, ifnames)
# Few letters, so that what could be confused turns up often.
alike = st.builds(
    Attachment,
    st.from_regex(r"[a][.a]{0,3}", fullmatch=True),
    st.from_regex(r"[a][.a]{0,3}", fullmatch=True),
    st.sampled_from(["eth0", "a", "a.a", "a.eth0"]),
)
pods = st.none() | st.builds(Pod, names, names)


def test_the_handle_of_eth0_is_calicos():
    attachment = Attachment("k8s-pod-network", "4f0c9a5d2b", "eth0")

    assert attachment.handle_id == "k8s-pod-network.4f0c9a5d2b"


def test_a_further_interface_has_a_handle_of_its_own():
    attachment = Attachment("k8s-pod-network", "4f0c9a5d2b", "net1")

    assert attachment.handle_id == "k8s-pod-network.4f0c9a5d2b.net1"


def test_dots_in_names_do_not_make_two_attachments_one():
    a, b = Attachment("a.b", "c", "eth0"), Attachment("a", "b.c", "eth0")

    assert a.handle_id.startswith("a.b.c~")
    assert b.handle_id.startswith("a.b.c~")
    assert a.handle_id != b.handle_id


@given(attachments | alike, attachments | alike)
@example(Attachment("a", "b", "c.d"), Attachment("a.b", "c", "d"))
@example(Attachment("a", "b", "c"), Attachment("a.b", "c", "eth0"))
def test_no_two_attachments_have_one_handle_or_one_digest(a, b):
    assert (a.handle_id == b.handle_id) == (a == b)
    assert (a.digest == b.digest) == (a == b)


@given(attachments)
def test_a_handle_is_a_key_that_calico_can_list(attachment):
    assert "/" not in attachment.handle_id
    assert "\r" not in attachment.handle_id


def test_an_alias_says_in_clear_whose_the_link_is():
    alias = Attachment("net", "c1", "eth0").alias(POD)

    assert alias == f"ocicat:net/c1/eth0/{POD.digest}"


@given(attachments, pods)
def test_an_alias_is_read_back(attachment, pod):
    owner = parse_alias(attachment.alias(pod))

    assert owner is not None
    assert owner.pod_digest == (pod.digest if pod else None)
    assert owner.attachment in (attachment, None)


@given(attachments, pods)
def test_an_alias_fits_into_the_kernel(attachment, pod):
    assert len(attachment.alias(pod).encode()) <= ALIAS_MAX_BYTES


def test_names_too_long_for_an_alias_are_told_by_their_digest():
    attachment = Attachment("n" * 100, "c" * 110, "eth0")

    owner = parse_alias(attachment.alias(POD))

    assert owner == LinkOwner(None, POD.digest)
    assert attachment.owns(attachment.alias(POD))


def test_names_that_just_fit_are_spelled_out():
    attachment = Attachment("n" * 100, "c" * 101, "eth0")

    alias = attachment.alias(POD)

    assert len(alias) == ALIAS_MAX_BYTES
    assert parse_alias(alias) == LinkOwner(attachment, POD.digest)


@given(attachments | alike, attachments | alike, pods, pods)
def test_an_attachment_owns_its_own_links_only(a, b, pod, other_pod):
    assert a.owns(a.alias(pod))
    assert a.owns(a.alias(other_pod))
    assert a.owns(b.alias(pod)) == (a == b)


@pytest.mark.parametrize(
    "alias",
    ["", "uplink", "ocicat:", "ocicat:a/b", "ocicat:a/b/c/d/e", "ocicat:net", "Ocicat:a/b/c/-"],
)
def test_an_alias_that_is_not_ours_has_no_owner(alias):
    assert parse_alias(alias) is None
    assert not Attachment("a", "b", "c").owns(alias)


def test_a_pods_digest_begins_as_calicos_link_name():
    assert POD.digest.startswith("4e199eba087")

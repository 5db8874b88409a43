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


# ---- from the handle back ----------------------------------------------------------------------


@given(attachments | alike)
@example(Attachment("a.b", "c", "eth0"))
@example(Attachment("a", "b.c", "net1.100"))
@example(Attachment("a", "b", "c.d"))
@example(Attachment("a.b", "c.d", "~" * 15))
@example(Attachment("a", "b", "c~" + "0" * 13))
def test_a_handle_is_read_back(attachment):
    assert Attachment.of_handle(attachment.handle_id) == attachment


@pytest.mark.parametrize(
    "handle_id",
    [
        "",
        ".",
        "net",
        "net.",
        ".c1",
        "net..eth1",
        "net.c1.",
        "net.c1.eth0",  # of eth0 the handle says nothing
        "net.c1.much-too-long-a-name",
        "ne/t.c1",
        "net.c1.a/b",
        "net.c1.\ud800",
        "ipip-tunnel-addr-node-1",
        "vxlan-v6-tunnel-addr-node-1",
        "a.b.c~0000000000000000000000000000000000000000",
        "a.b~" + Attachment("a", "b", "eth0").digest,  # no dot in a name, so no digest
        Attachment("a.b", "c", "eth0").handle_id + "0",
        "~" + Attachment("a.b", "c", "eth0").digest,
        "." * 500,
    ],
)
def test_a_handle_that_is_no_attachments_belongs_to_none(handle_id):
    assert Attachment.of_handle(handle_id) is None


@given(st.text("a.~0", max_size=60))
def test_whatever_is_read_has_the_handle_it_was_read_from(handle_id):
    attachment = Attachment.of_handle(handle_id)

    assert attachment is None or attachment.handle_id == handle_id


# ---- the link alias ----------------------------------------------------------------------------


def test_an_alias_says_in_clear_whose_the_link_is():
    assert Attachment("net", "c1", "eth0").alias(POD) == "ocicat:net/c1/eth0/default/mypod"


def test_an_alias_outside_kubernetes_names_no_pod():
    assert Attachment("net", "c1", "eth0").alias(None) == "ocicat:net/c1/eth0/-"


@given(attachments, pods)
def test_an_alias_is_read_back(attachment, pod):
    owner = parse_alias(attachment.alias(pod))

    assert owner is not None
    assert owner.pod_digest == (pod.digest if pod else None)
    assert owner.pod in (pod, None)
    assert owner.attachment_digest == attachment.digest
    assert owner.attachment in (attachment, None)


@given(attachments, pods)
def test_an_alias_fits_into_the_kernel(attachment, pod):
    assert len(attachment.alias(pod).encode()) <= ALIAS_MAX_BYTES


def test_a_pod_that_does_not_fit_any_more_is_told_by_its_digest():
    attachment, room = Attachment("net", "c" * 64, "eth0"), 255 - len("ocicat:net//eth0//") - 64
    fits, too_long = Pod("n" * 63, "p" * (room - 63)), Pod("n" * 63, "p" * (room - 62))

    assert len(attachment.alias(fits)) == ALIAS_MAX_BYTES
    assert parse_alias(attachment.alias(fits)) == LinkOwner(
        attachment, attachment.digest, fits, fits.digest
    )
    assert attachment.alias(too_long) == f"ocicat:net/{'c' * 64}/eth0/{too_long.digest}"
    assert parse_alias(attachment.alias(too_long)) == LinkOwner(
        attachment, attachment.digest, None, too_long.digest
    )


def test_an_alias_of_an_earlier_version_of_ours_is_read():
    """It had the pod's digest whatever the length; such links outlive an update."""
    attachment = Attachment("net", "c1", "eth0")
    alias = f"ocicat:net/c1/eth0/{POD.digest}"

    assert parse_alias(alias) == LinkOwner(attachment, attachment.digest, None, POD.digest)
    assert attachment.owns(alias)


@pytest.mark.parametrize("pod", [POD, None])
def test_names_too_long_for_an_alias_are_told_by_their_digest(pod):
    attachment = Attachment("n" * 100, "c" * 160, "eth0")

    owner = parse_alias(attachment.alias(pod))

    assert owner == LinkOwner(None, attachment.digest, None, pod.digest if pod else None)
    assert attachment.owns(attachment.alias(pod))


def test_names_that_just_fit_beside_the_pods_digest_are_spelled_out():
    attachment = Attachment("n" * 100, "c" * 101, "eth0")
    pod = Pod("n" * 63, "p" * 63)

    alias = attachment.alias(pod)

    assert len(alias) == ALIAS_MAX_BYTES
    assert parse_alias(alias) == LinkOwner(attachment, attachment.digest, None, pod.digest)


@given(attachments | alike, attachments | alike, pods, pods)
def test_an_attachment_owns_its_own_links_only(a, b, pod, other_pod):
    assert a.owns(a.alias(pod))
    assert a.owns(a.alias(other_pod))
    assert a.owns(b.alias(pod)) == (a == b)


@pytest.mark.parametrize(
    "alias",
    [
        "",
        "uplink",
        "ocicat:",
        "ocicat:net",
        "ocicat:a/b",
        "ocicat:a/b/c",
        "ocicat:a/b/c/d/e/f",
        "ocicat:a/b/c/-/e",
        "ocicat:a//c/-",
        "ocicat:a b/b/c/-",
        "ocicat:#abc/-",
        f"ocicat:#{Attachment('a', 'b', 'c').digest}",
        "Ocicat:a/b/c/-",
    ],
)
def test_an_alias_that_is_not_ours_has_no_owner(alias):
    assert parse_alias(alias) is None
    assert not Attachment("a", "b", "c").owns(alias)


# ---- names -------------------------------------------------------------------------------------


@given(attachments | alike)
def test_names_that_cni_allows_are_no_mistake(attachment):
    assert attachment.mistakes == []


def test_every_mistake_is_named():
    name = "use letters, digits, '_', '.' and '-'"
    ifname = "use 1 to 15 bytes without '/', ':', spaces"
    assert Attachment("-", "", "a/b").mistakes == [
        f"network '-' is not valid; {name}",
        f"container_id '' is not valid; {name}",
        f"ifname 'a/b' is not valid; {ifname}",
    ]
    assert Pod("", "a b").mistakes == [
        f"namespace '' is not valid; {name}",
        f"name 'a b' is not valid; {name}",
    ]
    assert Attachment("a", "b", "x" * 16).mistakes == [
        f"ifname '{'x' * 16}' is not valid; {ifname}"
    ]


@pytest.mark.parametrize(
    "ifname", [".", "..", "e\0", "e\x01", "e\x1b[m", "e\x7f", "e\x9b", "e\u202e"]
)
def test_a_name_that_no_link_should_have_is_a_mistake(ifname):
    """A handle, and so a key in etcd, is made of it."""
    assert Attachment("a", "b", ifname).mistakes


def test_a_pods_digest_begins_as_calicos_link_name():
    assert POD.digest.startswith("4e199eba087")

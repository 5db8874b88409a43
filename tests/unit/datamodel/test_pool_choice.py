import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.errors import Invalid
from datamodel.pool_choice import Rejected, Wanted, choose_pools
from tests.ipam import a_pool

RACK_A = {"rack": "a"}


def names(pools) -> list[str]:
    return [pool.name for pool in pools]


def reasons(rejected) -> dict[str, str]:
    return {one.pool.name: one.reason for one in rejected}


# ---- no pool is named --------------------------------------------------------------------------


def test_pools_serve_by_name_and_only_their_family():
    pools = [
        a_pool("b", "10.2.0.0/16"),
        a_pool("six", "fd00::/112", block_size=122),
        a_pool("a", "10.1.0.0/16"),
    ]

    assert choose_pools(pools, Wanted(4)) == ([pools[2], pools[0]], [])
    assert choose_pools(pools, Wanted(6)) == ([pools[1]], [])
    assert choose_pools([], Wanted(4)) == ([], [])


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"disabled": True}, "is disabled"),
        ({"is_deleting": True}, "is being deleted"),
        ({"is_allocatable": False}, "is not allocatable, says its status"),
        ({"assignment_mode": "Manual"}, "assignmentMode is Manual"),
        ({"allowed_uses": ("Tunnel",)}, "allowedUses is Tunnel"),
        ({"node_selector": "rack == 'b'"}, "nodeSelector \"rack == 'b'\" does not match this "),
        (
            {"namespace_selector": "has(team)"},
            "namespaceSelector 'has(team)' does not match the namespace's labels",
        ),
        (
            {"node_selector": "rack = 'a'"},
            "nodeSelector cannot be read: selector \"rack = 'a'\": expected ==, ",
        ),
    ],
)
def test_a_pool_that_does_not_serve_is_given_with_the_reason(fields, reason):
    pool = a_pool(**fields)

    chosen, rejected = choose_pools([pool], Wanted(4, node_labels=RACK_A))

    assert chosen == []
    assert [one.pool for one in rejected] == [pool]
    assert rejected[0].reason.startswith(reason)


def test_a_pool_serves_whose_selectors_match_node_and_namespace():
    pool = a_pool(node_selector="rack == 'a'", namespace_selector="team == 'red'")
    here = {"node_labels": RACK_A, "namespace_labels": {"team": "red"}}

    assert choose_pools([pool], Wanted(4, **here)) == ([pool], [])
    assert choose_pools([pool], Wanted(4, **{**here, "node_labels": {}}))[0] == []
    assert choose_pools([pool], Wanted(4, **{**here, "namespace_labels": {}}))[0] == []


def test_a_pod_without_a_namespace_has_no_labels_of_one():
    pool = a_pool(namespace_selector="!has(team)")

    assert choose_pools([pool], Wanted(4)) == ([pool], [])


def test_everything_that_speaks_against_a_pool_is_said():
    pool = a_pool(disabled=True, assignment_mode="Manual", allowed_uses=("LoadBalancer",))

    _, rejected = choose_pools([pool], Wanted(4))

    assert rejected == [
        Rejected(pool, "is disabled, assignmentMode is Manual, allowedUses is LoadBalancer")
    ]


def test_a_pool_serves_the_uses_that_it_allows():
    pools = [a_pool("t", allowed_uses=("Tunnel",)), a_pool("w", allowed_uses=("Workload",))]

    assert names(choose_pools(pools, Wanted(4, use="Workload"))[0]) == ["w"]
    assert names(choose_pools(pools, Wanted(4, use="Tunnel"))[0]) == ["t"]


# ---- pools are named ---------------------------------------------------------------------------


def test_named_pools_serve_in_the_order_in_which_they_are_named():
    pools = [a_pool("a", "10.1.0.0/16"), a_pool("b", "10.2.0.0/16"), a_pool("c", "10.3.0.0/16")]

    chosen, rejected = choose_pools(pools, Wanted(4, names=("c", "10.1.0.0/16", "c")))

    assert names(chosen) == ["c", "a"]
    assert rejected == []


def test_a_cidr_names_a_pool_however_it_is_written():
    pool = a_pool("six", "fd00::/112", block_size=122)

    assert choose_pools([pool], Wanted(6, names=("FD00:0::/112",))) == ([pool], [])


def test_a_named_pool_serves_whatever_it_selects_and_however_it_is_assigned():
    pool = a_pool(
        node_selector="rack == 'b'",
        namespace_selector="not a selector",
        assignment_mode="Manual",
    )

    assert choose_pools([pool], Wanted(4, names=(pool.name,))) == ([pool], [])


def test_a_named_pool_must_still_allow_the_use():
    pools = [a_pool("t", allowed_uses=("Tunnel",)), a_pool("w", "10.1.0.0/16")]

    chosen, rejected = choose_pools(pools, Wanted(4, names=("t", "w")))

    assert names(chosen) == ["w"]
    assert reasons(rejected) == {"t": "allowedUses is Tunnel"}


@pytest.mark.parametrize(
    "fields", [{"disabled": True}, {"is_deleting": True}, {"is_allocatable": False}]
)
def test_a_named_pool_must_be_enabled(fields):
    pools = [a_pool("off", **fields), a_pool("on", "10.1.0.0/16")]

    for name in ("off", str(pools[0].cidr), "nonsense", "10.9.0.0/16"):
        with pytest.raises(Invalid) as caught:
            choose_pools(pools, Wanted(4, names=("on", name)))
        assert str(caught.value) == (
            f"pool {name}: does not exist, or is not enabled; the enabled pools are "
            "on (10.1.0.0/16): correct ipv4_pools or create the pool"
        )


def test_a_named_pool_of_the_other_family_is_refused_as_such():
    pools = [a_pool("four"), a_pool("six", "fd00::/112", block_size=122)]

    with pytest.raises(Invalid) as caught:
        choose_pools(pools, Wanted(6, names=("four",)))

    assert str(caught.value) == (
        "pool four: is an IPv4 pool; the enabled pools are "
        "six (fd00::/112): correct ipv6_pools or create the pool"
    )
    with pytest.raises(Invalid, match="pool six: is an IPv6 pool; the enabled pools are none: "):
        choose_pools(pools[1:], Wanted(4, names=("six",)))


# ---- whatever there is -------------------------------------------------------------------------

pools = st.lists(
    st.builds(
        a_pool,
        name=st.sampled_from("abcdef"),
        cidr=st.sampled_from(["10.1.0.0/16", "10.2.0.0/16"]),
        disabled=st.booleans(),
        node_selector=st.sampled_from(["all()", "rack == 'a'", "rack == 'b'", "?"]),
        namespace_selector=st.sampled_from(["", "has(team)"]),
        assignment_mode=st.sampled_from(["Automatic", "Manual", "New"]),
        allowed_uses=st.sampled_from([("Workload",), ("Tunnel",), ("Workload", "Tunnel"), ()]),
    ),
    max_size=4,
    unique_by=lambda pool: pool.name,
)


@given(pools)
def test_every_pool_of_the_family_serves_or_is_given_with_a_reason(pools):
    chosen, rejected = choose_pools(pools, Wanted(4, node_labels=RACK_A))

    assert sorted([*names(chosen), *reasons(rejected)]) == sorted(names(pools))
    assert names(chosen) == sorted(names(chosen))
    assert all(reasons(rejected).values())
    assert all("Workload" in pool.allowed_uses and not pool.disabled for pool in chosen)

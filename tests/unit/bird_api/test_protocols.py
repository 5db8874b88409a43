from ipaddress import ip_address

import pytest

from bird_api.protocols import Session, sessions
from bird_api.reply import Reply
from datamodel.errors import Invalid

HEADING = "Name       Proto      Table      State  Since         Info"


def table(*rows: str, heading: str = HEADING) -> list[Reply]:
    return [Reply(2002, heading), *(Reply(1002, row) for row in rows), Reply(0, "")]


def test_birds_own_protocols_are_no_sessions():
    found = sessions(
        table(
            "device1    Device     ---        up     18:28:48.525  ",
            "kernel4    Kernel     master4    up     18:28:48.525  ",
            "Mesh_10_0_0_12 BGP        ---        up     18:28:49.304  Established   ",
        )
    )

    assert found == [
        Session(
            name="Mesh_10_0_0_12",
            peer_address=ip_address("10.0.0.12"),
            peer_type="node-to-node mesh",
            state="up",
            since="18:28:49.304",
            info="Established",
        )
    ]
    assert found[0].is_established


@pytest.mark.parametrize(
    ("name", "address", "peer_type"),
    [
        ("Mesh_10_0_0_9", "10.0.0.9", "node-to-node mesh"),
        ("Node_172_18_0_254", "172.18.0.254", "node specific"),
        ("Global_172_18_0_254_port_1179", "172.18.0.254", "global"),
        ("Mesh_fd99__1", "fd99::1", "node-to-node mesh"),
        ("Global_fd80_24e2_f998_72d6__1_port_180", "fd80:24e2:f998:72d6::1", "global"),
    ],
)
def test_the_name_tells_peer_and_type(name, address, peer_type):
    (session,) = sessions(table(f"{name} BGP --- start 18:29:19.925 Active"))

    assert (session.peer_address, session.peer_type) == (ip_address(address), peer_type)


def test_what_went_wrong_is_part_of_the_info():
    (session,) = sessions(
        table("Mesh_10_0_0_11 BGP --- start 18:29:19 Active        Socket: Connection refused")
    )

    assert session.info == "Active Socket: Connection refused"
    assert not session.is_established


def test_a_session_that_is_down_may_have_no_info():
    (session,) = sessions(table("Mesh_10_0_0_11 BGP --- down 18:29:19  "))

    assert (session.state, session.info) == ("down", "")


@pytest.mark.parametrize("name", ["Local_Workload_10_0_0_1", "Mesh_", "Node_rack1", "uplink"])
def test_a_session_that_is_not_named_as_ours_is_left_out(name):
    assert sessions(table(f"{name} BGP --- up 18:29:19 Established")) == []


def test_bird_1_writes_its_heading_small():
    heading = "name     proto    table    state  since       info"
    row = "Mesh_10_0_0_12 BGP      master   up     15:03:15    Established   "

    assert len(sessions(table(row, heading=heading))) == 1


def test_another_table_is_not_guessed_at():
    with pytest.raises(Invalid, match="unknown heading"):
        sessions(table(heading="Name State Since"))

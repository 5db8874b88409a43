from ipaddress import ip_address

import pytest

from bird_api.channels import Seen
from bird_api.protocols import Session
from route_distributor.health import YOUNG_S, unreadiness


def seen(*infos: str, is_recovering: bool = False) -> Seen:
    sessions = [
        Session(f"Mesh_10_0_0_{i}", ip_address(f"10.0.0.{i}"), "node-to-node mesh", "up", "", info)
        for i, info in enumerate(infos, 1)
    ]
    return Seen(tuple(sessions), (), is_recovering)


UP, DOWN = "Established", "Active"


@pytest.mark.parametrize("age_s", [0, YOUNG_S])
@pytest.mark.parametrize("is_recovering", [False, True])
def test_without_a_peer_a_node_is_ready(age_s, is_recovering):
    assert unreadiness(seen(is_recovering=is_recovering), age_s) == ""


def test_while_it_is_young_all_sessions_must_be_established():
    assert unreadiness(seen(UP, UP), 0) == ""
    assert unreadiness(seen(UP, DOWN), YOUNG_S - 1) == "not established: Mesh_10_0_0_2"


def test_while_it_is_young_no_graceful_restart_may_be_under_way():
    assert unreadiness(seen(UP, is_recovering=True), 0) == "a graceful restart is under way"


def test_later_one_session_is_enough():
    assert unreadiness(seen(UP, DOWN, is_recovering=True), YOUNG_S) == ""
    assert unreadiness(seen(DOWN, DOWN), YOUNG_S) == "no session is established"

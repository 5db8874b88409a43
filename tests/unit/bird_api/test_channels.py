"""The answers of BIRD 2.0.12, shortened."""

from ipaddress import ip_address

import pytest

from bird_api.channels import Channel, channels, is_recovering
from bird_api.reply import Reply
from datamodel.errors import Invalid


def an_answer(text: str) -> list[Reply]:
    code = 0
    replies = []
    for line in text.splitlines():
        if line[:4].isdigit():
            code, line = int(line[:4]), line[5:]
        else:
            line = line[1:]
        replies.append(Reply(code, line))
    return replies


ALL = an_answer("""\
2002-Name       Proto      Table      State  Since         Info
1002-kernel4    Kernel     master4    up     22:05:59.035
1006-  Channel ipv4
     State:          UP
     Routes:         7 imported, 8 exported, 7 preferred

1002-Mesh_10_0_0_12 BGP        ---        up     22:05:59.987  Established
1006-  BGP state:          Established
   Channel ipv4
     State:          UP
     Routes:         1 imported, 2 exported, 1 preferred
     Route change stats:     received   rejected   filtered    ignored   accepted
   Channel ipv6
     State:          UP
     Routes:         3 imported, 1 filtered, 4 exported, 3 preferred

1002-Node_10_0_0_13 BGP        ---        start  22:05:59.035  Passive
1006-  BGP state:          Passive
   Channel ipv4
     State:          DOWN

1002-blocks4    Static     master4    up     22:05:59.035
1006-  Channel ipv4
     Routes:         9 imported, 0 exported, 1 preferred

0000
""")


def test_the_channels_of_our_sessions_are_read_and_no_others():
    found, up = channels(ALL)

    assert [session.peer_address for session in found] == [
        ip_address("10.0.0.12"),
        ip_address("10.0.0.13"),
    ]
    assert up == [Channel("Mesh_10_0_0_12", 4, 1, 2), Channel("Mesh_10_0_0_12", 6, 3, 4)]


def test_a_table_that_we_do_not_know_is_refused():
    with pytest.raises(Invalid, match="unknown heading"):
        channels([Reply(2002, "Name Kind")])


def test_a_graceful_restart_shows_in_the_status():
    running = [Reply(1000, "BIRD 2.0.12"), Reply(13, "Daemon is up and running")]

    assert not is_recovering(running)
    assert is_recovering([*running, Reply(24, "Graceful restart recovery in progress")])

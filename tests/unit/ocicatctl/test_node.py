import json
from ipaddress import ip_address

from click.testing import CliRunner

from bird_api.protocols import Session
from ocicatctl.__main__ import ocicatctl
from ocicatctl.node.command import as_json, as_problems, as_text


def a_session(address: str, state: str = "up", info: str = "Established") -> Session:
    name = "Mesh_" + address.replace(".", "_").replace(":", "_")
    return Session(name, ip_address(address), "node-to-node mesh", state, "23:30:04.535", info)


def test_sessions_are_shown_in_calicoctls_table_by_family_and_address():
    sessions = [
        a_session("172.17.8.112", "start", "Active Socket: Connection refused"),
        a_session("172.17.8.13"),
    ]

    assert as_text(sessions) == (
        "IPv4 BGP status\n"
        "+--------------+-------------------+-------+--------------+"
        "-----------------------------------+\n"
        "| PEER ADDRESS |     PEER TYPE     | STATE |    SINCE     |"
        "               INFO                |\n"
        "+--------------+-------------------+-------+--------------+"
        "-----------------------------------+\n"
        "| 172.17.8.13  | node-to-node mesh | up    | 23:30:04.535 |"
        " Established                       |\n"
        "| 172.17.8.112 | node-to-node mesh | start | 23:30:04.535 |"
        " Active Socket: Connection refused |\n"
        "+--------------+-------------------+-------+--------------+"
        "-----------------------------------+\n"
        "\n"
        "IPv6 BGP status\n"
        "No IPv6 peers found.\n"
    )


def test_a_node_without_peers_says_so():
    assert as_text([]).startswith("IPv4 BGP status\nNo IPv4 peers found.\n")


def test_ipv6_sessions_have_a_table_of_their_own():
    text = as_text([a_session("fd99::2")])

    assert "No IPv4 peers found.\n\nIPv6 BGP status\n+--" in text


def test_programs_get_every_field():
    assert json.loads(as_json([a_session("10.0.0.2")])) == [
        {
            "name": "Mesh_10_0_0_2",
            "peerAddress": "10.0.0.2",
            "peerType": "node-to-node mesh",
            "state": "up",
            "since": "23:30:04.535",
            "info": "Established",
        }
    ]


def test_a_bird_that_is_not_there_is_told_with_status_1(tmp_path):
    path = f"{tmp_path}/bird.ctl"

    for runner, arguments in (
        (CliRunner(), ["node", "status", "--socket", path]),
        (CliRunner(env={"OCICAT_BIRD_SOCKET": path}), ["node", "status"]),
    ):
        result = runner.invoke(ocicatctl, arguments)

        assert result.exit_code == 1
        assert result.stdout == ""
        assert result.stderr.startswith(f"ocicatctl: BIRD {path}: No such file or directory")


PROBLEMS = (
    '{"problems": ["node node-3: has the address 10.0.0.2 of node node-2; give each its own"], '
    '"parts": {"nat": {"ok": false, "error": "table inet ocicat: nft refuses: x", '
    '"lastApplied": null}}}'
)


def test_what_the_distributor_complains_of_is_shown_even_without_bird(tmp_path):
    file = tmp_path / "routes.json"
    file.write_text(PROBLEMS)

    result = CliRunner().invoke(
        ocicatctl, ["node", "status", "--socket", str(tmp_path / "x"), "--routes", str(file)]
    )

    assert result.exit_code == 1
    assert result.stdout == (
        "Problems\n"
        "  node node-3: has the address 10.0.0.2 of node node-2; give each its own\n"
        "  table inet ocicat: nft refuses: x\n"
    )


def test_a_status_file_that_cannot_be_read_is_named(tmp_path):
    file = tmp_path / "routes.json"
    file.write_text("{")

    result = CliRunner().invoke(
        ocicatctl, ["node", "status", "--socket", str(tmp_path / "x"), "--routes", str(file)]
    )

    assert f"file {file}: routing status: the file cannot be read; delete it" in result.stdout


def test_a_problem_is_one_line_whatever_is_in_it():
    assert as_problems(["a\x1b[2J\nb"]) == "Problems\n  a [2J b\n"
    assert as_problems([]) == ""

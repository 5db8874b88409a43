import json
from ipaddress import ip_address

import pytest
from click.testing import CliRunner

from datamodel.attachment import Pod
from ipam_api.answers import History, Holding
from ocicatctl.__main__ import ocicatctl
from ocicatctl.ipam.history import Answer, as_document, as_text, hint

BEGINS = 1_795_000_000.0
ADDRESS = ip_address("10.0.0.1")


def a_holding(pod: str | None = "web-0", **rest) -> Holding:
    fields = {
        "address": ADDRESS,
        "handle_id": "net.c0",
        "pod": Pod("default", pod) if pod else None,
        "node": "node-1",
        "from_s": BEGINS + 60,
        "to_s": BEGINS + 120.9,
        **rest,
    }
    return Holding(**fields)


def test_the_table_is_in_plain_columns_with_times_in_utc():
    holdings = (a_holding(from_s=0.0), a_holding("web-1", to_s=0.0), a_holding(None))

    assert as_text(History(holdings, BEGINS)) == (
        "ADDRESS    HELD BY         NODE     FROM                   TO                     "
        "HANDLE   \n"
        "10.0.0.1   default/web-0   node-1   earlier                2026-11-18T11:08:40Z   "
        "net.c0   \n"
        "10.0.0.1   default/web-1   node-1   2026-11-18T11:07:40Z   now                    "
        "net.c0   \n"
        "10.0.0.1   net.c0          node-1   2026-11-18T11:07:40Z   2026-11-18T11:08:40Z   "
        "net.c0   \n"
        "\n"
        "The history of this node begins at 2026-11-18T11:06:40Z.\n"
    )


def test_a_history_without_events_says_so():
    assert as_text(History((), 0.0)).endswith("\n\nThere is no history yet.\n")


def test_programs_get_null_for_what_is_not_known_or_not_over():
    answer = Answer(History((a_holding(None, from_s=0.0, to_s=0.0),), BEGINS), "node-1")

    assert as_document(answer) == {
        "node": "node-1",
        "begins": "2026-11-18T11:06:40Z",
        "holdings": [
            {
                "address": "10.0.0.1",
                "handle": "net.c0",
                "namespace": None,
                "pod": None,
                "node": "node-1",
                "from": None,
                "to": None,
            }
        ],
    }
    json.dumps(as_document(answer))


def test_an_address_of_another_nodes_block_is_a_matter_for_that_node():
    assert hint(ADDRESS, "node-1", "node-2") == (
        "10.0.0.1 is of a block of node node-2, and this is node node-1; "
        "run ocicatctl ipam history 10.0.0.1 on node-2\n"
    )


@pytest.mark.parametrize("owner", [None, "node-1"])
def test_otherwise_there_is_nothing_to_hint_at(owner):
    assert hint(ADDRESS, "node-1", owner) == ""


def test_without_ipamd_the_socket_is_named(tmp_path):
    path = f"{tmp_path}/ipamd.sock"

    result = CliRunner(env={"OCICAT_IPAM_SOCKET": path}).invoke(
        ocicatctl, ["ipam", "history", "10.0.0.1"]
    )

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"ocicatctl: ipamd {path}: does not answer")
    assert result.stderr.count("\n") == 1

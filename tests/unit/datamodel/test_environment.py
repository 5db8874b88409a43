from pathlib import Path

import pytest

from datamodel.environment import OURS, is_node_name, listening, log_level, node_name, unknown_names


def test_a_name_that_does_not_exist_is_told_with_those_that_do():
    (mistake,) = unknown_names({"OCICAT_COLOUR": "red", "HOME": "/root", "IP": "10.0.0.1"})

    assert mistake.startswith("OCICAT_COLOUR is not a setting; there are OCICAT_IPAM_SOCKET, ")
    assert mistake.endswith(", ".join(list(OURS)[-2:]))


def test_all_that_exist_are_no_mistakes():
    assert unknown_names(dict.fromkeys(OURS, "")) == []


@pytest.mark.parametrize("text", ["debug", "Debug", "DEBUG"])
def test_a_log_level_may_be_written_in_any_case(text):
    assert log_level({"OCICAT_LOG_LEVEL": text}) == ("DEBUG", [])


@pytest.mark.parametrize("environment", [{}, {"OCICAT_LOG_LEVEL": ""}])
def test_the_log_level_is_info(environment):
    assert log_level(environment) == ("INFO", [])


def test_a_wrong_log_level_is_told():
    level, mistakes = log_level({"OCICAT_LOG_LEVEL": "loud"})

    assert level == "INFO"
    assert mistakes == ["OCICAT_LOG_LEVEL: 'loud' is not one of debug, info, warning, error"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("127.0.0.1:9099", ("127.0.0.1", 9099)),
        ("[::1]:9099", ("::1", 9099)),
        ("", None),
    ],
)
def test_where_to_listen_is_an_address_and_a_port(text, where):
    assert listening({"X": text}, "X", "127.0.0.1:9099") == (where, [])


@pytest.mark.parametrize("text", ["9099", "::1:9099", "10.0.0.300:1", "host:1", "10.0.0.1:0"])
def test_a_place_where_nobody_can_listen_is_told(text):
    assert listening({"X": text}, "X", "127.0.0.1:9099") == (
        None,
        [f"X: {text!r} is not address:port, e.g. 127.0.0.1:9099"],
    )


def test_a_node_is_named_by_nodename_else_as_calico_writes_the_hosts_name():
    assert node_name({"NODENAME": "Node-1"}, "host") == ("Node-1", [])
    assert node_name({}, " Host-1\n") == ("host-1", [])


@pytest.mark.parametrize("name", ["a/b", "a b", "", "a" * 254, "knoten-ä", "a\n"])
def test_what_is_no_part_of_a_key_is_no_nodes_name(name):
    assert not is_node_name(name)
    if name:
        assert node_name({"NODENAME": name}, "host")[1] == [
            f"NODENAME: {name!r} is not a node's name"
        ]


def test_the_page_of_settings_has_them_all():
    page = (Path(__file__).parents[3] / "docs/configuration.md").read_text()

    assert [name for name in OURS if f"`{name}`" not in page] == []

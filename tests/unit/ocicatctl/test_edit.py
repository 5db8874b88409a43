"""The command lines of create, apply, replace and delete, and the files that people give them."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from ocicatctl.__main__ import ocicatctl
from ocicatctl.resources.kinds import KINDS
from tests.unit.ocicatctl.manifests import a_document

WRITES = ["create", "apply", "replace"]
# Nothing answers there: a test that gets so far has gone too far.
ENVIRONMENT = {"ETCD_ENDPOINTS": "ftp://nowhere"}


def run(line: str, stdin: str | bytes = ""):
    return CliRunner(env=ENVIRONMENT).invoke(ocicatctl, line.split(), input=stdin)


def reaches_the_store(result) -> bool:
    return "ETCD_ENDPOINTS: 'ftp://nowhere'" in result.stderr


@pytest.fixture
def directory(tmp_path: Path, monkeypatch) -> Path:
    """The working directory, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, *documents) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("---\n".join(yaml.safe_dump(d) for d in documents))


@pytest.mark.parametrize("line", [*WRITES, "delete", *(f"get {k.aliases[0]}" for k in KINDS)])
def test_every_command_explains_itself_with_examples(line):
    result = run(f"{line} --help")

    assert result.exit_code == 0
    assert f"Examples:\n    ocicatctl {line}" in result.stdout


@pytest.mark.parametrize("alias", [alias for kind in KINDS for alias in kind.aliases])
def test_calicoctls_spellings_of_a_kind_are_known(alias):
    assert run(f"get {alias.upper()} --help").exit_code == 0
    assert "There is no kind" not in run(f"delete {alias.upper()} x").stderr


@pytest.mark.parametrize(
    "line",
    [
        *WRITES,
        "create pools.yaml",
        "apply -f pools.yaml --skip-exists",
        "delete",
        "delete ippool",
        "delete policy x",
        "delete ippool x -f pools.yaml",
        "get clusterinfo -a",
        "get wep -n a/b",
        "delete wep x -n a/b",
        "delete wep x --namespace=",
        *(f"{command} -f pools.yaml -n Kube" for command in WRITES),
    ],
)
def test_wrong_usage_has_status_2(line):
    result = run(line)

    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: " in result.stderr


@pytest.mark.parametrize("command", [*WRITES, "delete"])
@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "No resources specified in file f.yaml"),
        (b"apiVersion: projectcalico.org/v3\nkind: IPPoolList\nitems: []\n", "No resources spec"),
        (b"[]", "No resources specified in file f.yaml"),
        (b"\x00\xff\xfe", "f.yaml: is not text in UTF-8"),
        (
            b"kind:\n\t- x\n",
            "f.yaml: document 1: cannot be read as YAML or JSON: line 2, column 1: ",
        ),
        (b"just words", "f.yaml: document 1: 'just words' is not an object with fields"),
        (b"- 1\n", "f.yaml: document 1, item 1: 1 is not an object with fields"),
        (b"kind: Pod\napiVersion: v1\n", "f.yaml: document 1: kind: 'Pod' is unknown; there are"),
    ],
)
def test_a_file_with_nothing_of_use_is_told(directory, command, content, line):
    (directory / "f.yaml").write_bytes(content)

    result = run(f"{command} -f f.yaml")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"ocicatctl: {line}")


def test_a_second_document_that_is_wrong_keeps_the_first_from_being_written(directory):
    write(directory / "f.yaml", a_document("IPPool"), a_document("BGPPeer", asNumber="x"))

    result = run("create -f f.yaml")

    assert result.stderr == (
        "ocicatctl: f.yaml: BGPPeer(x): spec.asNumber: 'x' is not an AS number; "
        'use 1..4294967295 or "high.low"\n'
    )
    assert not reaches_the_store(result)


def test_the_mistakes_of_all_files_are_told_at_once(directory):
    write(directory / "d" / "a.yaml", a_document("IPPool", cidr="x"))
    write(directory / "d" / "b.yml", a_document("BGPPeer", "a"))
    (directory / "d" / "c.JSON").write_text(json.dumps(a_document("BGPPeer", "a")))
    (directory / "d" / "d.txt").write_text("not a manifest")
    write(directory / "d" / "inner" / "e.yaml", a_document("IPPool", "other", cidr="y"))

    flat, deep = run("apply -f d").stderr, run("apply -R -f d").stderr

    assert flat.splitlines() == [
        "ocicatctl: d/a.yaml: IPPool(x): spec.cidr: 'x' is not a CIDR like 10.65.0.0/16",
        "ocicatctl: d/c.JSON: BGPPeer(a): is there twice, first in d/b.yml",
    ]
    assert "ocicatctl: d/inner/e.yaml: IPPool(other): spec.cidr: 'y'" in deep


def test_a_directory_without_manifests_is_told(directory):
    result = run("apply -f .")

    assert result.stderr == "ocicatctl: No resources specified in directory .\n"


@pytest.mark.parametrize("line", ["apply -f . --skip-empty", "delete -f empty.yaml --skip-empty"])
def test_nothing_can_be_right(directory, line):
    (directory / "empty.yaml").write_text("# nothing yet\n")

    result = run(line)

    assert (result.stdout, result.stderr, result.exit_code) == ("No resources specified\n", "", 0)


def test_a_file_that_is_not_there_is_told(directory):
    assert run("apply -f f.yaml").stderr == "ocicatctl: f.yaml: No such file or directory\n"


@pytest.mark.parametrize("command", [*WRITES, "delete"])
def test_standard_input_is_a_file(command):
    assert reaches_the_store(run(f"{command} -f -", yaml.safe_dump(a_document("IPPool"))))
    assert run(f"{command} -f -", b"\xff").stderr == (
        "ocicatctl: standard input: is not text in UTF-8\n"
    )


def test_the_output_of_get_can_be_given_back(directory):
    document = a_document("IPPool")
    document["metadata"] |= {
        "resourceVersion": "7",
        "uid": "5f3c1e0a-7d57-4a53-9d2c-8c7f0a0f2d11",
        "creationTimestamp": "2026-11-20T18:00:00Z",
    }
    write(
        directory / "list.yaml",
        {
            "kind": "IPPoolList",
            "apiVersion": "projectcalico.org/v3",
            "metadata": {"resourceVersion": "9"},
            "items": [document],
        },
    )

    assert reaches_the_store(run("apply -f list.yaml"))
    assert "metadata.resourceVersion: must not be set" in run("create -f list.yaml").stderr


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("delete clusterinfo default", "operation delete is not supported on ClusterInformation"),
        ("delete ippool a -n b", "IPPool is not namespaced; leave --namespace out"),
        ("delete ippool a/b", "IPPool(a/b): is not a name"),
    ],
)
def test_a_deletion_that_cannot_be_is_told_before_the_store_is_asked(line, what):
    result = run(line)

    assert result.exit_code == 1
    assert result.stderr.startswith(f"ocicatctl: {what}")

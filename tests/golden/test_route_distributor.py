"""BIRD's files as they should read, each also given to BIRD's own parser.

``make golden`` rewrites them; review the difference like code. One more line in CASES, or in
topologies.py, and a run of it make a new case.
"""

import os
import subprocess
from pathlib import Path

import pytest

from datamodel.affinity import PENDING
from datamodel.errors import Invalid
from route_distributor.bird.daemon import Bird
from route_distributor.bird.desired import BirdConfig, desired
from route_distributor.bird.render import render
from route_distributor.snapshot import cluster_snapshot
from tests.cluster import NODE, a_bgp_configuration, a_node, a_pool, an_affinity, stored
from tests.golden.topologies import TOPOLOGIES

GOLDEN = Path(__file__).parent / "route_distributor"

OWN = a_node(NODE, "10.0.0.11")
BLOCK = an_affinity("10.233.77.0/24")
THREE = (OWN, a_node("node-2", "10.0.0.12"), a_node("node-3", "10.0.0.13"), BLOCK)

CASES = {
    "one-node": (OWN, BLOCK),
    "no-block-yet": (OWN, a_node("node-2", "10.0.0.12")),
    "three-nodes": THREE,
    "peer-without-address": (OWN, a_node("node-2"), a_node("node-3", "10.0.0.13"), BLOCK),
    "pending-affinity": (OWN, BLOCK, an_affinity("10.233.78.0/24", PENDING)),
    "several-blocks": (OWN, an_affinity("10.233.100.0/26"), an_affinity("10.233.9.0/24"), BLOCK),
    "single-address-block": (*THREE, an_affinity("10.233.79.5/32")),
    "pool-without-bgp-export": (
        *THREE,
        an_affinity("10.234.1.0/24"),
        a_pool("private", "10.234.0.0/16", disable_bgp_export=True),
    ),
    "borrowed-addresses": (
        *THREE,
        an_affinity("10.233.79.5/32"),
        an_affinity("10.234.1.7/32"),
        a_pool("z", "10.0.128.0/20"),
        a_pool("default", "10.233.64.0/18"),
        a_pool("ten", "10.64.0.0/10"),
        a_pool("private", "10.234.0.0/16", disable_bgp_export=True),
    ),
    "as-numbers": (
        a_bgp_configuration(asNumber=65001, listenPort=1179),
        a_node(NODE, "10.0.0.11", as_number=65011),
        a_node("node-2", "10.0.0.12"),
        a_node("node-3", "10.0.0.13", as_number=4200000013),
        BLOCK,
    ),
    "mesh-disabled": (*THREE, a_bgp_configuration(nodeToNodeMeshEnabled=False)),
    # As text 10.0.0.9 > 10.0.0.11 > 10.0.0.100: who dials is not who has the lower number.
    "addresses-compared-as-text": (
        OWN,
        *(a_node(f"node-{i}", f"10.0.0.{i}") for i in (2, 9, 10, 12, 99, 100, 101, 111, 200)),
        BLOCK,
    ),
    "hostile-names": (
        OWN,
        BLOCK,
        a_node('n"; } protocol static evil { ipv4; route 0.0.0.0/0 blackhole;', "10.0.0.12"),
        a_node('include "/etc/shadow";\n', "10.0.0.13"),
        a_pool("*/ ${x} {{ y }} %s \\", "10.233.64.0/18"),
    ),
}


ALL = (*CASES, *TOPOLOGIES)


def text_of(case: str) -> str:
    given = TOPOLOGIES.get(case) or (cluster_snapshot(NODE, stored(*CASES[case])), None)
    decision = desired(*given)
    assert isinstance(decision, BirdConfig)
    return render(decision)


@pytest.mark.parametrize("case", ALL)
def test_the_file_reads_as_expected(case):
    path = GOLDEN / f"{case}.conf"
    if os.environ.get("OCICAT_REWRITE_GOLDEN"):
        path.write_text(text_of(case))

    assert text_of(case) == path.read_text()


@pytest.mark.parametrize("case", ALL)
def test_bird_accepts_the_file(case):
    done = subprocess.run(
        ["bird", "-p", "-c", GOLDEN / f"{case}.conf"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_expected_file_belongs_to_a_case():
    assert {path.stem for path in GOLDEN.iterdir()} == set(ALL)
    assert len(ALL) == len(CASES) + len(TOPOLOGIES)


async def test_what_bird_accepts_becomes_its_file(tmp_path):
    bird = Bird(tmp_path / "new" / "bird.conf", tmp_path / "bird.ctl")

    assert await bird.write(text_of("one-node"))
    assert not await bird.write(text_of("one-node"))
    assert await bird.write(text_of("three-nodes"))

    assert (tmp_path / "new" / "bird.conf").read_text() == text_of("three-nodes")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["bird.conf"]


async def test_what_bird_refuses_leaves_its_file_alone(tmp_path):
    bird = Bird(tmp_path / "bird.conf", tmp_path / "bird.ctl")
    await bird.write(text_of("one-node"))
    broken = text_of("three-nodes").replace("blackhole;", "blackhole")

    with pytest.raises(Invalid, match=r"bird\.conf\.new: bird -p refuses it: .*:\d+:\d+ syntax er"):
        await bird.write(broken)

    assert (tmp_path / "bird.conf").read_text() == text_of("one-node")
    assert (tmp_path / "bird.conf.new").read_text() == broken  # for the operator to look into

"""`ocicatctl lab topology` and `ocicatctl topology` show the lab as it is."""

import json
import sys
from xml.etree import ElementTree

from ocicatctl.lab import daemons, system
from ocicatctl.lab.show import draw


def drawn(lab):
    done = draw(lab, "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def states(document):
    return {(s["node"], s["peerNode"]): s["state"] for s in document["sessions"]}


def test_every_session_block_and_node_is_on_the_picture(lab, node):
    pod = lab.add_pod(node, "web")

    found = drawn(lab)

    names = [node.name for node in lab.nodes]
    assert [n["name"] for n in found["nodes"]] == names
    assert states(found) == {(a, b): "up" for a in names for b in names if a != b}
    (block,) = (b for b in found["nodes"][0]["blocks"] if b["inUse"])
    assert pod.address.rpartition(".")[0] == block["cidr"].rpartition(".")[0]
    assert found["problems"] == found["routers"] == found["blocksOfNobody"] == []
    root = ElementTree.fromstring(draw(lab, "svg").stdout)
    assert {"session up", *names} <= {
        text.text for text in root.iter("{http://www.w3.org/2000/svg}text")
    }


def test_where_a_bird_is_dead_its_peers_know_that_the_sessions_are_down(lab):
    daemons.kill(lab.nodes[2], "bird")

    def ends():
        found = states(drawn(lab))
        return [found[pair] for pair in (("node-1", "node-3"), ("node-3", "node-1"))]

    system.wait_until(lambda: ends() == ["down", "unknown"], "the picture without it", 10)


def test_on_a_node_only_its_own_sessions_are_known(lab, node):
    done = system.run(
        sys.executable,
        *("-m", "ocicatctl", "topology", "-o", "json"),
        namespace=node.namespace,
        environment=node.environment,
    )

    known = {(s["node"], s["state"]) for s in json.loads(done.stdout)["sessions"]}
    assert known == {("node-1", "up"), ("node-2", "unknown"), ("node-3", "unknown")}

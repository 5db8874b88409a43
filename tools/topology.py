"""Draw docs/topology.svg anew: a lab of three nodes, a router outside, two pools, some pods.

``make topology`` runs it, as root. The router is a BIRD where the lab's gateway is.
"""

import sys
import tempfile
from pathlib import Path

from ocicatctl.lab import system
from ocicatctl.lab.daemons import established
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.show import ctl, draw
from ocicatctl.lab.spec import GATEWAY

PAGE = Path(__file__).parents[1] / "docs" / "topology.svg"
TIMEOUT_S = 60.0
PODS = {"node-1": 5, "node-2": 9, "node-3": 2}

RESOURCES = f"""
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {{name: default-ipv4-ippool}}
spec: {{cidr: 10.233.64.0/18, blockSize: 24, natOutgoing: true, nodeSelector: "!all()"}}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {{name: small-blocks}}
spec: {{cidr: 10.99.0.0/24, blockSize: 29, vxlanMode: Always}}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {{name: gateway}}
spec: {{peerIP: {GATEWAY.ip}, asNumber: 64601}}
"""


def main() -> int:
    """Draw it; the exit status is that of ``ocicatctl topology``."""
    lab = Lab("picture", lambda text: print(f"  {text}", file=sys.stderr))
    lab.down()
    try:
        lab.up(len(PODS))
        with tempfile.TemporaryDirectory() as directory:
            _start_router(lab, Path(directory))
            file = Path(directory) / "network.yaml"
            file.write_text(RESOURCES)
            ctl(lab.nodes[0], "apply", "-f", str(file))
            for node in lab.nodes:
                for number in range(PODS[node.name]):
                    lab.add_pod(node, f"web-{node.number}-{number}")
            sessions = len(lab.nodes)  # with the other nodes, and with the router
            system.wait_until(
                lambda: all(established(node) == sessions for node in lab.nodes),
                "sessions",
                TIMEOUT_S,
            )
            drawn = draw(lab, "svg")
    finally:
        lab.down()
    sys.stderr.write(drawn.stderr)
    PAGE.write_text(drawn.stdout)
    return drawn.returncode


def _start_router(lab: Lab, directory: Path) -> None:
    neighbours = "".join(
        f"protocol bgp node{n.number} {{ local as 64601; neighbor {n.address.ip} as 64512; "
        "ipv4 { import all; export none; }; }\n"
        for n in lab.nodes
    )
    config = directory / "router.conf"
    config.write_text(f"router id {GATEWAY.ip};\nprotocol device {{}}\n{neighbours}")
    command = ("bird", "-f", "-c", config, "-s", directory / "router.ctl")
    log = lab.spec.directory / "router.log"
    system.start(*command, namespace=lab.spec.fabric, environment={}, log=log)


if __name__ == "__main__":
    sys.exit(main())

"""``make lab-vm``: the cluster of machines to play with, until Ctrl-C.

Edge: signals, files.
"""

import shutil
import signal
import sys

from tests.vm import image
from tests.vm.cluster import Cluster
from tests.vm.console import CONSOLES
from tests.vm.waiting import say


def main() -> int:
    """Boot, say what there is, wait."""
    if why := image.missing():
        say(why)
        return 1
    if CONSOLES.exists():
        say(f"{CONSOLES}: another lab runs, or was killed; then remove this directory")
        return 1
    CONSOLES.mkdir(parents=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    cluster = None
    try:
        cluster = Cluster(CONSOLES)
        cluster.add_pods("web")
        names = " ".join(machine.name for machine in cluster.machines)
        say(f"a shell in a machine (of {names}): make lab-vm-shell VM=n1")
        say("there: ocicatctl node status; ip route; ctr -n k8s.io task ls")
        say("another pod: touch /etc/ocicat-pods/NAME; cat /run/ocicat-pods.json; rm ends it")
        say("Ctrl-C ends the lab and leaves nothing")
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        if cluster:
            cluster.down()
        shutil.rmtree(CONSOLES)
    return 0


if __name__ == "__main__":
    sys.exit(main())

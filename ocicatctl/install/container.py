"""``install-cni``, as Calico's image has it: ``ocicatctl install`` for the node mounted at /host.

Edge: the command line. Of ours nothing but launchers runs on such a node; options that are given
count more.
"""

import sys

from ocicatctl.__main__ import ocicatctl


def main() -> None:
    """Install; does not return."""
    ours = ("install", "--root", "/host", "--server-only")
    ocicatctl([*ours, *sys.argv[1:]], prog_name="ocicatctl")

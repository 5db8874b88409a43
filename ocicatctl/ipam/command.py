"""``ocicatctl ipam``: which of its commands lives where.

Edge: the command line.
"""

import click

from ocicatctl.commands import LazyGroup

_COMMANDS = {
    "show": ("ocicatctl.ipam.show:show", "Show how many addresses are in use, or by whom."),
    "explain": ("ocicatctl.ipam.explain:explain", "Say why an address is held, or why none is."),
    "history": ("ocicatctl.ipam.history:history", "Say who held an address before."),
    "check": ("ocicatctl.check.command:check", "Look for contradictions and leaked addresses."),
    "release": ("ocicatctl.ipam.release:release", "Give back addresses that nobody uses."),
    "configure": ("ocicatctl.ipam.configure:configure", "Change how addresses are given out."),
}


@click.group(
    cls=LazyGroup,
    lazy=_COMMANDS,
    epilog="""\b
Examples:
  ocicatctl ipam show --show-blocks
  ocicatctl ipam explain default/web-0
  ocicatctl ipam explain --node node-1
  ocicatctl ipam history 10.233.77.0
  ocicatctl ipam release --ip=10.233.77.0
  ocicatctl ipam configure --strictaffinity=true
""",
)
def ipam() -> None:
    """Look after addresses: who has which, why, and how they are given out."""

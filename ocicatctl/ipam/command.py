"""``ocicatctl ipam``: which of its commands lives where.

Edge: the command line. They are imported when they run.
"""

import importlib

import click

# Command -> its module, and its line in --help; the command is called as the last word says.
_COMMANDS = {
    "show": ("ocicatctl.ipam.show:show", "Show how many addresses are in use, or by whom."),
    "explain": ("ocicatctl.ipam.explain:explain", "Say why an address is held, or why none is."),
    "history": ("ocicatctl.ipam.history:history", "Say who held an address before."),
    "check": ("ocicatctl.check.command:check", "Look for contradictions and leaked addresses."),
    "release": ("ocicatctl.ipam.release:release", "Give back addresses that nobody uses."),
    "configure": ("ocicatctl.ipam.configure:configure", "Change how addresses are given out."),
}


class Commands(click.Group):
    """The commands, imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


@click.group(
    cls=Commands,
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

"""The command line: which command lives where, and how a failure is told.

Edge: standard error and the exit status. Commands are imported when they run: gRPC alone takes
longer to import than everything else here.
"""

import io
import os
import sys

import click

from datamodel.errors import OcicatError
from ocicatctl.commands import LazyGroup

_COMMANDS = {
    "get": ("ocicatctl.resources.get:get", "Show pools, nodes, peers, workload endpoints, …"),
    "create": ("ocicatctl.resources.edit:create", "Create resources from a file."),
    "apply": ("ocicatctl.resources.edit:apply", "Create resources from a file, or replace them."),
    "replace": ("ocicatctl.resources.edit:replace", "Replace resources with those of a file."),
    "delete": (
        "ocicatctl.resources.edit:delete",
        "Delete resources, by name or as a file names them.",
    ),
    "ipam": (
        "ocicatctl.ipam.command:ipam",
        "Show, check, explain, release and configure addresses.",
    ),
    "node": ("ocicatctl.node.command:node", "Show the BGP sessions of this node; delete a node."),
    "routes": (
        "ocicatctl.routes.command:routes",
        "Show where packets to blocks and addresses go, and what is wrong.",
    ),
    "topology": (
        "ocicatctl.topology.command:topology",
        "Draw the cluster: nodes, blocks, BGP sessions, pools, tunnels.",
    ),
    "doctor": (
        "ocicatctl.doctor.command:doctor",
        "Check this node for what is known to go wrong, and say what mends it.",
    ),
    "install": (
        "ocicatctl.install.command:install",
        "Put launchers, conflist and drop-in files in place on this node.",
    ),
    "uninstall": (
        "ocicatctl.install.command:uninstall",
        "Remove exactly what install has put in place.",
    ),
    "upgrade": (
        "ocicatctl.upgrade.command:upgrade",
        "Upgrade this node; or take over the addresses of another plugin's pods.",
    ),
    "lab": ("ocicatctl.lab.cli:lab", "Run a whole cluster on this machine, in namespaces."),
}


class Failed(click.ClickException):
    """A failure that the operator can do something about, one line for each thing wrong."""

    def show(self, file: object = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"ocicatctl: {line}", err=True)


class Commands(LazyGroup):
    """The top-level commands."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except OcicatError as error:
            raise Failed(str(error)) from error


@click.group(
    cls=Commands,
    lazy=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  ocicatctl get ippool -o wide
  ocicatctl get workloadendpoint --all-namespaces
  ocicatctl apply -f pools.yaml
  ocicatctl ipam show --show-blocks
  ocicatctl node status
  ocicatctl routes 10.233.88.0
  ocicatctl topology -o svg > cluster.svg
  ocicatctl lab up --pods 2

\b
Exit status: 0 done, 1 failed, 2 wrong usage.
""",
)
def ocicatctl() -> None:
    """Look into a cluster's pod network and change it: pools, addresses, nodes, endpoints, BGP.

    The store is found as calicoctl finds it: ETCD_ENDPOINTS, ETCD_CA_CERT_FILE, ETCD_CERT_FILE,
    ETCD_KEY_FILE, ETCD_USERNAME, ETCD_PASSWORD.
    """


def main() -> None:
    """Run the command that the arguments name; does not return."""
    # gRPC's own lines about TLS, a dozen for each attempt; what is wrong the error says.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if isinstance(sys.stdout, io.TextIOWrapper):  # not if it is closed
        # A key or a name in etcd may have what no terminal, or not this one, can show.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        ocicatctl(prog_name="ocicatctl")
    except OSError as error:  # a full disk; a pipe that nobody reads any more is click's
        # Else what is left of the output would fail once more at the very end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(f"ocicatctl: {error.filename or 'standard output'}: {error.strerror or error}")


if __name__ == "__main__":
    main()

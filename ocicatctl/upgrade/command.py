"""``ocicatctl upgrade``: this node to this version; or the addresses of another plugin's live pods.

Edge: the command line. The stories are ``ocicatctl/install/renew.py`` and ``takeover.py``.
"""

from pathlib import Path
from typing import Any

import click

from datamodel.attachment import NAME
from ocicatctl import arguments
from ocicatctl.upgrade.host_local import DATA_DIR


def _network(text: str) -> str:
    if not NAME.fullmatch(text):
        raise click.BadParameter(f"{text!r} is not a network's name")
    return text


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  /opt/ocicat/0.2.0/bin/ocicatctl upgrade --dry-run
  /opt/ocicat/0.2.0/bin/ocicatctl upgrade
  ocicatctl upgrade host-local --network=pods --conf=/etc/cni/net.d/10-old.conflist --dry-run

\b
Exit status: 0 done, 1 not done and the former version as before, 2 wrong usage.
""",
)
@click.option(
    "--state-dir",
    "state",
    metavar="DIR",
    default="/var/lib/ocicat",
    show_default=True,
    help="Where it is recorded what is ours.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=60,
    show_default=True,
    help="How long a daemon may take until it serves.",
)
@click.option("--dry-run", "is_trial", is_flag=True, help="Only say what would be done.")
@click.pass_context
def upgrade(context: click.Context, state: str, timeout_s: float, is_trial: bool) -> None:
    """Upgrade this node to the version of this ocicatctl; or take over another plugin's pods.

    Without a command: launchers, drop-ins and units that have changed are put in place, then
    daemons are restarted one after the other, each as soon as the one before serves. BIRD is only
    if its unit has changed. If a daemon does not serve any more the former version is put back.
    No ADD or DEL fails and no packet is lost meanwhile. The network configuration stays as it is.
    """
    if context.invoked_subcommand is None:
        from ocicatctl.install.command import upgrade_node  # imports more than a --help needs

        upgrade_node(state, timeout_s, is_trial=is_trial)


@upgrade.command(
    "host-local",
    epilog="""\b
Examples:
  ocicatctl upgrade host-local --network=pods --conf=/etc/cni/net.d/10-old.conflist --dry-run
  ocicatctl upgrade host-local --network=pods --conf=/etc/cni/net.d/10-old.conflist --reserve
  ocicatctl upgrade host-local --network=pods --conf=/etc/cni/net.d/10-old.conflist
  ocicatctl upgrade host-local --network=pods --finish

\b
Exit status: 0 done, 1 not done (mend what it names, then call it again), 2 wrong usage.
""",
)
@click.option(
    "--network",
    type=_network,
    required=True,
    metavar="NAME",
    help="The network's name in the configuration.",
)
@click.option("--conf", type=Path, metavar="FILE", help="The configuration that names host-local.")
@click.option(
    "--directory",
    type=Path,
    metavar="DIR",
    help=f"Where host-local keeps its networks.  [default: dataDir of FILE, else {DATA_DIR}]",
)
@click.option(
    "--results",
    type=Path,
    metavar="DIR",
    default="/var/lib/cni/results",
    show_default=True,
    help="Where the runtime's libcni keeps results.",
)
@click.option(
    "--conf-dir",
    type=Path,
    metavar="DIR",
    default="/etc/cni/net.d",
    show_default=True,
    help="With --finish: where the runtime finds its configurations.",
)
@arguments.ipamd_socket
@click.option("--dry-run", "is_trial", is_flag=True, help="Only say what would be done.")
@click.option("--reserve", "only_reserves", is_flag=True, help="Only make the IPReservation.")
@click.option("--finish", "finishes", is_flag=True, help="Remove what host-local has left.")
def host_local(
    is_trial: bool, only_reserves: bool, finishes: bool, conf: Path | None, path: str, **where: Any
) -> None:
    """Have ipamd hold the addresses that host-local has given to this node's live pods.

    Run it as root on the node. Before a pool is made that has these addresses, run it with
    --reserve on every node; after it, put the new configuration in the old one's place; when the
    last of the old pods is gone, run it with --finish. Once it is done, host-local gives out no
    address of this network any more.
    """
    if is_trial + only_reserves + finishes > 1:
        raise click.UsageError("--dry-run, --reserve and --finish exclude each other.")
    if conf is None and not finishes:
        raise click.UsageError("Missing option '--conf'.")
    # They import more than a --help needs.
    from ocicatctl.upgrade import finish as ending
    from ocicatctl.upgrade import takeover

    places = takeover.Places(conf=conf, socket=path, **where)
    if finishes:
        ending.finish(places, _say)
    elif only_reserves:
        takeover.reserve_only(places, _say)
    else:
        takeover.take_over(places, _say, is_trial=is_trial)


def _say(text: str) -> None:
    click.echo(text)

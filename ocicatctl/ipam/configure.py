"""``ocicatctl ipam configure``: how the whole cluster hands out addresses.

Edge: the command line. ``datamodel/ipam_config.py`` knows the rules.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from datamodel.ipam_config import COOLDOWNS_S, IpamConfig
from datastore import keys
from datastore.codec import DEFAULT_IPAM_CONFIG, decode_ipam_config, encode_ipam_config
from datastore.known import Known
from datastore.store import Change, Decision, Entry, Store, settle
from ocicatctl.store import with_store

# A setting as calicoctl calls it -> as IpamConfig does, or as it is stored where that has it not.
_FIELDS = {
    "StrictAffinity": "strict_affinity",
    "AutoAllocateBlocks": "auto_allocate_blocks",
    "MaxBlocksPerHost": "max_blocks_per_host",
    "IPCooldownSeconds": "ip_cooldown_s",
}
_STORED_AS = {"KubeVirtVMAddressPersistence": "kubeVirtVMAddressPersistence"}
_BOOLEANS = {
    **dict.fromkeys(("true", "True", "TRUE", "t", "T", "1"), True),
    **dict.fromkeys(("false", "False", "FALSE", "f", "F", "0"), False),
}


def _boolean(text: str) -> bool:
    """As Go reads it; click's own takes an empty text, an unset variable's, for false."""
    if text not in _BOOLEANS:
        raise click.BadParameter(f"{text!r} is neither true nor false")
    return _BOOLEANS[text]


@click.command(
    epilog="""\b
Examples:
  ocicatctl ipam configure --strictaffinity=true --max-blocks-per-host=4
  ocicatctl ipam configure --ip-cooldown-seconds=30
  ocicatctl ipam configure --strictaffinity=false --max-blocks-per-host=0
"""
)
@click.option(
    "--strictaffinity",
    "StrictAffinity",
    type=_boolean,
    metavar="true|false",
    help="true: nodes take no address of another node's block.",
)
@click.option(
    "--auto-allocate-blocks",
    "AutoAllocateBlocks",
    type=_boolean,
    metavar="true|false",
    help="false: nodes claim no more blocks than they have.",
)
@click.option(
    "--max-blocks-per-host",
    "MaxBlocksPerHost",
    type=click.IntRange(0, 2**31 - 1),
    metavar="N",
    help="Blocks of one family that a node may own; 0: 20 of them.",
)
@click.option(
    "--ip-cooldown-seconds",
    "IPCooldownSeconds",
    type=click.IntRange(COOLDOWNS_S[0], COOLDOWNS_S[-1]),
    metavar="N",
    help="How long a released address rests before anybody gets it.",
)
@click.option(
    "--kubevirt-ip-persistence",
    "KubeVirtVMAddressPersistence",
    type=click.Choice(("Enabled", "Disabled")),
    help="Kept for Calico; it changes nothing here.",
)
# As calicoctl calls them: the options are told back by these names.
def configure(**options: bool | int | str | None) -> None:
    """Change how the cluster hands out addresses; what is not named stays as it is.

    Every node obeys at once; what is held stays held.
    """
    changes = {name: value for name, value in options.items() if value is not None}
    if not changes:
        raise click.UsageError("At least one option must be given.")

    async def write(store: Store) -> None:
        known = Known()
        await settle(store, known, lambda: decide(changes, known))

    with_store(write)
    for name, value in changes.items():
        shown = str(value).lower() if isinstance(value, bool) else value
        click.echo(f"Successfully set {name} to: {shown}")


def decide(changes: Mapping[str, Any], known: Known) -> Decision[IpamConfig]:
    """Decide what the config is to be.

    Where none is stored, the others get the values that ipamd would write.

    Raises:
        Invalid: the config that is stored cannot be read, or the new one breaks a rule.
    """
    key = keys.IPAM_CONFIG
    if key not in known:
        return Decision(IpamConfig(), needs=frozenset({key}))
    entry = known[key]
    config = _changed(entry, changes).checked()
    value = encode_ipam_config(config, entry.value if entry else None)
    seen = {key: entry.revision if entry else 0}
    return Decision(config, Change(expect=seen, put={key: value}))


def _changed(entry: Entry | None, changes: Mapping[str, Any]) -> IpamConfig:
    config = decode_ipam_config(entry.value if entry else DEFAULT_IPAM_CONFIG)
    extra = {_STORED_AS[name]: changes[name] for name in changes if name in _STORED_AS}
    fields = {_FIELDS[name]: changes[name] for name in changes if name in _FIELDS}
    return replace(config, extra={**config.extra, **extra}, **fields)

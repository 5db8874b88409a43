"""The node that we are on: its pods, and what of ours is in its kernel.

Edge: ip(8), nft(8).
"""

import json
from collections.abc import Iterator
from typing import Any

from datamodel.attachment import parse_alias
from datamodel.errors import Unavailable
from datamodel.tunnel import IPIP, TUNNELS
from ocicatctl.install import programs

_TABLE = ("inet", "ocicat")
_ALIAS = "ocicat"  # of tunl0, while it is ours
# The route distributor's own, and BIRD's, which it leaves behind so that it can be restarted.
_PROTOCOLS = {"80": "tunnels", "12": "BIRD"}


def pods() -> list[str]:
    """The pods that are attached, each as the operator knows it: pod or container, and link."""
    found = []
    for link in _listing("link", "show", "type", "veth"):
        owner = parse_alias(link.get("ifalias", ""))
        if owner is None:
            continue
        who = owner.pod or (owner.attachment and f"container {owner.attachment.container_id}")
        found.append(f"{who or 'a pod'} ({link['ifname']})")
    return sorted(found)


def clean() -> list[str]:
    """Remove the table of nft, the routes and the tunnel devices; return what is to be said."""
    return [*_remove_table(), *_remove_routes(), *_remove_tunnels()]


def _remove_table() -> Iterator[str]:
    if not programs.is_there("nft"):
        return  # who made the table needed it, too
    if programs.run("nft", "list", "table", *_TABLE).returncode == 0:
        _run("nft", "delete", "table", *_TABLE)
        yield f"table {' '.join(_TABLE)}: removed"


def _remove_routes() -> Iterator[str]:
    for protocol, whose in _PROTOCOLS.items():
        count = 0
        for family in ("-4", "-6"):
            count += len(_listing(family, "route", "show", "proto", protocol))
            _run("ip", family, "route", "flush", "proto", protocol)
        if count:
            yield f"routes of {whose}: {count} removed"


def _remove_tunnels() -> Iterator[str]:
    links = {link["ifname"]: link for link in _listing("-d", "link", "show")}
    for tunnel in TUNNELS:
        link = links.get(tunnel.device, {})
        if tunnel is IPIP and link.get("ifalias") == _ALIAS:
            # It is there as long as its module is loaded: nobody's again, and down.
            _run("ip", "address", "flush", "dev", tunnel.device)
            _run("ip", "link", "set", tunnel.device, "down", "alias", "")
            yield f"{tunnel.device}: set down"
        elif link.get("linkinfo", {}).get("info_kind") == "vxlan":
            _run("ip", "link", "delete", tunnel.device)
            yield f"{tunnel.device}: removed"


def _listing(*arguments: str) -> list[dict[str, Any]]:
    """What ip lists."""
    said = _run("ip", "-j", *arguments)
    found: list[dict[str, Any]] = json.loads(said or "[]")
    return [each for each in found if each]  # some versions list an empty one


def _run(*command: str) -> str:
    done = programs.run(*command)
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout

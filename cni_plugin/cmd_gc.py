"""GC: every attachment to this network that the runtime does not list is deleted as by DEL.

What is there the kernel knows by the links' aliases, and ipamd by who holds addresses; the latter
is all there is of an attachment whose interface another plugin made. An attachment for which a call
is under way, or was at any moment since we looked, is left alone.
"""

import logging
import time

from cni_plugin import dataplane
from cni_plugin.args import NetworkArgs
from cni_plugin.cmd_del import give_back, remove_link
from cni_plugin.leftovers import Leftovers
from cni_plugin.parts import RELEASE_TIMEOUT_S, Parts
from datamodel.attachment import Attachment
from datamodel.errors import OcicatError, Unavailable

LEFTOVER_S = 1.0  # a link without an owner for that long was left by a killed ADD

log = logging.getLogger(__name__)


def cmd_gc(args: NetworkArgs, parts: Parts) -> None:
    """Run one GC. What fails does not keep the rest from being done.

    Raises:
        Unavailable: with everything that failed.
    """
    failures: list[str] = []
    try:
        _collect_leftovers()
    except OcicatError as error:
        failures.append(str(error))
    with parts.locks.watched() as busy:
        for attachment in _attachments(args.conf.name, parts, failures):
            if (attachment.container_id, attachment.ifname) in args.valid:
                continue
            with parts.locks.held_if_unused(attachment.handle_id, busy) as is_held:
                if is_held:
                    _collect(attachment, args, parts, failures)
    if failures:
        raise Unavailable("; ".join(failures))


def _collect_leftovers() -> None:
    leftovers = Leftovers(LEFTOVER_S)
    if leftovers.collect():
        time.sleep(LEFTOVER_S)
        leftovers.collect()


def _attachments(network: str, parts: Parts, failures: list[str]) -> list[Attachment]:
    """Who holds an address, and then who has a link: an ADD makes its link first."""
    found: dict[str, Attachment] = {}
    try:
        for attachment in parts.ipam.list_attachments(network, RELEASE_TIMEOUT_S):
            found[attachment.handle_id] = attachment
    except OcicatError as error:
        failures.append(f"addresses without a link are not collected: {error}")
    try:
        for attachment in dataplane.attachments_of(network):
            found[attachment.handle_id] = attachment
    except OcicatError as error:
        failures.append(str(error))
    return list(found.values())


def _collect(attachment: Attachment, args: NetworkArgs, parts: Parts, failures: list[str]) -> None:
    log.warning("collected: %s is not valid any more", attachment.handle_id)
    try:
        remove_link(attachment, None, parts)
        give_back(attachment, None, parts, args.deadline)
    except (OcicatError, OSError) as error:
        failures.append(f"{attachment.handle_id}: {error}")

"""ADD, DEL and CHECK of the IPAM role: addresses alone, for plugins that make the interface.

``ptp``, ``bridge`` and others run us under the name ``ocicat-ipam`` or ``calico-ipam``. No link of
ours tells whether such an address is in use: only DEL and GC free it.
"""

from contextlib import ExitStack
from dataclasses import replace

from cni_plugin.args import CmdArgs
from cni_plugin.cmd_add import AlreadyAttached, release_asked, wanted_by
from cni_plugin.cmd_check import Differs, held_by
from cni_plugin.cmd_del import give_back
from cni_plugin.parts import Parts
from cni_plugin.result import ipam_result
from cni_plugin.undo import Added, quietly


def cmd_ipam_add(args: CmdArgs, parts: Parts) -> Added:
    """Run one ADD; return its result, and what takes it back.

    Raises:
        AlreadyAttached: addresses are held already. Were they answered once more, the plugin that
            asked would fail over its interface, and free them under the one that is there.
    """
    was_spooled = parts.spool.take_back(args.attachment)
    if not was_spooled:
        held = held_by(args, parts)
        if held.addresses:
            raise AlreadyAttached.of(args.attachment)
    timeout_s = parts.allocate_timeout_s(args.deadline)
    with ExitStack() as undo:
        wanted = replace(wanted_by(args), is_delegated=True)
        allocation = parts.ipam.allocate(args.attachment, args.pod, None, wanted, timeout_s)
        undo.callback(quietly, release_asked, args, parts, allocation, was_spooled)
        result = ipam_result(allocation.wait(args.is_caller_there), args.conf)
        undo.pop_all()  # success: keep it
    return Added(result, lambda: give_back(args.attachment, args.pod, parts))


def cmd_ipam_del(args: CmdArgs, parts: Parts) -> None:
    """Run one DEL."""
    give_back(args.attachment, args.pod, parts, args.deadline)


def cmd_ipam_check(args: CmdArgs, parts: Parts) -> None:
    """Run one CHECK.

    Raises:
        Differs: an address is not held any more.
    """
    held = held_by(args, parts)
    families = {address.version for address in held.addresses}
    missing = [f"IPv{family}" for family in args.conf.families if family not in families]
    if missing:
        raise Differs(f"ipamd holds no {' and no '.join(missing)} for {args.attachment.handle_id}")

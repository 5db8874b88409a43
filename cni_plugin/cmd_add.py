"""ADD: ask ipamd and make the veth pair side by side, then give the pod its network.

Start reading here. What takes everything back is registered before the first step runs: a call
that times out may still have worked on the other side, and undoing what never happened does no
harm.
"""

from contextlib import ExitStack
from dataclasses import replace

from cni_plugin import dataplane, netns
from cni_plugin.args import CmdArgs
from cni_plugin.cmd_del import give_back, remove_link
from cni_plugin.cni_error import INVALID_ENVIRONMENT, INVALID_NETNS, CniError
from cni_plugin.dataplane import LinkTaken
from cni_plugin.parts import Parts
from cni_plugin.podnet import PodNet, host_names, plan, plan_links
from cni_plugin.undo import quietly
from datamodel.attachment import Attachment
from datamodel.errors import Invalid, OcicatError, Unavailable
from ipam_api.client import NotReached, PendingAllocation, Recorded


def cmd_add(args: CmdArgs, parts: Parts) -> PodNet:
    """Run one ADD; return the network that the pod has now."""
    netns_fd = netns_of(args)
    parts.spool.take_back(args.attachment)
    links = plan_links(args.attachment, args.pod, args.conf.mtu)
    allocation = _ask(args, parts, links)
    with ExitStack() as undo:
        undo.callback(quietly, _take_back, args, parts, allocation)
        try:
            made = _make_pair(args, parts, links, netns_fd)
        except AlreadyAttached:
            undo.pop_all()  # what is there belongs to an ADD that succeeded
            raise
        if made.host.name != links.host.name:
            allocation.wait()
            allocation = _ask(args, parts, made)  # the endpoint must name the link
        allocated = allocation.wait()
        network = plan(made, allocated.addresses, args.conf.allows_ip_forwarding)
        dataplane.setup(network, netns_fd)
        undo.pop_all()  # success: keep everything
    if allocated.superseded_container_id:
        _give_back_previous_sandbox(args, parts, allocated.superseded_container_id)
    return network


def undo_add(args: CmdArgs, parts: Parts) -> None:
    """Take back an ADD that succeeded but whose result nobody received."""
    remove_link(args.attachment, args.pod, parts)
    give_back(args.attachment, args.pod, parts)


class AlreadyAttached(Invalid):
    """The attachment has its link: an ADD is repeated without a DEL between."""


def netns_of(args: CmdArgs) -> int:
    """The pod's namespace, checked.

    Raises:
        CniError: 4, CNI_NETNS is not a network namespace; 8, it is the node's own.
    """
    if args.netns_fd is None:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_NETNS {args.netns}: {args.netns_mistake}")
    if not netns.is_netns(args.netns_fd):
        raise CniError(INVALID_ENVIRONMENT, f"CNI_NETNS {args.netns}: is not a network namespace")
    if netns.is_own(args.netns_fd):
        raise CniError(INVALID_NETNS, f"CNI_NETNS {args.netns}: is the node's own namespace")
    return args.netns_fd


def _ask(args: CmdArgs, parts: Parts, links: PodNet) -> PendingAllocation:
    namespace = args.pod.namespace if args.pod else ""
    is_kubernetes = args.conf.is_kubernetes and namespace
    profile = f"kns.{namespace}" if is_kubernetes else args.attachment.network
    endpoint = Recorded(links.host.name, links.pod.mac, (profile,))
    return parts.ipam.allocate(
        args.attachment, args.pod, endpoint, args.conf.pools, parts.allocate_timeout_s
    )


def _take_back(args: CmdArgs, parts: Parts, allocation: PendingAllocation) -> None:
    """Undo: the link first, then the addresses, if there can be any."""
    remove_link(args.attachment, args.pod, parts)
    try:
        allocation.wait()  # a release must not overtake what it takes back
    except NotReached:
        return
    except Unavailable:
        pass  # whether addresses are held is unknown
    except OcicatError:
        return  # refused: nothing was written
    give_back(args.attachment, args.pod, parts)


def _make_pair(args: CmdArgs, parts: Parts, links: PodNet, netns_fd: int) -> PodNet:
    """Make the veth pair under the first of its names that is free or can be made so.

    Raises:
        AlreadyAttached: the pair is there.
        LinkTaken: a name is somebody else's.
        PodLinkExists: the pod has an interface of the wanted name.
    """
    names = host_names(args.attachment, args.pod)
    with parts.locks.held(names[0]):
        for name in names:
            pair = replace(links, host=replace(links.host, name=name))
            try:
                dataplane.create_pair(pair, netns_fd)
                return pair
            except LinkTaken as taken:
                if _clear(args, parts, taken):
                    dataplane.create_pair(pair, netns_fd)
                    return pair
                if name == names[-1] or taken.owner is None:
                    raise
    raise AssertionError("host_names is never empty")


def _clear(args: CmdArgs, parts: Parts, taken: LinkTaken) -> bool:
    """Remove the link in our way if it is a remnant: of a killed ADD, or of the pod's last sandbox.

    Calico takes the name over in the same case: a pod is alive in one sandbox only.
    """
    if args.attachment.owns(taken.alias):
        raise AlreadyAttached(
            f"container {args.attachment.container_id}: interface {args.attachment.ifname} is "
            "attached already; DEL comes before another ADD"
        ) from taken
    owner = taken.owner
    is_previous = bool(owner and args.pod and owner.pod_digest == args.pod.digest)
    if not (is_previous or taken.is_leftover):
        return False
    dataplane.delete_named(taken.name, taken.alias)
    if owner and owner.attachment:
        give_back(owner.attachment, args.pod, parts)
    return True


def _give_back_previous_sandbox(args: CmdArgs, parts: Parts, container_id: str) -> None:
    """Free what the pod's previous sandbox still holds; its link was in our way or is gone."""
    older = Attachment(args.attachment.network, container_id, args.attachment.ifname)
    quietly(remove_link, older, None, parts)
    quietly(give_back, older, args.pod, parts)

"""ADD: make the veth pair, ask ipamd, prepare the pod meanwhile, then give it its address.

Start reading here. What the pod asks for is read before anything else, if Kubernetes can be asked.
Nothing is asked of ipamd before the kernel has let us make the link, so an ADD that is refused
touches nothing of an attachment that is there. From then on everything is taken back if a later
step fails: a call that times out may still have worked on the other side, and undoing what never
happened does no harm.
"""

from contextlib import ExitStack
from dataclasses import replace

from cni_plugin import dataplane, netns
from cni_plugin.args import CmdArgs
from cni_plugin.cmd_del import give_back, remove_link
from cni_plugin.cni_error import INVALID_ENVIRONMENT, INVALID_NETNS, CniError
from cni_plugin.dataplane import LinkTaken
from cni_plugin.meter import ADDRESSES, FAILED, IPAM, KUBERNETES, PREPARE, VETH
from cni_plugin.parts import Parts
from cni_plugin.pod_facts import profiles
from cni_plugin.podnet import (
    PodNet,
    host_names,
    plan,
    plan_links,
    remainder,
    with_overhead,
)
from cni_plugin.report import this_kernel
from cni_plugin.result import add_result
from cni_plugin.undo import Added, quietly
from datamodel.attachment import Attachment
from datamodel.errors import Invalid, OcicatError, Unavailable
from ipam_api.client import NotReached, PendingAllocation, Recorded, Wanted


def cmd_add(args: CmdArgs, parts: Parts) -> Added:
    """Run one ADD; return its result, and what takes it back."""
    netns_fd = netns_of(args)
    args, step = _as_the_pod_asks(args, parts), parts.meter.step
    mtu = args.conf.mtu or parts.uplink_mtu.get()
    links = plan_links(args.attachment, args.pod, mtu, args.mac)
    forwards = args.conf.allows_ip_forwarding
    with ExitStack() as undo:
        with step(VETH):
            links, index = _make_pair(args, parts, links, netns_fd)
        undo.callback(parts.meter.count_rollback, FAILED)
        undo.callback(quietly, dataplane.delete_named, links.host.name, links.alias)
        was_spooled = parts.spool.take_back(args.attachment)
        allocation = _ask(args, parts, links)
        undo.callback(quietly, release_asked, args, parts, allocation, was_spooled)
        # Runs before the address is given back: nothing may use it any more by then.
        undo.callback(quietly, dataplane.delete_named, links.host.name, links.alias)
        prepared = plan(links, (), forwards, args.conf.families)
        with step(PREPARE):
            dataplane.setup(remainder(prepared, links), netns_fd)
        with step(IPAM):
            allocated = allocation.wait(args.is_caller_there)
        if not args.conf.mtu:
            links = with_overhead(links, allocated.overhead)
        network = plan(links, allocated.addresses, forwards)
        with step(ADDRESSES):
            dataplane.setup(remainder(network, prepared), netns_fd)
        result = add_result(network, args.netns, args.conf)
        undo.pop_all()  # success: keep everything
    if allocated.superseded_container_id:
        _give_back_previous_sandbox(args, parts, allocated.superseded_container_id)
    return Added(result, lambda: undo_add(args, parts, index))


def undo_add(args: CmdArgs, parts: Parts, index: int) -> None:
    """Take back an ADD that succeeded but whose result nobody received.

    A link of another index is of an ADD that came since; it and its address stay.
    """
    names = host_names(args.attachment, args.pod)
    if dataplane.index_of(args.attachment, names) not in (index, None):
        return
    remove_link(args.attachment, args.pod, parts)
    give_back(args.attachment, args.pod, parts)


class AlreadyAttached(Invalid):
    """The attachment has what it would get: an ADD is repeated without a DEL between."""

    @classmethod
    def of(cls, attachment: Attachment) -> "AlreadyAttached":
        """Say so of *attachment*."""
        return cls(
            f"container {attachment.container_id}: interface {attachment.ifname} is attached "
            "already; DEL comes before another ADD"
        )


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


def _as_the_pod_asks(args: CmdArgs, parts: Parts) -> CmdArgs:
    """The same ADD, asking for what its pod is annotated with; as it is if nobody knows the pod.

    Raises:
        Invalid, Unavailable: the pod asks for what cannot be, or cannot be read.
    """
    if parts.pods is None or args.pod is None:
        return args
    with parts.meter.step(KUBERNETES):
        facts = parts.pods.read(
            args.pod,
            parts.pod_timeout_s(args.deadline),
            is_first_link=args.attachment.ifname == "eth0",
            has_floating_ips=args.conf.allows_floating_ips,
        )
    if not args.is_caller_there():
        raise Unavailable("the runtime gave up before this ADD began")
    return args.told(facts)


def _ask(args: CmdArgs, parts: Parts, links: PodNet) -> PendingAllocation:
    workload = args.facts.workload if args.facts else None
    endpoint = Recorded(links.host.name, links.pod.mac, _profiles(args), this_kernel(), workload)
    timeout_s = parts.allocate_timeout_s(args.deadline)
    return parts.ipam.allocate(args.attachment, args.pod, endpoint, wanted_by(args), timeout_s)


def _profiles(args: CmdArgs) -> tuple[str, ...]:
    if args.conf.is_kubernetes and args.pod:
        account = args.facts.workload.service_account if args.facts else ""
        return profiles(args.pod.namespace, account)
    return (args.attachment.network,)


def wanted_by(args: CmdArgs) -> Wanted:
    """Which addresses an ADD asks for."""
    return Wanted(
        versions=args.conf.families,
        ipv4_pools=args.conf.ipv4_pools,
        ipv6_pools=args.conf.ipv6_pools,
        addresses=args.addresses,
        namespace_labels=args.facts.namespace_labels if args.facts else {},
    )


def release_asked(
    args: CmdArgs, parts: Parts, allocation: PendingAllocation, was_spooled: bool
) -> None:
    """Undo: wait for what was asked, since a release must not overtake it, and give it back.

    Args:
        was_spooled: an earlier DEL had left a release, which this ADD took off the spool.
    """
    try:
        allocation.wait()
    except NotReached:
        if not was_spooled:
            return  # ipamd has not seen the request and will not: nothing is held
    except OcicatError:
        pass  # refused, or unknown: what an earlier ADD held may be held still
    give_back(args.attachment, args.pod, parts)


def _make_pair(args: CmdArgs, parts: Parts, links: PodNet, netns_fd: int) -> tuple[PodNet, int]:
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
                return pair, dataplane.create_pair(pair, netns_fd)
            except LinkTaken as taken:
                if _clear(args, parts, taken):
                    return pair, dataplane.create_pair(pair, netns_fd)
                if name == names[-1] or taken.owner is None:
                    raise
    raise AssertionError("host_names is never empty")


def _clear(args: CmdArgs, parts: Parts, taken: LinkTaken) -> bool:
    """Remove the link in our way if it is a remnant: of a killed ADD, or of the pod's last sandbox.

    Calico takes the name over in the same case: a pod is alive in one sandbox only. The same
    container on another network is no last sandbox, and an alias too long to say whose it is could
    be anybody's.
    """
    if args.attachment.owns(taken.alias):
        raise AlreadyAttached.of(args.attachment) from taken
    older = taken.owner.attachment if taken.owner else None
    is_previous = bool(
        taken.owner
        and args.pod
        and taken.owner.pod_digest == args.pod.digest
        and older
        and older.container_id != args.attachment.container_id
    )
    if not (is_previous or taken.is_leftover):
        return False
    if not args.is_caller_there():
        raise Unavailable("the runtime gave up before this ADD began")
    dataplane.delete_named(taken.name, taken.alias)
    if older:
        give_back(older, args.pod, parts)
    return True


def _give_back_previous_sandbox(args: CmdArgs, parts: Parts, container_id: str) -> None:
    """Free what the pod's previous sandbox still holds; its link was in our way or is gone."""
    older = Attachment(args.attachment.network, container_id, args.attachment.ifname)
    quietly(remove_link, older, None, parts)
    quietly(give_back, older, args.pod, parts)

"""DEL: the kernel first, then one transaction that gives everything back.

Works from the link's alias and the handle alone: with or without a namespace, a previous result or
a reachable ipamd; twice as well as once.
"""

import logging
import math

from cni_plugin import dataplane
from cni_plugin.args import CmdArgs
from cni_plugin.meter import IPAM, VETH
from cni_plugin.parts import Parts, left_s
from cni_plugin.podnet import host_names
from datamodel.attachment import Attachment, Pod
from datamodel.errors import OcicatError, Unavailable

log = logging.getLogger(__name__)


def cmd_del(args: CmdArgs, parts: Parts) -> None:
    """Run one DEL.

    The address is given back only when nothing on this node uses it any more.

    Raises:
        Unavailable: the kernel refuses to delete the link, and the address stays held; or the
            release can be neither delivered nor spooled.
    """
    remove_link(args.attachment, args.pod, parts)
    give_back(args.attachment, args.pod, parts, args.deadline)


def remove_link(attachment: Attachment, pod: Pod | None, parts: Parts) -> None:
    """Delete the attachment's veth pair; none is success."""
    names = host_names(attachment, pod)
    with parts.locks.held(names[0]), parts.meter.step(VETH):
        dataplane.delete(attachment, names, parts.delete_link)


def give_back(
    attachment: Attachment, pod: Pod | None, parts: Parts, deadline: float = math.inf
) -> None:
    """Release addresses, handle and endpoint; if ipamd cannot do it now, spool it for later.

    Raises:
        Unavailable: nor can that be done. Why ipamd does not answer is left to the log: there may
            be "no such file or directory" in it, which containerd takes for a DEL that succeeded.
    """
    timeout_s = min(parts.release_timeout_s, left_s(deadline))
    try:
        with parts.meter.step(IPAM):
            parts.ipam.release(attachment, pod, timeout_s)
    except OcicatError as error:
        try:
            parts.spool.put(attachment, pod)
        except OSError as full:
            log.warning("release of %s: %s", attachment.handle_id, error)
            raise Unavailable(
                f"release of {attachment.handle_id}: ipamd does not take it, and it cannot be kept "
                f"for later ({full.strerror}); start ipamd, or make room in OCICAT_SPOOL_DIR"
            ) from full
        log.warning("release of %s is spooled: %s", attachment.handle_id, error)

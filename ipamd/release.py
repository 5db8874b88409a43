"""Takes back whatever an attachment holds: addresses, handle and endpoint.

Pure: no I/O.
"""

from datamodel.attachment import Attachment, Pod
from datamodel.block import Block
from datamodel.endpoint import EndpointId
from datamodel.errors import Invalid
from datastore import codec, keys
from ipamd.allocate import held_by_another, holding_blocks
from ipamd.draft import Draft
from ipamd.request import Grant, Release, Released


def release(draft: Draft, request: Release) -> Released:
    """Add to *draft* what takes everything back; what is gone already is no mistake.

    An endpoint that names another container is that of a newer sandbox of the pod and stays.

    Raises:
        Unknown: handle and endpoint must be read first.
    """
    attachment = request.attachment
    handle_id = attachment.handle_id
    handle_key = keys.handle(handle_id)
    has_handle = draft.value(handle_key) is not None
    grants: list[Grant] = []
    pod = request.pod
    for version in (4, 6):
        for block in holding_blocks(draft, handle_id, version):
            pod = pod or _pod_of(block, handle_id)
            changed, freed = block.release(handle_id)
            draft.change(changed)
            grants += [Grant(address, block.cidr) for address in freed]
    if has_handle:
        draft.remove(handle_key)
    _remove_endpoint(draft, attachment, pod)
    return Released(tuple(grants))


def _pod_of(block: Block, handle_id: str) -> Pod | None:
    """The pod that an allocation was for; a DEL need not say it."""
    for attribute in block.attributes:
        secondary = attribute.secondary or {}
        if attribute.handle_id == handle_id and {"namespace", "pod"} <= secondary.keys():
            return Pod(secondary["namespace"], secondary["pod"])
    return None


def _remove_endpoint(draft: Draft, attachment: Attachment, pod: Pod | None) -> None:
    """Remove the attachment's endpoint; that of a newer sandbox or another network stays."""
    where = EndpointId.of(draft.view.node, attachment, pod)
    key = keys.endpoint(where.namespace, where.name)
    value = draft.value(key)
    if value is None:
        return
    try:
        endpoint = codec.decode_endpoint(key, value)
    except Invalid:
        return  # not one of ours any more; it must not keep the address
    is_ours = endpoint.container_id == attachment.container_id
    if is_ours and not held_by_another(draft, endpoint, attachment.handle_id):
        draft.remove(key)

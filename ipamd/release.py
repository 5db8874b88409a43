"""Takes back whatever an attachment or a handle holds: addresses, handle and endpoint.

Pure: no I/O.
"""

from datamodel.attachment import Attachment, Pod
from datamodel.block import Address, Block
from datamodel.endpoint import EndpointId
from datamodel.errors import Invalid
from datastore import codec, keys
from ipamd.allocate import held_by_another, holding_blocks
from ipamd.delegated import without_idle_gateway
from ipamd.draft import Draft
from ipamd.request import Free, Grant, Release, Released


def release(draft: Draft, request: Release) -> Released:
    """Add to *draft* what takes everything back; what is gone already is no mistake.

    An endpoint that names another container is that of a newer sandbox of the pod and stays.

    Raises:
        Unknown: handle and endpoint must be read first.
    """
    attachment = request.attachment
    handle_id = attachment.handle_id
    draft.value(keys.handle(handle_id))
    blocks = holding_blocks(draft, handle_id)
    pod = request.pod or next((p for b in blocks if (p := pod_of(b, handle_id))), None)
    grants = _release(draft, handle_id, blocks)
    remove_endpoint(draft, attachment, pod)
    return Released(grants)


def free(draft: Draft, request: Free) -> Released:
    """Add to *draft* what takes back a handle's addresses, if they are exactly those seen.

    Raises:
        Unknown: handle and endpoint must be read first.
    """
    handle_id = request.handle_id
    draft.value(keys.handle(handle_id))
    blocks = holding_blocks(draft, handle_id)
    held: dict[Address, int] = {}
    for block in blocks:
        held |= block.sequences_of(handle_id)
    if held != request.seen:
        return Released()
    pod = next((p for b in blocks if (p := pod_of(b, handle_id))), None)
    grants = _release(draft, handle_id, blocks)
    if attachment := Attachment.of_handle(handle_id):
        remove_endpoint(draft, attachment, pod)
    return Released(grants)


def _release(draft: Draft, handle_id: str, blocks: list[Block]) -> tuple[Grant, ...]:
    now, cooldown_s = draft.known.view.now, draft.known.cooldown_s
    grants = []
    for block in blocks:
        changed, freed = block.release(handle_id, now=now, cooldown_s=cooldown_s)
        draft.change(without_idle_gateway(draft, changed))
        grants += [Grant(address, block.cidr) for address in freed]
    if draft.value(keys.handle(handle_id)) is not None:
        draft.remove(keys.handle(handle_id))
    return tuple(grants)


def pod_of(block: Block, handle_id: str) -> Pod | None:
    """The pod that an allocation was for; a DEL need not say it."""
    pods = (a.pod for a in block.attributes if a.handle_id == handle_id and a.pod)
    return next(pods, None)


def remove_endpoint(draft: Draft, attachment: Attachment, pod: Pod | None) -> None:
    """Remove the attachment's endpoint; that of a newer sandbox or another network stays."""
    where = EndpointId.of(draft.node, attachment, pod)
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

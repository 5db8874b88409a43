"""Answers GetHistory.

Pure but for asking the historian.
"""

from datamodel.attachment import Pod
from datamodel.errors import Invalid
from ipam_api import ipam_pb2
from ipam_api.messages import address_of, pod_message, pod_of
from ipamd.historian import History
from ipamd.holdings import Holding, Wanted

MAX_HOLDINGS = 5_000  # the latest; gRPC refuses answers of more than 4 MB


async def get_history(
    history: History, request: ipam_pb2.GetHistoryRequest
) -> ipam_pb2.GetHistoryResponse:
    """Say who held what; an answer that is cut short begins where it was cut.

    Raises:
        Invalid: the request does not ask for one thing, or there is no history.
        Unavailable: the history cannot be read.
    """
    found, begins = await history.query(wanted_of(request))
    latest = found[-MAX_HOLDINGS:]
    if len(latest) < len(found):
        begins = latest[0].start
    return ipam_pb2.GetHistoryResponse(holdings=map(_message, latest), begins_s=begins or 0.0)


def wanted_of(request: ipam_pb2.GetHistoryRequest) -> Wanted:
    """Read whose holdings are asked for.

    Raises:
        Invalid: nobody's, several ones', or a name is wrong.
    """
    wanted = Wanted(
        address=address_of(request.address) if request.address else None,
        pod=pod_of(request),
        container_id=request.container_id or None,
        handle_id=request.handle_id or None,
    )
    given = (wanted.address, wanted.pod, wanted.container_id, wanted.handle_id)
    if sum(part is not None for part in given) != 1:
        raise Invalid("history: ask for one of address, pod, container_id, handle_id")
    return wanted


def _message(holding: Holding) -> ipam_pb2.Holding:
    pod = holding.pod
    return ipam_pb2.Holding(
        address=str(holding.address),
        handle_id=_clean(holding.handle_id),
        pod=pod_message(Pod(_clean(pod.namespace), _clean(pod.name)) if pod else None),
        node=_clean(holding.node),
        from_s=holding.start or 0.0,
        to_s=holding.end or 0.0,
    )


def _clean(text: str | None) -> str:
    """What is no Unicode cannot be sent: JSON can spell half a character."""
    return (text or "").encode(errors="replace").decode()

"""What one transaction should write for the requests that wait: group commit.

Pure: no I/O. ``allocator.py`` commits what ``decide`` answers; if somebody wrote first, it decides
again with what it learnt. Requests that wait are decided together, one after the other on one
draft, and each has an outcome of its own: one that fails leaves no trace in the draft.
"""

from collections.abc import Sequence

from datamodel.errors import Invalid, OcicatError
from datastore.store import Decision
from ipamd.allocate import allocate
from ipamd.claimed_store import ROOM
from ipamd.draft import Draft, Unknown
from ipamd.known import known_of
from ipamd.release import free, release
from ipamd.request import (
    Allocate,
    Fence,
    Free,
    KeepTunnel,
    Outcome,
    Prepare,
    Release,
    Request,
    Tidy,
    View,
)
from ipamd.tidy import fence, prepare, tidy
from ipamd.tunnels import keep_tunnel


def decide(view: View, requests: Sequence[Request]) -> Decision[list[Outcome]]:
    """Decide *requests* in their order: as many as fit into one transaction, at least one.

    The outcome is the list of theirs; those for which there is none wait for the next transaction.
    """
    draft = Draft(known_of(view))
    outcomes: list[Outcome] = []
    needs: set[str] = set()
    for request in requests:
        attempt = draft.fork()
        try:
            outcome = _decide_one(attempt, request)
        except Unknown as unknown:
            needs |= unknown.needs
            continue
        except OcicatError as error:
            outcomes.append(error)
            continue
        if attempt.operations > ROOM:
            if not outcomes:
                outcomes.append(Invalid(_TOO_LARGE.format(request, attempt.operations)))
            break
        outcomes.append(outcome)
        draft = attempt
    if needs:
        return Decision([], needs=frozenset(needs))
    return Decision(outcomes, draft.finish())


_TOO_LARGE = f"{{}}: touches {{}} keys; one transaction has at most {ROOM}"


def _decide_one(draft: Draft, request: Request) -> Outcome:
    match request:
        case Allocate():
            return allocate(draft, request)
        case Release():
            return release(draft, request)
        case Free():
            return free(draft, request)
        case Prepare():
            return prepare(draft, request)
        case KeepTunnel():
            return keep_tunnel(draft, request)
        case Tidy():
            return tidy(draft, request)
        case Fence():
            return fence(draft, request)

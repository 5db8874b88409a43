"""What one transaction should write for the requests that wait: group commit.

Pure: no I/O. ``allocator.py`` commits what ``decide`` answers; if somebody wrote first, it decides
again with what it learnt. Requests that wait are decided together, one after the other on one
draft, and each has an outcome of its own: one that fails leaves no trace in the draft.
"""

from collections.abc import Sequence

from datamodel.errors import OcicatError
from datastore.store import MAX_OPERATIONS, Decision
from ipamd.allocate import allocate, fence, prepare
from ipamd.draft import Draft, Unknown
from ipamd.release import release
from ipamd.request import Allocate, Outcome, Prepare, Release, Request, View

# A request touches at most its handle, its endpoint, the handle of the pod's previous container and
# one block; a claim adds an affinity, and the IPAM config once for all of them. That many requests
# fit into one transaction, whatever they are.
MAX_REQUESTS = (MAX_OPERATIONS - 1) // 5


def decide(view: View, requests: Sequence[Request]) -> Decision[list[Outcome]]:
    """Decide all *requests*, in their order."""
    draft = Draft(view)
    outcomes: list[Outcome] = []
    needs: set[str] = set()
    for request in requests:
        attempt = draft.fork()
        try:
            outcomes.append(_decide_one(attempt, request))
        except Unknown as unknown:
            needs |= unknown.needs
            continue
        except OcicatError as error:
            outcomes.append(error)
            continue
        draft = attempt
    if needs:
        return Decision([], needs=frozenset(needs))
    return Decision(outcomes, draft.finish())


def _decide_one(draft: Draft, request: Request) -> Outcome:
    if isinstance(request, Allocate):
        return allocate(draft, request)
    if isinstance(request, Release):
        return release(draft, request)
    return prepare(draft, request) if isinstance(request, Prepare) else fence(draft)

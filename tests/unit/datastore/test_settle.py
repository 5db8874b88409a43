"""The compare-and-swap loop by itself; with decisions of ours it is in tests/unit/ipamd."""

import pytest

from datamodel.errors import Unavailable
from datastore.known import Known
from datastore.memory import MemoryStore
from datastore.store import MAX_ATTEMPTS, Decision, settle


async def test_a_decision_may_need_one_thing_after_the_other_as_often_as_it_takes():
    known = Known()
    wanted = [f"/key/{i}" for i in range(2 * MAX_ATTEMPTS)]

    def decide() -> Decision[int]:
        unknown = [key for key in wanted if key not in known]
        return Decision(len(wanted) - len(unknown), needs=frozenset(unknown[:1]))

    assert await settle(MemoryStore(), known, decide) == len(wanted)


async def test_a_decision_that_needs_the_same_again_and_again_is_given_up():
    with pytest.raises(Unavailable):
        await settle(MemoryStore(), Known(), lambda: Decision(None, needs=frozenset({"/key"})))

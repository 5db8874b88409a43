from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from route_distributor.debounce import Debounce


def test_the_first_change_is_acted_on_at_once():
    assert Debounce().wait_s(now=1000.0) == 0


def test_a_change_right_after_waits_out_the_interval():
    assert Debounce(1.0).acted(1000.0).wait_s(now=1000.25) == 0.75


def test_a_change_after_a_quiet_time_is_acted_on_at_once():
    assert Debounce(1.0).acted(1000.0).wait_s(now=1001.0) == 0


@given(st.lists(st.floats(min_value=0, max_value=100), min_size=1, max_size=50))
def test_there_is_never_more_than_one_act_in_an_interval(changes):
    debounce, free_at, acts = Debounce(1.0), 0.0, []
    for change in sorted(changes):
        if change < free_at:
            continue  # waited for together with an earlier one
        free_at = change + debounce.wait_s(change)
        acts.append(free_at)
        debounce = debounce.acted(free_at)

    # The tolerance is floating-point arithmetic's own.
    assert all(b - a >= 1.0 - 1e-9 for a, b in pairwise(acts))

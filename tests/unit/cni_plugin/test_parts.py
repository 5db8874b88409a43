"""One lock per name."""

import threading
import time

import pytest

from cni_plugin.parts import Locks
from datamodel.errors import Unavailable


def test_calls_for_one_name_wait_for_each_other():
    locks = Locks()
    inside, most = 0, 0

    def call():
        nonlocal inside, most
        with locks.held("a"):
            inside += 1
            most = max(most, inside)
            time.sleep(0.001)
            inside -= 1

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 1


def test_calls_for_other_names_do_not_wait():
    locks = Locks()
    reached = threading.Event()

    def call():
        with locks.held("b"):
            reached.set()

    with locks.held("a"):
        thread = threading.Thread(target=call)
        thread.start()
        assert reached.wait(10)
    thread.join()


def test_a_lock_is_free_again_after_a_failure():
    locks = Locks()

    try:
        with locks.held("a"):
            raise ValueError("x")
    except ValueError:
        pass

    taken = threading.Event()

    def call():
        with locks.held("a"):
            taken.set()

    thread = threading.Thread(target=call)
    thread.start()
    assert taken.wait(10)
    thread.join()


def test_names_that_nobody_uses_take_no_room():
    locks = Locks()
    for i in range(100):
        with locks.held(f"name-{i}"), locks.held("outer"):
            pass

    assert not locks._locks


def test_who_waits_too_long_is_told_so():
    locks = Locks()

    with (
        locks.held("a"),
        pytest.raises(Unavailable, match="a: another call"),
        locks.held("a", 0.01),
    ):
        pass

    with locks.held("a", 0.01):
        pass
    assert not locks._locks


def test_a_watcher_sees_what_was_in_use_and_what_was_used_since():
    locks = Locks()

    with locks.held("before"), locks.watched() as seen:
        with locks.held("since"):
            pass
        assert seen == {"before", "since"}

    with locks.held("later"):
        pass
    assert seen == {"before", "since"}


def test_what_was_used_since_is_not_taken():
    locks = Locks()

    with locks.watched() as seen:
        with locks.held("since"):
            pass
        with locks.held_if_unused("since", seen) as is_held:
            assert not is_held
        with locks.held_if_unused("free", seen) as is_held:
            assert is_held
            with pytest.raises(Unavailable), locks.held("free", 0.01):
                pass
    assert not locks._locks

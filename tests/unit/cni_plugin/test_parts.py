"""One lock per name."""

import threading
import time

from cni_plugin.parts import Locks


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

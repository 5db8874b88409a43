"""Releases that wait on disk."""

import fcntl
import json
import threading

import pytest

from cni_plugin.spool import Spool
from datamodel.attachment import Attachment, Pod
from datamodel.errors import Invalid, Unavailable

POD = Pod("default", "mypod")


def an_attachment(container_id: str = "c1") -> Attachment:
    return Attachment("net", container_id, "eth0")


class Ipamd:
    """Takes releases; does not answer for some containers."""

    def __init__(self, *silent_for: str):
        self.silent_for = silent_for
        self.released: list[tuple[Attachment, Pod | None]] = []

    def release(self, attachment, pod):
        if attachment.container_id in self.silent_for:
            raise Unavailable("ipamd: does not answer")
        self.released.append((attachment, pod))


@pytest.fixture
def spool(tmp_path) -> Spool:
    return Spool(str(tmp_path / "releases"))


def entries(tmp_path, pattern: str = "*.json"):
    return sorted((tmp_path / "releases").glob(pattern))


def test_what_is_put_is_delivered(spool):
    spool.put(an_attachment(), POD)
    ipamd = Ipamd()

    assert spool.deliver(ipamd.release) == 1
    assert ipamd.released == [(an_attachment(), POD)]


def test_without_a_pod_it_is_delivered_without_one(spool):
    spool.put(an_attachment(), None)
    ipamd = Ipamd()

    spool.deliver(ipamd.release)

    assert ipamd.released == [(an_attachment(), None)]


def test_what_is_delivered_is_gone(spool):
    spool.put(an_attachment(), POD)
    spool.deliver(Ipamd().release)
    ipamd = Ipamd()

    assert spool.deliver(ipamd.release) == 0
    assert ipamd.released == []


def test_what_is_put_outlives_the_process(spool, tmp_path):
    spool.put(an_attachment(), POD)
    ipamd = Ipamd()

    Spool(str(tmp_path / "releases")).deliver(ipamd.release)

    assert ipamd.released == [(an_attachment(), POD)]


def test_what_is_put_twice_is_delivered_once(spool):
    spool.put(an_attachment(), POD)
    spool.put(an_attachment(), POD)

    assert spool.deliver(Ipamd().release) == 1


def test_names_of_any_length_have_an_entry(spool):
    attachment = Attachment("n" * 200, "c" * 300, "eth0")
    spool.put(attachment, POD)
    ipamd = Ipamd()

    spool.deliver(ipamd.release)

    assert ipamd.released == [(attachment, POD)]


def test_what_is_taken_back_is_not_delivered(spool):
    spool.put(an_attachment("c1"), POD)
    spool.put(an_attachment("c2"), POD)
    ipamd = Ipamd()

    spool.take_back(an_attachment("c1"))
    spool.deliver(ipamd.release)

    assert [a.container_id for a, _ in ipamd.released] == ["c2"]


def test_taking_back_what_is_not_there_changes_nothing(spool, tmp_path):
    spool.take_back(an_attachment())

    assert not (tmp_path / "releases").exists()


def test_after_it_was_taken_back_it_can_be_put_again(spool):
    spool.put(an_attachment(), POD)
    spool.take_back(an_attachment())
    spool.put(an_attachment(), POD)

    assert spool.deliver(Ipamd().release) == 1


def test_without_a_directory_there_is_nothing_to_deliver(spool):
    assert spool.deliver(Ipamd().release) == 0


def test_delivery_stops_at_the_first_failure_and_the_rest_stays(spool, tmp_path):
    for i in range(5):
        spool.put(an_attachment(f"c{i}"), POD)
    [second, third] = [
        json.loads(path.read_text())["attachment"][1] for path in entries(tmp_path)[1:3]
    ]
    ipamd = Ipamd(second, third)

    with pytest.raises(Unavailable):
        spool.deliver(ipamd.release)

    assert len(ipamd.released) == 1
    assert len(entries(tmp_path)) == 4


def test_an_entry_that_is_refused_waits_and_the_rest_is_delivered(spool, tmp_path):
    for container_id in ("c1", "c2", "c3"):
        spool.put(an_attachment(container_id), POD)
    delivered = []

    def release(attachment, pod):
        if attachment.container_id == "c2":
            raise Invalid("etcd key x: is not JSON")
        delivered.append(attachment.container_id)

    assert spool.deliver(release) == 2

    assert sorted(delivered) == ["c1", "c3"]
    assert len(entries(tmp_path)) == 1


def test_what_failed_is_delivered_later(spool):
    for i in range(3):
        spool.put(an_attachment(f"c{i}"), POD)
    ipamd = Ipamd("c1")
    with pytest.raises(Unavailable):
        spool.deliver(ipamd.release)

    ipamd.silent_for = ()
    spool.deliver(ipamd.release)

    assert sorted(a.container_id for a, _ in ipamd.released) == ["c0", "c1", "c2"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"attachment": null, "pod": null}',
        b'{"attachment": ["a", "b"], "pod": null}',
        b'{"attachment": ["a", "b", "c"]}',
        b'{"attachment": ["a", "b", "c"], "pod": ["x"]}',
        b"\xff\xfe",
    ],
)
def test_an_entry_that_cannot_be_read_is_set_aside(spool, tmp_path, content):
    spool.put(an_attachment(), POD)
    (tmp_path / "releases" / "0000.json").write_bytes(content)
    ipamd = Ipamd()

    assert spool.deliver(ipamd.release) == 1

    assert ipamd.released == [(an_attachment(), POD)]
    [aside] = entries(tmp_path, "*.unreadable")
    assert aside.read_bytes() == content
    assert entries(tmp_path) == []


def test_a_half_written_entry_is_never_delivered(spool, tmp_path):
    """A process that is killed while it writes leaves a file that is not one of the entries."""
    spool.put(an_attachment(), POD)
    [entry] = entries(tmp_path)
    (tmp_path / "releases" / "tmpabc").write_bytes(entry.read_bytes()[:10])

    assert spool.deliver(Ipamd().release) == 1
    assert entries(tmp_path, "*.unreadable") == []


def test_taking_back_waits_for_a_delivery_under_way(spool):
    """Else the release could reach ipamd after the allocation of the same container."""
    spool.put(an_attachment(), POD)
    under_way, go_on = threading.Event(), threading.Event()
    order = []

    def release(attachment, pod):
        under_way.set()
        go_on.wait(10)
        order.append("released")

    def take_back():
        spool.take_back(an_attachment())
        order.append("taken back")

    delivering = threading.Thread(target=spool.deliver, args=(release,))
    delivering.start()
    assert under_way.wait(10)
    taking = threading.Thread(target=take_back)
    taking.start()
    taking.join(0.05)
    assert taking.is_alive()
    go_on.set()
    delivering.join(10)
    taking.join(10)

    assert order == ["released", "taken back"]


def test_what_is_added_and_deleted_again_while_delivery_waits_is_still_guarded(spool, tmp_path):
    """Whoever delivers an entry holds the lock of that very file, not of one that was replaced."""
    spool.put(an_attachment(), POD)
    [entry] = entries(tmp_path)
    guarded = []

    def release(attachment, pod):
        with open(entry) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                guarded.append(False)
            except BlockingIOError:
                guarded.append(True)

    with open(entry) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        delivering = threading.Thread(target=spool.deliver, args=(release,))
        delivering.start()
        delivering.join(0.05)
        assert delivering.is_alive()
        entry.unlink()  # a take-back, and then another DEL
        spool.put(an_attachment(), POD)
    delivering.join(10)
    spool.deliver(release)

    assert guarded == [True]


def test_other_containers_do_not_wait_for_a_delivery(spool):
    spool.put(an_attachment("c1"), POD)
    under_way, go_on = threading.Event(), threading.Event()

    def release(attachment, pod):
        under_way.set()
        go_on.wait(10)

    delivering = threading.Thread(target=spool.deliver, args=(release,))
    delivering.start()
    assert under_way.wait(10)

    spool.put(an_attachment("c2"), POD)
    spool.take_back(an_attachment("c2"))

    assert delivering.is_alive()
    go_on.set()
    delivering.join(10)

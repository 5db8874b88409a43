"""Lists and watches, against a small cluster of our own."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from datamodel.errors import Invalid, Unavailable
from kube_api.access import Access
from kube_api.answer import Event, Expired, Refused
from kube_api.client import ApiClient
from kube_api.watch import Watch
from tests.etcd_server import make_certificates
from tests.kube_cluster import KubeCluster
from tests.kube_server import refusal, serving


@pytest.fixture
def cluster() -> Iterator[KubeCluster]:
    cluster = KubeCluster()
    for number in range(5):
        cluster.put_pod(f"web-{number}", f"node-{number % 2}")
    yield cluster
    cluster.end_watches()


@pytest.fixture
def client(cluster: KubeCluster) -> Iterator[ApiClient]:
    with serving(cluster, None) as port:
        client = ApiClient(Access("127.0.0.1", port, is_tls=False))
        yield client
        client.close()


def names(client: ApiClient, field_selector: str = "") -> list[str]:
    listing = client.list_all("pods", field_selector=field_selector, timeout_s=5)
    return [document["metadata"]["name"] for document in listing.items]


def seen(events: list[Event] | None) -> list[tuple[str, str]]:
    return [(e.kind, e.document["metadata"].get("name", "")) for e in events or ()]


@pytest.fixture
def watch(client: ApiClient, cluster: KubeCluster) -> Iterator[Watch]:
    watch = client.watch("pods", str(cluster.version), timeout_s=5)
    yield watch
    watch.close()


# ---- lists -------------------------------------------------------------------------------------


def test_a_list_is_read_page_by_page(client, cluster):
    listing = client.list_all("pods", timeout_s=5)

    assert [d["metadata"]["name"] for d in listing.items] == [f"web-{i}" for i in range(5)]
    assert listing.version == str(cluster.version)
    assert len(cluster.asked) == 3
    assert cluster.connections == 1


def test_a_list_is_asked_for_without_a_version(client, cluster):
    """With one a cache might answer, which may be old."""
    names(client)

    assert not [path for path, _ in cluster.asked if "resourceVersion" in path]


def test_pods_of_one_node_can_be_asked_for(client):
    assert names(client, "spec.nodeName=node-1") == ["web-1", "web-3"]


def test_a_list_of_nothing_is_one(client, cluster):
    for number in range(5):
        cluster.delete("pods", f"web-{number}")

    assert names(client) == []


def test_items_may_be_null(client, cluster):
    cluster.body = b'{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":null}'

    assert client.list_all("pods", timeout_s=5).items == ()


def test_a_list_whose_pages_expire_is_none(client, cluster):
    cluster.expired_pages = 1

    with pytest.raises(Expired, match=r"pods: answers 410 \(The provided continue"):
        names(client)


def test_pages_of_different_versions_make_no_list(client, cluster):
    cluster.body = (
        b'{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"x"},"items":[]}'
    )
    found = cluster._found
    versions = iter((b'"7"', b'"8"'))

    def changing(path: str) -> tuple[int, bytes]:
        status, body = found(path)
        return status, body.replace(b'"7"', next(versions))

    cluster._found = changing  # type: ignore[method-assign]

    with pytest.raises(Unavailable, match="pages of its list are of different versions"):
        names(client)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"kind":"Status","metadata":{"resourceVersion":"7"},"items":[]}',
        b'{"kind":"PodList","metadata":null,"items":[]}',
        b'{"kind":"PodList","metadata":{"resourceVersion":""},"items":[]}',
        b'{"kind":"PodList","metadata":{"resourceVersion":7},"items":[]}',
        b'{"kind":"PodList","metadata":{"resourceVersion":"7","continue":1},"items":[]}',
        b'{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":{"a":1}}',
        b'{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[null]}',
        b'{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[{"metadata',
    ],
)
def test_what_is_no_list_is_refused(client, cluster, body):
    cluster.body = body

    with pytest.raises(Invalid):
        names(client)


@pytest.mark.parametrize(("status", "kind"), [(401, Refused), (403, Refused), (503, Unavailable)])
def test_a_list_or_watch_that_is_not_given_is_named(client, cluster, status, kind):
    cluster.status, cluster.body = status, refusal(status, "Because", "not for you")

    for ask in (names, lambda client: client.watch("pods", "7", timeout_s=5)):
        with pytest.raises(kind, match=rf"pods: answers {status} \(not for you\)"):
            ask(client)


def test_a_slow_list_is_given_up(client, cluster):
    cluster.pause_s = 0.5

    with pytest.raises(Unavailable, match=r"no answer within 0.2 s"):
        client.list_all("pods", timeout_s=0.2)


# ---- is there none? ----------------------------------------------------------------------------


def absence(client: ApiClient, name: str = "web-9") -> bool:
    with pytest.raises(Refused) as caught:
        client.get("pods", name, namespace="default", timeout_s=5)
    return caught.value.says_there_is_no("pods", name)


def test_the_api_says_of_what_there_is_none(client):
    assert absence(client)


@pytest.mark.parametrize(
    "body",
    [
        b"404 page not found\n",
        b"",
        b"[]",
        refusal(404, "NotFound", "the server could not find the requested resource"),
        refusal(404, "NotFound", "not found", name="web-8", kind="pods"),
        refusal(404, "Gone", "not found", name="web-9", kind="pods"),
    ],
)
def test_a_404_that_does_not_say_of_what_proves_nothing(client, cluster, body):
    cluster.not_found = body

    assert not absence(client)


# ---- watches -----------------------------------------------------------------------------------


def test_a_watch_tells_what_comes_after_the_version(cluster, watch):
    cluster.put_pod("web-0", "node-0", uid="u2")
    cluster.put_pod("web-5", "node-0")
    cluster.delete("pods", "web-1")
    cluster.put_node("node-0")
    cluster.bookmark()

    events: list[Event] = []
    while not events or events[-1].kind != "BOOKMARK":
        events += watch.read(5) or ()

    assert seen(events) == [
        ("MODIFIED", "web-0"),
        ("ADDED", "web-5"),
        ("DELETED", "web-1"),
        ("BOOKMARK", ""),
    ]
    assert events[-1].version == str(cluster.version)


def test_a_watch_that_the_api_ends_has_ended(cluster, watch):
    cluster.end_watches()

    assert watch.read(5) is None


def test_a_watch_that_breaks_off_is_known_for_it(cluster, watch):
    cluster.tear_watches()

    with pytest.raises(Unavailable, match="breaks off"):
        watch.read(5)


def test_a_watch_whose_other_side_is_silent_is_given_up(cluster, watch):
    cluster.is_mute = True
    cluster.put_pod("web-9", "node-0")

    with pytest.raises(Unavailable, match=r"tells nothing for 0.1 s"):
        watch.read(0.1)


@pytest.mark.parametrize("tells_by_event", [False, True])
def test_a_watch_from_too_old_a_version_has_expired(client, cluster, tells_by_event):
    cluster.forgotten, cluster.tells_expiry_by_event = cluster.version, tells_by_event

    with pytest.raises(Expired, match="410"):
        read_all(client, str(cluster.version))


def read_all(client: ApiClient, after: str = "7") -> list[tuple[str, str]]:
    """What a watch tells until it ends."""
    found: list[Event] = []
    with closing(client.watch("pods", after, timeout_s=5)) as watch:
        while events := watch.read(5):
            found += events
    return seen(found)


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b"[]",
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":{"metadata":{}}}',
        b'{"type":"ADDED","object":{"metadata":{"resourceVersion":7}}}',
        b'{"type":"NEWER","object":{"metadata":{"resourceVersion":"7"}}}',
        b'{"type":"ERROR","object":null}',
    ],
)
def test_what_is_no_event_is_refused(client, cluster, line):
    cluster.stream = lambda path: iter([line + b"\n"])  # type: ignore[method-assign]

    with pytest.raises(Invalid, match="no event"):
        read_all(client)


def test_an_error_that_is_not_about_the_version_is_no_expiry(client, cluster):
    line = b'{"type":"ERROR","object":' + refusal(500, "InternalError", "etcd") + b"}\n"
    cluster.stream = lambda path: iter([line])  # type: ignore[method-assign]

    with pytest.raises(Unavailable, match=r"ends the watch with 500 \(etcd\)") as caught:
        read_all(client)
    assert not isinstance(caught.value, Expired)


def test_an_event_may_come_in_pieces(client, cluster):
    line = b'{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"7"}}}\n'
    cluster.stream = lambda path: iter([line[:9], line[9:] + line[:30], line[30:]])  # type: ignore[method-assign]

    assert read_all(client) == [("ADDED", "a"), ("ADDED", "a")]


def test_closing_a_watch_ends_who_waits_for_it(watch):
    assert_closing_ends(watch)


def test_closing_a_watch_over_tls_ends_who_waits_for_it(cluster, tmp_path):
    certificates = make_certificates(tmp_path)
    with serving(cluster, certificates) as port:
        client = ApiClient(Access("127.0.0.1", port, authority=certificates.ca))
        watch = client.watch("pods", str(cluster.version), timeout_s=5)
        cluster.bookmark()
        assert seen(watch.read(5)) == [("BOOKMARK", "")]
        assert_closing_ends(watch)
        cluster.end_watches()


def assert_closing_ends(watch: Watch) -> None:
    ended: list[Exception | None] = []

    def wait() -> None:
        try:
            ended.append(watch.read(30))  # type: ignore[arg-type]
        except Unavailable as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    watch.close()
    thread.join(5)

    assert not thread.is_alive()
    assert len(ended) == 1

"""Against a server of our own, over real TLS."""

import base64
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from datamodel.errors import Invalid, OcicatError, Unavailable
from kube_api.access import Access
from kube_api.client import MAX_IDLE, ApiClient, Refused
from tests.etcd_server import Certificates, free_ports, make_certificates
from tests.kube_server import NAMESPACES, POD, PODS, Api, refusal, serving


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def access(api: Api, certificates: Certificates, tmp_path: Path) -> Iterator[Access]:
    (tmp_path / "token").write_text("secret\n")
    shutil.copy(certificates.ca, tmp_path / "ca.crt")
    with serving(api, certificates) as port:
        yield Access("127.0.0.1", port, authority=tmp_path / "ca.crt", token=tmp_path / "token")


@pytest.fixture
def client(access: Access) -> Iterator[ApiClient]:
    client = ApiClient(access)
    yield client
    client.close()


def get(client: ApiClient, timeout_s: float = 5.0):
    return client.get("pods", "web-0", namespace="shop", timeout_s=timeout_s)


def failure(client: ApiClient, kind: type[OcicatError], timeout_s: float = 5.0) -> str:
    with pytest.raises(kind) as caught:
        get(client, timeout_s)
    assert type(caught.value) is kind
    return str(caught.value)


# ---- what is read ------------------------------------------------------------------------------


def test_a_resource_is_read_with_the_token(api, client):
    assert get(client) == POD
    assert api.asked == [(PODS, "Bearer secret")]


def test_a_name_cannot_lead_elsewhere(api, client):
    with pytest.raises(Refused):
        client.get("pods", "../../../nodes?x", namespace="a/b", timeout_s=5)

    assert api.asked[0][0] == "/api/v1/namespaces/a%2Fb/pods/..%2F..%2F..%2Fnodes%3Fx"


def test_an_answer_in_chunks_is_read(api, client):
    api.is_chunked = True

    assert get(client) == get(client) == POD
    assert api.connections == 1


def test_a_long_answer_is_read_to_its_end(api, client):
    api.documents[PODS] = {**POD, "more": ["x" * 1000] * 2000}

    assert len(get(client)["more"]) == 2000


def test_a_proxys_path_comes_first(api, access):
    api.documents[f"/k8s{PODS}"] = POD
    client = ApiClient(replace(access, prefix="/k8s"))

    assert get(client) == POD
    client.close()


def test_without_tls_it_works_too(api):
    with serving(api, None) as port:
        client = ApiClient(Access("127.0.0.1", port, is_tls=False))
        assert get(client) == POD
        client.close()
    assert api.asked == [(PODS, None)]


# ---- who is who --------------------------------------------------------------------------------


def test_a_client_certificate_is_shown(api, certificates):
    pems = [p.read_bytes() for p in (certificates.ca, certificates.client, certificates.client_key)]
    with serving(api, certificates, wants_client=True) as port:
        client = ApiClient(
            Access("127.0.0.1", port, authority=pems[0], certificate=pems[1], key=pems[2])
        )
        assert get(client) == POD
        client.close()
    assert api.clients == ["client"]


def test_a_server_that_wants_a_certificate_does_not_serve_us_without(api, certificates):
    with serving(api, certificates, wants_client=True) as port:
        client = ApiClient(Access("127.0.0.1", port, authority=certificates.ca))
        failure(client, Unavailable)  # in what words depends on who is quicker
        client.close()
    assert api.asked == []


def test_a_kubeconfig_is_read_anew_when_it_changes(api, access, tmp_path, certificates):
    path = tmp_path / "kubeconfig"

    def write(token: str) -> None:
        data = base64.b64encode(certificates.ca.read_bytes()).decode()
        server = f"https://127.0.0.1:{access.port}"
        cluster = {"server": server, "certificate-authority-data": data}
        document = {
            "clusters": [{"name": "a", "cluster": cluster}],
            "users": [{"name": "b", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "a", "user": "b"}}],
            "current-context": "c",
        }
        path.write_text(yaml.safe_dump(document))

    client = ApiClient(path)
    with pytest.raises(Invalid, match=rf"^kubeconfig {path}: {path}: cannot be read: No such file"):
        get(client)
    for token in ("first", "other"):  # equally long, and maybe in the same tick of the clock
        write(token)
        get(client)
    client.close()

    assert [token for _, token in api.asked] == ["Bearer first", "Bearer other"]


def test_a_token_that_is_rotated_is_used_from_the_next_request_on(api, client, tmp_path):
    get(client)
    (tmp_path / "token").write_text("second")
    get(client)

    assert [token for _, token in api.asked] == ["Bearer secret", "Bearer second"]
    assert api.connections == 1


def test_an_authority_that_is_rotated_vouches_for_no_kept_connection(client, tmp_path):
    get(client)
    strange = make_certificates(tmp_path)
    shutil.copy(strange.ca, tmp_path / "ca.crt")

    assert "its certificate is not trusted: " in failure(client, Invalid)


def test_a_stranger_is_not_told_the_token(api, access, tmp_path):
    strange = make_certificates(tmp_path)
    client = ApiClient(replace(access, authority=strange.ca))

    assert "its certificate is not trusted: " in failure(client, Invalid)
    assert api.asked == []


def test_a_certificate_for_another_name_is_not_trusted(access):
    client = ApiClient(replace(access, server_name="api.example.org"))

    assert "Hostname mismatch" in failure(client, Invalid)


def test_verification_may_be_waived(access, tmp_path):
    strange = make_certificates(tmp_path)
    client = ApiClient(replace(access, authority=strange.ca, is_verified=False))

    assert get(client) == POD
    client.close()


@pytest.mark.parametrize("name", ["token", "ca.crt"])
def test_a_missing_file_is_named(access, client, name, tmp_path):
    (tmp_path / name).unlink()

    assert failure(client, Invalid) == (
        f"{access}: {tmp_path / name}: cannot be read: No such file or directory"
    )


@pytest.mark.parametrize("token", ["", "two\nlines", "nöt"])
def test_a_token_that_is_none_is_told(access, client, token, tmp_path):
    (tmp_path / "token").write_text(token)

    assert failure(client, Invalid) == f"{access}: {tmp_path / 'token'} is not a token"


@pytest.mark.parametrize("text", [b"", b"nothing", b"\xff"])
def test_an_authority_that_is_none_is_told(access, client, text, tmp_path):
    (tmp_path / "ca.crt").write_bytes(text)

    assert failure(client, Invalid).startswith(f"{access}: {tmp_path / 'ca.crt'}: no certificate: ")


def test_a_key_that_does_not_fit_its_certificate_is_told(access, certificates):
    client = ApiClient(
        replace(access, certificate=certificates.client, key=certificates.server_key)
    )

    assert "no certificate: KEY_VALUES_MISMATCH" in failure(client, Invalid)


# ---- connections -------------------------------------------------------------------------------


def test_a_connection_is_kept(api, client):
    for _ in range(5):
        get(client)

    assert api.connections == 1


def test_a_kept_connection_that_the_server_has_closed_is_replaced(api, client):
    get(client)
    api.closes = "after"
    get(client)  # it answers and closes without a word
    api.closes = ""

    assert get(client) == POD
    assert api.connections == 2


def test_a_kept_connection_that_the_network_has_forgotten_is_replaced(api, client):
    get(client)
    api.forgets = True

    assert get(client, timeout_s=1.0) == POD
    assert api.connections == 2


def test_a_server_that_closes_every_connection_is_asked_twice_at_most(api, client):
    get(client)
    api.closes = "before"

    assert "Remote end closed connection without response" in failure(client, Unavailable)
    assert len(api.asked) == 3


def test_many_threads_leave_few_connections(api, client):
    threads = [threading.Thread(target=get, args=(client,)) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = api.connections

    assert len(api.asked) == 30
    assert len(client._idle) <= MAX_IDLE
    assert get(client) == POD
    assert api.connections == before


def test_what_breaks_off_leaves_no_connection_open(api, client):
    api.closes = "middle"
    failure(client, Unavailable)
    api.closes = ""
    api.pause_s = 0.2
    failure(client, Unavailable, timeout_s=0.1)

    assert not client._idle


# ---- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (401, refusal(401, "Unauthorized", "Unauthorized"), "answers 401 (Unauthorized)"),
        (
            403,
            refusal(403, "Forbidden", 'pods "web-0" is forbidden: User "x" cannot get resource'),
            'answers 403 (pods "web-0" is forbidden: User "x" cannot get resource)',
        ),
        (404, refusal(404, "NotFound", 'pods "web-0" not found'), '404 (pods "web-0" not found)'),
        (302, b"", "answers 302"),
        (400, b"<html>", "answers 400"),
    ],
)
def test_a_refusal_says_what_the_api_says(api, access, client, status, body, text):
    api.status, api.body = status, body

    with pytest.raises(Refused) as caught:
        get(client)

    assert str(caught.value).startswith(f"{access}: pods shop/web-0: ")
    assert str(caught.value).endswith(text)
    assert caught.value.status == status


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_may_answer_later(api, access, client, status):
    api.status = status

    assert failure(client, Unavailable) == f"{access}: pods shop/web-0: answers {status}"


def test_a_long_reason_is_cut(api, client):
    api.status, api.body = 503, refusal(503, "x", "\x1b[2J" + "a" * 1000)

    message = failure(client, Unavailable)

    assert message.endswith(f"answers 503 ([2J{'a' * 297})")


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'"x"', b"\xff", b"[" * 100_000])
def test_garbage_is_told(api, access, client, body):
    api.body = body

    expected = f"{access}: pods shop/web-0: its answer is not a JSON object"
    assert failure(client, Invalid) == expected


def test_an_answer_without_end_is_given_up(api, client):
    api.body = b"x" * (9 << 20)

    assert failure(client, Unavailable).endswith("its answer is longer than 8388608 bytes")


@pytest.mark.parametrize("is_chunked", [False, True])
def test_half_an_answer_is_none(api, client, is_chunked):
    api.closes, api.is_chunked = "middle", is_chunked

    assert failure(client, Unavailable).endswith("it breaks off in the middle of its answer")


def test_an_answer_that_is_shorter_than_promised_is_none(api, client):
    api.length, api.closes = 10_000, "after"

    assert failure(client, Unavailable).endswith("it breaks off in the middle of its answer")


@pytest.mark.parametrize("timeout_s", [0.05, 0.15])  # before the answer, and in the middle of it
def test_a_server_that_is_slow_is_not_waited_for(api, access, client, timeout_s):
    api.pause_s = 0.1

    expected = f"{access}: pods shop/web-0: no answer within {timeout_s:g} s"
    assert failure(client, Unavailable, timeout_s) == expected


def test_a_server_that_drips_is_not_waited_for_either(api, client):
    api.drip_s = 0.02  # each byte well within any timeout of a single read
    begun = time.monotonic()

    assert failure(client, Unavailable, 0.3).endswith("no answer within 0.3 s")
    assert time.monotonic() - begun < 2


def test_a_server_that_does_not_even_speak_tls_is_not_waited_for(access):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = ApiClient(replace(access, port=silent.getsockname()[1]))

        assert failure(client, Unavailable, 0.05).endswith("no answer within 0.05 s")


def test_a_server_that_speaks_something_else_is_told(access):
    with socket.create_server(("127.0.0.1", 0)) as other:
        client = ApiClient(
            replace(access, port=other.getsockname()[1], is_tls=False, authority=None)
        )

        def answer() -> None:
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert "SSH-2.0" in failure(client, Unavailable)
        thread.join()


def test_a_server_that_is_not_there_may_come(access):
    (port,) = free_ports(1)

    message = failure(ApiClient(replace(access, port=port)), Unavailable)

    assert message.endswith("Connection refused")


def test_a_refused_request_leaves_the_connection_usable(api, client):
    with pytest.raises(Refused):
        client.get("pods", "none", namespace="shop", timeout_s=5)

    assert client.get("namespaces", "shop", timeout_s=5)["kind"] == "Namespace"
    assert [path for path, _ in api.asked][1] == NAMESPACES
    assert api.connections == 1

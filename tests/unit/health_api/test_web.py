"""What a daemon's health says, over HTTP as kubelet reads it."""

import asyncio
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from prometheus_client import CollectorRegistry, Counter

from datamodel.errors import Invalid, Unavailable
from health_api.web import Check, WebServer, loop_check

SETTING = "OCICAT_SOME_METRICS"


@contextmanager
def served(host: str = "127.0.0.1", **checks: Check) -> Iterator[str]:
    registry = CollectorRegistry()
    Counter("pods", "Pods.", registry=registry)
    paths = {f"/{name}": check for name, check in checks.items()}
    server = WebServer(SETTING, (host, 0), registry, paths)
    try:
        yield f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"
    finally:
        server.stop()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_what_is_well_is_200_and_what_is_not_503_with_the_reason():
    def unavailable() -> str:
        raise Unavailable("BIRD x: no answer")

    checks = {"liveness": lambda: "", "readiness": lambda: "not yet", "other": unavailable}
    with served(**checks) as where:
        assert get(f"{where}/liveness") == (200, "ok\n")
        assert get(f"{where}/readiness") == (503, "not yet\n")
        assert get(f"{where}/other") == (503, "BIRD x: no answer\n")


def test_everywhere_else_are_the_metrics():
    with served(liveness=lambda: "") as where:
        assert "pods_total 0.0" in get(f"{where}/metrics")[1]


async def test_an_event_loop_that_runs_is_well():
    check = loop_check(asyncio.get_running_loop())

    assert await asyncio.to_thread(check) == ""


async def test_what_is_asked_on_an_event_loop_is_told():
    check = loop_check(asyncio.get_running_loop(), lambda: "etcd does not answer")

    assert await asyncio.to_thread(check) == "etcd does not answer"


async def test_what_fails_on_an_event_loop_fails_for_who_asks():
    def ask() -> str:
        raise Unavailable("etcd x: no answer")

    check = loop_check(asyncio.get_running_loop(), ask)

    with pytest.raises(Unavailable, match="etcd x"):
        await asyncio.to_thread(check)


def test_an_event_loop_that_has_ended_is_told():
    loop = asyncio.new_event_loop()
    check = loop_check(loop)
    loop.close()

    assert check() == "the event loop has ended"


async def test_an_event_loop_that_is_stuck_is_told():
    check = loop_check(asyncio.get_running_loop(), timeout_s=0.05)
    asking = asyncio.create_task(asyncio.to_thread(check))
    await asyncio.sleep(0)

    time.sleep(0.3)  # noqa: ASYNC251 - that is what stuck means

    assert await asking == "the event loop is stuck"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_place_that_is_taken_is_refused(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.create_server((host, 0), family=family)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Invalid, match=rf"{SETTING} .*:{port}: Address already"):
            WebServer(SETTING, (host, port), CollectorRegistry(), {})


def test_ipv6_is_served_as_well():
    with served("::1", liveness=lambda: "") as where:
        assert get(f"{where}/liveness") == (200, "ok\n")

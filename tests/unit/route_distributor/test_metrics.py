"""What the metrics show, over HTTP as others read it."""

import re
import urllib.request
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from bird_api.channels import Channel, Seen
from bird_api.protocols import Session
from datamodel.errors import Unavailable
from health_api.web import WebServer
from route_distributor.meter import Pass
from route_distributor.metrics import Metrics

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
PARTS = ("bird", "nat")


class FakeMirror:
    is_ready = True
    revision = 7
    restorations = 2


def a_session(number: int, info: str, state: str = "up") -> Session:
    address = ip_address(f"10.0.0.{number}")
    return Session(f"Mesh_10_0_0_{number}", address, "node-to-node mesh", state, "", info)


SEEN = Seen(
    (
        a_session(1, "Established"),
        a_session(2, "Established"),
        a_session(3, "Active Socket: Connection refused"),
        a_session(4, "", "down"),
        a_session(5, "Close"),
    ),
    (Channel("Mesh_10_0_0_1", 4, 3, 2), Channel("Mesh_10_0_0_2", 4, 4, 2)),
    is_recovering=True,
)


def no_bird() -> Seen:
    raise Unavailable("BIRD x: no answer within 2 s")


@contextmanager
def served(look=lambda: SEEN):
    metrics = Metrics(PARTS, FakeMirror(), look)
    server = WebServer("OCICAT_ROUTES_METRICS", ("127.0.0.1", 0), metrics.registry, {})
    try:
        yield metrics, server
    finally:
        server.stop()


def page(server: WebServer) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def shown(server: WebServer) -> dict[tuple[str, ...], float]:
    return {
        (s.name.removeprefix("ocicat_routes_"), *s.labels.values()): s.value
        for family in text_string_to_metric_families(page(server))
        for s in family.samples
    }


# ---- metrics -----------------------------------------------------------------------------------


def test_passes_are_counted_by_what_came_of_them():
    with served() as (metrics, server):
        metrics.count(Pass("nat", 0.01, changed=2, converged_s=0.3))
        metrics.count(Pass("nat", 0.01, changed=1, is_healing=True))
        metrics.count(Pass("bird", 0.5, "failed"))
        metrics.show_problems(4)
        values = shown(server)

    assert values["passes_total", "ok", "nat"] == 2
    assert values["passes_total", "failed", "bird"] == 1
    assert values["changes_total", "nat"] == 2
    assert values["healed_total", "nat"] == 1
    assert values["apply_duration_seconds_sum", "bird"] == 0.5
    assert values["convergence_seconds_count", "nat"] == 1
    assert values["convergence_seconds_sum", "nat"] == 0.3
    assert values["problems",] == 4


def test_everything_is_there_from_the_start():
    with served() as (_, server):
        values = shown(server)

    assert values["healed_total", "nat"] == 0
    assert values["passes_total", "bug", "bird"] == 0
    assert values["convergence_seconds_count", "bird"] == 0


def test_how_well_etcd_is_followed_is_shown():
    with served() as (_, server):
        values = shown(server)

    assert values["watch_ready",] == 1
    assert values["revision",] == 7
    assert values["restorations_total",] == 2


def test_bird_is_asked_for_sessions_and_prefixes():
    with served() as (_, server):
        values = shown(server)

    assert values["bird_up",] == 1
    assert values["bird_recovering",] == 1
    states = {key[1]: value for key, value in values.items() if key[0] == "sessions" and value}
    assert states == {"established": 2, "active": 1, "down": 1, "other": 1}
    assert values["prefixes", "in", "ipv4"] == 7
    assert values["prefixes", "out", "ipv4"] == 4
    assert values["prefixes", "in", "ipv6"] == 0


def test_without_bird_the_rest_is_shown():
    with served(no_bird) as (_, server):
        values = shown(server)

    assert values["bird_up",] == 0
    assert values["watch_ready",] == 1
    assert not [key for key in values if key[0] == "sessions"]


def test_the_page_of_metrics_has_them_all():
    with served() as (_, server):
        text = page(server)
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ocicat")}
    described = set(re.findall(r"`(ocicat_routes_\w+)`", PAGE.read_text()))

    assert described == names

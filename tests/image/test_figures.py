"""How much the daemons take of a node, and how soon they serve; printed for docs/image.md."""

import sys
import time
from pathlib import Path

from ocicatctl.lab import daemons
from ocicatctl.lab.pidfile import PidFile
from tests.image.containers import IMAGE, ROLES, podman

RUNS = 5
BUDGET_MB = 500  # of a node, for all containers together


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident, and of that what is the process's share if pages are shared."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in (x.partition(":") for x in lines)}
    return kilobytes["Rss"] / 1000, kilobytes["Pss"] / 1000


def started_s(node, daemon: str) -> tuple[float, float]:
    """Start a daemon; return how long its container took, and then the daemon until it served."""
    daemons.kill(node, daemon)
    if daemon == "route-distributor":
        Path(node.environment["OCICAT_BIRD_CONFIG"]).unlink()  # it serves once this is there
    begun = time.monotonic()
    daemons.start(node, daemon, wait=False)
    return time.monotonic() - begun, daemons.start(node, daemon)


def test_figures(lab, node):
    for number in range(20):
        lab.add_pod(node, f"pod-{number}")
    took = {daemon: [started_s(node, daemon) for _ in range(RUNS)] for daemon in ROLES}
    for number in range(20, 40):
        lab.add_pod(node, f"pod-{number}")

    size = int(podman("image", "inspect", "--format", "{{.Size}}", IMAGE))
    lines = [
        f"image: {size / 1_000_000:.0f} MB",
        "",
        "| daemon | container s | serves s | RSS MB |",
    ]
    total = 0.0
    for daemon in ROLES:
        container, serves = (
            sorted(column)[RUNS // 2] for column in zip(*took[daemon], strict=True)
        )
        pid = PidFile(node.directory, daemon).read()
        assert pid is not None
        rss, pss = memory_mb(pid)
        total += rss
        lines.append(f"| {daemon} | {container:.2f} | {serves:.2f} | {rss:.0f} ({pss:.0f}) |")
    sys.stderr.write("\n".join(["", *lines, f"sum of RSS: {total:.0f} MB", ""]))

    assert total < BUDGET_MB

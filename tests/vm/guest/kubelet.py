"""Runs in a guest, with the runtime's real CRI: keeps a sandbox for every pod of this node.

Edge: files, gRPC by way of tests.runtimes.cri. A pod is a file in ``/etc/ocicat-pods`` named as
the pod; ``/run/ocicat-pods.json`` says what became of it. As a kubelet does, it replaces after a
reboot the sandboxes of before, and removes those whose pods are gone.

``kubelet.py churn N`` instead adds and deletes sandboxes N at a time until it gets SIGTERM, and
prints how often, and what failed.
"""

import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc

from tests.runtimes import cri_pb2 as pb
from tests.runtimes.cri import Cri

SOCKET = Path("/run/containerd/containerd.sock")
WANTED = Path("/etc/ocicat-pods")
STATUS = Path("/run/ocicat-pods.json")
TASKS = Path("/run/containerd/io.containerd.runtime.v2.task/k8s.io")
PERIOD_S = 0.5
CGROUP = "/ocicat-pods"


def main() -> None:
    """Keep the pods until the machine ends."""
    WANTED.mkdir(exist_ok=True)
    cri = Cri(SOCKET, CGROUP)
    status: dict[str, dict[str, str]] = {}
    while True:
        try:
            status = step(cri, status)
        except grpc.RpcError as error:
            sys.stderr.write(f"{error.code()}: {error.details()}\n")  # another try follows
        time.sleep(PERIOD_S)


def step(cri: Cri, before: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """Take away what is not wanted or does not run, add what is missing."""
    wanted = {path.name for path in WANTED.iterdir()}
    if wanted == before.keys():
        return before  # asking costs an emulated processor too much to do it always
    runs = {}
    for sandbox in cri.listing():
        name = sandbox.metadata.name
        if name.startswith("churn-"):
            continue
        if name in wanted and sandbox.state == pb.SANDBOX_READY and name not in runs:
            runs[name] = sandbox.id
        else:
            cri.remove(sandbox.id)
    begun = {name: cri.begin(name) for name in sorted(wanted - runs.keys())}
    failed = []
    for name, call in begun.items():
        try:
            runs[name] = call.result().pod_sandbox_id
        except grpc.RpcError as error:
            failed.append(f"{name}: {error.details()}\n")
    sys.stderr.writelines(failed)
    after = {
        name: {"id": i, "address": cri.address(i), "pid": (TASKS / i / "init.pid").read_text()}
        for name, i in sorted(runs.items())
    }
    new = STATUS.with_suffix(".new")
    new.write_text(json.dumps(after))
    new.replace(STATUS)
    return after


def churn(width: int) -> None:
    """Add and delete until SIGTERM, then say how it went."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    cri = Cri(SOCKET, CGROUP)
    done = {"adds": 0, "dels": 0}
    failures: list[str] = []
    longest_s = 0.0
    while not stopped:
        names = [f"churn-{done['adds']}-{i}" for i in range(width)]
        begun = time.monotonic()
        sandboxes = list(_results([cri.begin(name) for name in names], failures))
        done["adds"] += len(sandboxes)
        ids = [answer.pod_sandbox_id for answer in sandboxes]
        done["dels"] += len(list(_results([cri.begin_stop(i) for i in ids], failures)))
        longest_s = max(longest_s, time.monotonic() - begun)
        list(_results([cri.begin_remove(i) for i in ids], failures))
    said = {**done, "failures": failures, "longest_s": round(longest_s, 1)}
    sys.stdout.write(json.dumps(said) + "\n")


def _results(calls: list[grpc.Future], failures: list[str]) -> Iterator[pb.RunPodSandboxResponse]:
    for call in calls:
        try:
            yield call.result()
        except grpc.RpcError as error:
            failures.append(str(error.details()))


if __name__ == "__main__":
    if sys.argv[1:2] == ["churn"]:
        churn(int(sys.argv[2]))
    else:
        main()

"""deploy/kubernetes as the cluster gets it: rendered by the kustomize in kubectl."""

import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parents[3] / "deploy" / "kubernetes"
OVERLAYS = ("native-bgp", "ipip", "vxlan", "dual-stack")

Document = dict[str, Any]


def kubectl(*arguments: str) -> str:
    """Run kubectl, which needs no cluster for this."""
    program = shutil.which("kubectl")
    assert program, (
        "kubectl: not found; run `make setup`, or install it (Debian: kubernetes-client)"
    )
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
    return done.stdout


@functools.cache
def render(overlay: str) -> tuple[Document, ...]:
    """Every resource of an overlay."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "kubernetes")
        shutil.copytree(MANIFESTS, copy)
        if is_old():
            for file in copy.rglob("kustomization.yaml"):
                text = file.read_text()
                file.write_text(text.replace("resources:\n- ../", "bases:\n- ../"))
        rendered = kubectl("kustomize", str(copy / "overlays" / overlay))
    return tuple(yaml.safe_load_all(rendered))


def is_old() -> bool:
    """Whether this is Debian 12's kubectl (1.20): to its kustomize directories are ``bases``."""
    minor = re.search(r'Minor:"(\d+)|Client Version: v1\.(\d+)', kubectl("version", "--client"))
    assert minor, "kubectl version: says none"
    return int(minor[1] or minor[2]) < 21


def one(overlay: str, kind: str, name: str) -> Document:
    """The resource of this kind and name."""
    found = [r for r in render(overlay) if (r["kind"], r["metadata"]["name"]) == (kind, name)]
    assert len(found) == 1, f"{overlay}: {len(found)} of {kind} {name}"
    return found[0]


def workloads(overlay: str) -> list[Document]:
    """Whatever makes pods."""
    return [r for r in render(overlay) if "template" in r.get("spec", {})]


def containers(workload: Document, *, with_init: bool = True) -> list[Document]:
    """Its containers."""
    spec = workload["spec"]["template"]["spec"]
    return [*(spec.get("initContainers", ()) if with_init else ()), *spec["containers"]]

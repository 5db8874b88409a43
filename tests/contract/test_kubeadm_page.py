"""docs/kubeadm.md: what can be run without a cluster is read from the page and run."""

import base64
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.etcd_server import EtcdServer, make_certificates
from tests.netns.namespaces import namespaces, run_in
from tests.unit.deploy.manifests import MANIFESTS, containers, is_old, kubectl, one, workloads

PAGE = (MANIFESTS.parents[1] / "docs" / "kubeadm.md").read_text()
_BLOCK = re.compile(r"^(<!-- needs a cluster -->\n)?```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [m.groups() for m in _BLOCK.finditer(PAGE)]
RUNNABLE = [text for mark, language, text in BLOCKS if language == "sh" and not mark]
OVERLAYS = [text for _, language, text in BLOCKS if language == "yaml"]


def block(text: str) -> str:
    """The runnable block that has *text* in it."""
    (found,) = (block for block in RUNNABLE if text in block)
    return found


def bash(script: str, directory: Path, **environment: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_is_run_here_or_says_that_it_needs_a_cluster():
    used = {"openssl req", "etcd-cert=ocicat-etcd.crt", "ipamd-username", "ip6tables-save"}

    assert {block(text) for text in used} == set(RUNNABLE)
    assert len(BLOCKS) == len(re.findall(r"^```\w", PAGE, re.MULTILINE))


def test_kubeadm_s_etcd_takes_the_certificate_that_the_page_makes(tmp_path):
    pki = tmp_path / "pki"
    pki.mkdir()
    made = make_certificates(pki)
    made.ca.rename(pki / "ca.crt")
    (pki / "ca-key.pem").rename(pki / "ca.key")
    before = sorted(pki.iterdir())

    bash(block("openssl req"), tmp_path, PKI=str(pki))

    assert sorted(pki.iterdir()) == before  # nothing of kubeadm's is touched
    ours = replace(
        made,
        ca=tmp_path / "ocicat-etcd-ca.crt",
        client=tmp_path / "ocicat-etcd.crt",
        client_key=tmp_path / "ocicat-etcd.key",
    )
    with EtcdServer(certificates=ours) as etcd:
        etcd.ctl("put", "/calico/x", "1")


def secret_of(script: str, directory: Path) -> dict[str, str]:
    """What the Secret holds that a block makes."""
    for name in ("ocicat-etcd-ca.crt", "ocicat-etcd.crt", "ocicat-etcd.key"):
        (directory / name).write_text(name)
    offline = 'kubectl() { command kubectl "$@" --dry-run=client -o yaml; }\n'
    document = yaml.safe_load(bash(offline + script, directory))
    where = document["metadata"]
    assert (where["namespace"], where["name"]) == ("kube-system", "ocicat-etcd-secrets")
    return {k: base64.b64decode(v or "").decode() for k, v in document["data"].items()}


def test_the_secret_has_the_files_that_the_manifests_mount(tmp_path):
    found = secret_of(block("etcd-cert=ocicat-etcd.crt"), tmp_path)

    for kind, name in (("DaemonSet", "ocicat-node"), ("Deployment", "ocicat-kube-controllers")):
        pod = one("ipip", kind, name)["spec"]["template"]["spec"]
        (volume,) = (v["secret"] for v in pod["volumes"] if v["name"] == "etcd-certs")
        assert {item["key"] for item in volume["items"]} == set(found)


def test_the_secret_has_the_users_that_the_manifests_name(tmp_path):
    found = secret_of(block("ipamd-username"), tmp_path)

    named = {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for workload in workloads("ipip")
        for each in containers(workload)
        for variable in each.get("env", ())
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    assert named == {key for key in found if not key.startswith("etcd-")}
    access = (MANIFESTS.parents[1] / "docs" / "etcd-access.md").read_text()
    for daemon in ("ipamd", "routes", "controllers"):
        user, password = found[f"{daemon}-username"], found[f"{daemon}-password"]
        assert f"etcdctl user add {user}:{password}" in access


@pytest.mark.parametrize("number", range(len(OVERLAYS)))
def test_an_overlay_of_the_page_renders(number, tmp_path):
    if is_old() and "patches:" in OVERLAYS[number]:
        pytest.skip("kubectl 1.20 has no patches inside of a kustomization; the page asks for 1.21")
    shutil.copytree(MANIFESTS, tmp_path / "ocicat" / "deploy" / "kubernetes")
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "kustomization.yaml").write_text(OVERLAYS[number])
    for file in tmp_path.rglob("kustomization.yaml") if is_old() else ():
        file.write_text(file.read_text().replace("resources:\n- ../", "bases:\n- ../"))

    rendered = {
        (r["kind"], r["metadata"]["name"]): r
        for r in yaml.safe_load_all(kubectl("kustomize", str(ours)))
    }

    assert len(rendered) == 10
    config = rendered["ConfigMap", "ocicat-config"]["data"]
    assert config["etcd_endpoints"].startswith("https://10.0.0.11:2379")
    assert config["etcd_ca"] == "/ocicat-secrets/etcd-ca"
    assert rendered["ConfigMap", "ocicat-node"]["data"]["CALICO_IPV4POOL_IPIP"] == "Always"
    pod = rendered["DaemonSet", "ocicat-node"]["spec"]["template"]["spec"]
    if "registry.example.org" in OVERLAYS[number]:
        assert pod["containers"][0]["image"] == "registry.example.org/ocicat:0.1.0"
    if "nodeSelector" in OVERLAYS[number]:
        assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "ocicat.io/node": "true"}


FELIX = """
*filter
:cali-FORWARD - [0:0]
:cali-from-wl-dispatch - [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-A FORWARD -j KUBE-FORWARD
-A cali-FORWARD -i cali+ -j cali-from-wl-dispatch
-A cali-from-wl-dispatch -m comment --comment "Unknown interface" -j DROP
-A KUBE-FORWARD -j ACCEPT
COMMIT
"""


def test_felix_s_rules_go_and_others_stay(tmp_path):
    with namespaces("node") as (node,):
        for family in ("iptables", "ip6tables"):
            load = ["ip", "netns", "exec", node, f"{family}-restore"]
            subprocess.run(load, input=FELIX, text=True, check=True)

        bash(f"ip netns exec {node} sh -e <<'END'\n{block('ip6tables-save')}END\n", tmp_path)

        for family in ("iptables", "ip6tables"):
            left = run_in(node, f"{family}-save")
            assert "cali" not in left
            assert "-A FORWARD -j KUBE-FORWARD" in left
            assert "-A KUBE-FORWARD -j ACCEPT" in left


def test_the_table_of_containers_is_what_the_manifests_say():
    rows = re.findall(
        r"^\| `([a-z-]+)`.*? \| .*? \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE
    )
    told = {
        name: (user, set(re.findall(r"`(.*?)`", rights)), set(re.findall(r"`(.*?)`", paths)))
        for name, user, rights, paths in rows
    }
    daemon_set = one("ipip", "DaemonSet", "ocicat-node")
    volumes = {
        volume["name"]: volume["hostPath"]["path"]
        for volume in daemon_set["spec"]["template"]["spec"]["volumes"]
        if "hostPath" in volume
    }

    for each in containers(daemon_set):
        rights = each["securityContext"]
        user = "65532" if rights["runAsUser"] else "root"
        mounted = {m["name"] for m in each["volumeMounts"]}
        paths = {path for name, path in volumes.items() if name in mounted}
        assert told[each["name"]] == (user, set(rights["capabilities"].get("add", ())), paths)

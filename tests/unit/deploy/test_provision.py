"""deploy/provision: what the head of a script says that it takes is what it takes."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.deploy.manifests import MANIFESTS, is_old, kubectl

PROVISION = Path(__file__).parents[3] / "deploy" / "provision"
SCRIPTS = {
    path.stem: path.read_text()
    for path in PROVISION.glob("*.sh")
    if path.read_text().startswith("#!")  # lib.sh is for the others
}


def described(script):
    """The variables in a script's head."""
    head = script.partition("\nset -")[0]
    return dict(re.findall(r"^#   ([A-Z][A-Z0-9_]*) +(.+)$", head, re.MULTILINE))


def needed(script):
    """The variables without which a script does nothing."""
    return {
        name for line in re.findall(r"^ *need (.+)$", script, re.MULTILINE) for name in line.split()
    }


def taken(script):
    """The variables that a script reads and does not set to something else before."""
    code = re.sub(r"^ *#.*$", "", script, flags=re.MULTILINE)
    read = set(re.findall(r"(?<!\\)\$\{?([A-Z][A-Z0-9_]*)", code))
    assigned = re.findall(r"^ *(?:export )?([A-Z][A-Z0-9_]*)=(.*)$", code, re.MULTILINE)
    own = {name for name, value in assigned if not re.search(rf"\$\{{?{name}\b", value)}
    return (read | needed(script)) - own


def test_the_machines_of_a_lab_are_made_by_these_scripts():
    assert SCRIPTS.keys() == {"etcd", "kubeadm", "node", "router"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_takes_what_its_head_describes_and_nothing_else(name):
    assert taken(SCRIPTS[name]) == described(SCRIPTS[name]).keys()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_s_head_states_the_defaults_that_it_uses(name):
    script = SCRIPTS[name]
    defaults = set(re.findall(r"\$\{([A-Z][A-Z0-9_]*):-([^}$]+)\}", script))

    wrong = [(of, value) for of, value in defaults if f"({value})" not in described(script)[of]]

    assert wrong == []


def test_kubeadm_s_cluster_gets_the_manifests_with_its_etcd_pool_and_directory(tmp_path):
    shutil.copytree(MANIFESTS, tmp_path, dirs_exist_ok=True)
    (tmp_path / "overlays" / "lab").mkdir()
    function = re.search(r"^overlay\(\) \{$.*?^\}$", SCRIPTS["kubeadm"], re.MULTILINE | re.DOTALL)[
        0
    ]
    settings = (
        "ETCD_ENDPOINTS=http://192.0.2.1:2379 POOL=10.1.0.0/16 CNI_BIN=/usr/lib/cni OVERLAY=ipip"
    )
    script = f"{settings}; {function}; overlay >{tmp_path}/overlays/lab/kustomization.yaml"
    subprocess.run(["bash", "-euc", script], check=True)
    if is_old():
        for file in tmp_path.rglob("kustomization.yaml"):
            file.write_text(file.read_text().replace("resources:\n- ../", "bases:\n- ../"))

    made = yaml.safe_load_all(kubectl("kustomize", str(tmp_path / "overlays" / "lab")))

    maps = {one["metadata"]["name"]: one["data"] for one in made if one["kind"] == "ConfigMap"}
    etcd = {key: value for key, value in maps["ocicat-config"].items() if key.startswith("etcd_")}
    assert etcd == {
        "etcd_endpoints": "http://192.0.2.1:2379",
        **dict.fromkeys(("etcd_ca", "etcd_cert", "etcd_key"), ""),
    }
    assert maps["ocicat-node"]["CALICO_IPV4POOL_CIDR"] == "10.1.0.0/16"
    assert maps["ocicat-node"]["CALICO_IPV4POOL_IPIP"] == "Always"
    assert maps["ocicat-node"]["CNI_BIN_DIR"] == "/usr/lib/cni"

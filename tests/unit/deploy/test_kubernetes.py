"""The manifests of deploy/kubernetes, rendered, against Kubernetes' schemas and our code."""

import ipaddress
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from cni_plugin.config import read_config as server_config
from datamodel.environment import OURS
from ipamd.config import read_config
from ocicatctl.install import conflist
from route_distributor.config import distributor_config
from tests.unit.deploy.manifests import (
    MANIFESTS,
    OVERLAYS,
    containers,
    kubectl,
    one,
    render,
    workloads,
)

ROOT = Path(__file__).parents[3]
# The oldest that the schemas are there for, one in between and the newest.
VERSIONS = ("1.25", "1.31", "1.37")
NODE, CONTROLLERS = "ocicat-node", "ocicat-kube-controllers"
WORKLOADS = (("DaemonSet", NODE), ("Deployment", CONTROLLERS))
CPU_BUDGET, MEMORY_BUDGET = 300, 500_000_000  # of a node: millicores, bytes
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


@pytest.fixture(params=OVERLAYS)
def overlay(request) -> str:
    return request.param


def pod_of(overlay: str, kind: str, name: str) -> dict[str, Any]:
    return one(overlay, kind, name)["spec"]["template"]["spec"]


def container(overlay: str, name: str) -> dict[str, Any]:
    (found,) = (c for w in workloads(overlay) for c in containers(w) if c["name"] == name)
    return found


def environment(overlay: str, name: str) -> dict[str, str]:
    """What a container finds in its environment on node-1, where no Secret has passwords."""
    maps = {r["metadata"]["name"]: r["data"] for r in render(overlay) if r["kind"] == "ConfigMap"}
    spec, found = container(overlay, name), {}
    for source in spec.get("envFrom", ()):
        found |= maps[source["configMapRef"]["name"]]
    for variable in spec.get("env", ()):
        source = variable.get("valueFrom", {})
        if "configMapKeyRef" in source:
            value = maps[source["configMapKeyRef"]["name"]][source["configMapKeyRef"]["key"]]
        elif "secretKeyRef" in source:
            assert source["secretKeyRef"]["optional"]
            continue
        elif "fieldRef" in source:
            assert source["fieldRef"]["fieldPath"] == "spec.nodeName"
            value = "node-1"
        else:
            value = variable["value"]
        found[variable["name"]] = value
    return found


def with_etcd(found: dict[str, str]) -> dict[str, str]:
    """An operator has put his endpoints in."""
    assert found["ETCD_ENDPOINTS"] == "http://<ETCD_IP>:<ETCD_PORT>"
    kubernetes = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    return found | kubernetes | {"ETCD_ENDPOINTS": "https://10.0.0.1:2379"}


# ---- what Kubernetes says of them --------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_what_kubernetes_takes_strictly(version):
    distinct = {json.dumps(r, sort_keys=True) for overlay in OVERLAYS for r in render(overlay)}

    for text in sorted(distinct):
        kubernetes_validate.validate(json.loads(text), version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_takes_it_off_again_is_valid_too(version):
    (resource,) = yaml.safe_load_all(kubectl("kustomize", str(MANIFESTS / "uninstall")))

    kubernetes_validate.validate(resource, version, strict=True)

    (image,) = {each["image"] for each in containers(resource)}
    assert image == container("ipip", "ipamd")["image"]


def test_the_schemas_are_strict():
    wrong = one("ipip", "DaemonSet", NODE) | {"replicas": 3}

    with pytest.raises(kubernetes_validate.ValidationError, match="replicas"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_everything_is_in_kube_system_and_there_once(overlay):
    found = [(r["kind"], r["metadata"]["name"]) for r in render(overlay)]

    assert len(found) == len(set(found))
    for resource in render(overlay):
        is_of_cluster = resource["kind"].startswith("ClusterRole")
        assert is_of_cluster or resource["metadata"]["namespace"] == "kube-system"


# ---- what they may use -------------------------------------------------------------------------


def millicores(text: str) -> int:
    return int(text[:-1]) if text.endswith("m") else int(text) * 1000


def octets(text: str) -> int:
    return int(text[:-2]) * UNITS[text[-2:]]


@pytest.mark.parametrize("bound", ["requests", "limits"])
def test_a_node_s_pod_stays_within_its_budget(overlay, bound):
    daemon_set = one(overlay, "DaemonSet", NODE)
    pod = daemon_set["spec"]["template"]["spec"]
    for key, budget, number in (
        ("cpu", CPU_BUDGET, millicores),
        ("memory", MEMORY_BUDGET, octets),
    ):
        running = sum(number(c["resources"][bound][key]) for c in pod["containers"])
        starting = [number(c["resources"][bound][key]) for c in pod["initContainers"]]
        assert max(running, *starting) <= budget


def test_every_container_has_no_more_rights_than_it_needs(overlay):
    added = {}
    for workload in workloads(overlay):
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.get("hostPID")
        for each in containers(workload):
            rights = each["securityContext"]
            assert rights["capabilities"]["drop"] == ["ALL"]
            assert rights["readOnlyRootFilesystem"]
            assert rights["allowPrivilegeEscalation"] is False
            assert not rights.get("privileged")
            added[each["name"]] = set(rights["capabilities"].get("add", ()))
    for name in ("ipamd", "kube-controllers"):
        assert added[name] == set()
    for name in ("cni-server", "route-distributor", "bird"):
        assert "NET_ADMIN" in added[name]
    pods = pod_of(overlay, *WORKLOADS[1]), pod_of(overlay, *WORKLOADS[0])
    assert pods[0]["securityContext"]["runAsNonRoot"]
    assert container(overlay, "ipamd")["securityContext"]["runAsNonRoot"]


def test_rights_are_those_with_which_the_image_is_tested(overlay):
    """tests/image has the same as this page, and takes one after the other away."""
    page = (ROOT / "docs" / "image.md").read_text()
    rows = dict(
        re.findall(r"^\| `([a-z-]+)`[^|]*\| \d+ \| ([A-Z_, ]+|none) \|", page, re.MULTILINE)
    )
    proved = {name: set(re.findall(r"[A-Z_]+", rights)) for name, rights in rows.items()}
    proved["install-cni"] |= {"DAC_OVERRIDE"}  # for directories of the node that are not root's

    assert proved.keys() > {"ipamd", "cni-server", "route-distributor", "bird"}
    for name, rights in proved.items():
        found = container(overlay, name)["securityContext"]["capabilities"].get("add", ())
        assert set(found) == rights


def test_who_speaks_to_etcd_has_its_secrets_and_nobody_else(overlay):
    for workload in workloads(overlay):
        for each in containers(workload):
            mounts = {mount["name"] for mount in each.get("volumeMounts", ())}
            uses_etcd = "ETCD_ENDPOINTS" in environment(overlay, each["name"])
            assert ("etcd-certs" in mounts) == uses_etcd
    for kind, name in WORKLOADS:
        volumes = {v["name"]: v for v in pod_of(overlay, kind, name)["volumes"]}
        assert volumes["etcd-certs"]["secret"]["defaultMode"] == 0o400


def test_the_roles_are_what_the_code_reads(overlay):
    roles = {
        r["metadata"]["name"]: r["rules"] for r in render(overlay) if r["kind"] == "ClusterRole"
    }

    assert roles == {
        NODE: [{"apiGroups": [""], "resources": sorted(kinds_read(), key=ORDER), "verbs": ["get"]}],
        CONTROLLERS: [
            {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["get", "list", "watch"]}
        ],
    }
    for name in roles:
        binding = one(overlay, "ClusterRoleBinding", name)
        assert binding["roleRef"]["name"] == name
        account = {"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}
        assert binding["subjects"] == [account]


ORDER = ("pods", "namespaces", "nodes").index


def kinds_read() -> set[str]:
    """What the daemons of a node ask the API for, by their source."""
    sources = (p for package in ("cni_plugin", "ipamd") for p in (ROOT / package).glob("*.py"))
    calls = re.findall(
        r'\.get\(\s*"(pods|namespaces|nodes|[a-z]+s)", .*timeout_s',
        "".join(map(Path.read_text, sources)),
    )
    return set(calls)


def test_the_api_s_token_is_given_to_those_who_ask_it_alone(overlay):
    asking = set()
    for workload in workloads(overlay):
        assert workload["spec"]["template"]["spec"]["automountServiceAccountToken"] is False
        asking |= {
            each["name"]
            for each in containers(workload)
            if "token" in {mount["name"] for mount in each.get("volumeMounts", ())}
        }

    assert asking == {"ipamd", "cni-server", "kube-controllers"}


# ---- what they start, and with what ------------------------------------------------------------


def test_every_command_is_one_of_the_image(overlay):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    commands = {name.removeprefix("ocicat-") for name in scripts} | {"bird", "sh", "chown"}

    used = {c["command"][0] for w in workloads(overlay) for c in containers(w)}

    assert used - commands <= {"install-cni", "kube-controllers"}
    assert {"ipamd", "cni-server", "route-distributor", "install-cni", "kube-controllers"} <= used


def test_all_have_one_image(overlay):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    images = {c["image"] for w in workloads(overlay) for c in containers(w)}

    assert images == {f"ocicat/ocicat:{version}"}


def test_every_setting_is_one_that_the_daemons_know(overlay):
    pages = "".join(p.read_text() for p in (ROOT / "docs").glob("*.md"))
    rows = re.findall(r"^\| (`[A-Z0-9_`, ]+`) \|", pages, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"[A-Z0-9_]+", row)}
    ours = {*OURS, "OCICAT_CONTROLLERS_METRICS", "ENABLED_CONTROLLERS"}

    for workload in workloads(overlay):
        for each in containers(workload):
            unknown = environment(overlay, each["name"]).keys() - documented - ours
            assert unknown - {"CNI_NETWORK_CONFIG"} - conflist.VARIABLES.keys() == set()


def test_every_daemon_takes_its_settings(overlay):
    known = {k: v for k, v in environment(overlay, "cni-server").items() if k in OURS}
    of_ipamd = {
        k: v
        for k, v in with_etcd(environment(overlay, "ipamd")).items()
        if not k.startswith("OCICAT_") or k in OURS
    }
    of_distributor = {
        k: v
        for k, v in with_etcd(environment(overlay, "route-distributor")).items()
        if not k.startswith("OCICAT_") or k in OURS
    }

    server = server_config(known)
    ipamd = read_config(of_ipamd, "another name")
    distributor = distributor_config(of_distributor, "another name")

    assert ipamd.node == distributor.node == "node-1"
    assert ipamd.kubernetes_name == "node-1"
    assert server.ipam_socket == ipamd.socket


def test_without_endpoints_of_etcd_the_daemons_name_them(overlay):
    found = {k: v for k, v in environment(overlay, "ipamd").items() if not k.startswith("OCICAT_")}

    with pytest.raises(
        Exception, match="ETCD_ENDPOINTS: 'http://<ETCD_IP>:<ETCD_PORT>' is not http"
    ):
        read_config(found, "node-1")


def test_the_network_configuration_is_the_installer_s(overlay):
    found = environment(overlay, "install-cni")
    ours = json.loads(conflist.render((ROOT / "ocicatctl/install" / conflist.NAME).read_text(), {}))
    if overlay == "dual-stack":
        ours["plugins"][0]["ipam"] |= {"assign_ipv4": "true", "assign_ipv6": "true"}

    rendered = json.loads(conflist.render(found["CNI_NETWORK_CONFIG"], found))

    assert rendered == ours


# ---- what is where -----------------------------------------------------------------------------


def test_every_directory_of_the_node_is_one_that_the_pages_name(overlay):
    pages = "".join(p.read_text() for p in (ROOT / "docs").glob("*.md"))
    for kind, name in WORKLOADS:
        for volume in pod_of(overlay, kind, name)["volumes"]:
            path = volume.get("hostPath", {}).get("path")
            assert path in (None, "/") or f"`{path}" in pages, path


def test_what_is_mounted_is_there_and_what_is_there_is_mounted(overlay):
    for kind, name in WORKLOADS:
        volumes = {volume["name"] for volume in pod_of(overlay, kind, name)["volumes"]}
        mounted = {
            mount["name"]
            for each in containers(one(overlay, kind, name))
            for mount in each.get("volumeMounts", ())
        }
        assert mounted == volumes


def test_every_path_in_a_setting_is_in_a_mount(overlay):
    for workload in workloads(overlay):
        for each in containers(workload):
            if each["name"] == "install-cni":  # writes the settings of others down
                continue
            mounts = [mount["mountPath"] for mount in each.get("volumeMounts", ())]
            for name, value in environment(overlay, each["name"]).items():
                if value.startswith("/"):
                    assert any(value.startswith(f"{path}/") for path in mounts), (name, value)


# ---- how they live -----------------------------------------------------------------------------


def test_every_daemon_is_asked_where_it_answers(overlay):
    settings = {
        "ipamd": "OCICAT_IPAMD_METRICS",
        "cni-server": "OCICAT_CNI_METRICS",
        "route-distributor": "OCICAT_ROUTES_METRICS",
        "kube-controllers": "OCICAT_CONTROLLERS_METRICS",
    }
    for name, setting in settings.items():
        each = container(overlay, name)
        for probe in ("liveness", "readiness"):
            asked = each[f"{probe}Probe"]["httpGet"]
            where = f"{asked['host']}:{asked['port']}"
            assert (where, asked["path"]) == (environment(overlay, name)[setting], f"/{probe}")
            assert each[f"{probe}Probe"]["timeoutSeconds"] > 5  # the longest that health may take
    assert "birdc" in container(overlay, "bird")["livenessProbe"]["exec"]["command"][-1]


def test_no_node_is_left_out_and_one_at_a_time_is_updated(overlay):
    daemon_set = one(overlay, "DaemonSet", NODE)
    pod = daemon_set["spec"]["template"]["spec"]

    assert daemon_set["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["hostNetwork"]
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["terminationGracePeriodSeconds"] > server_config({}).del_timeout_s


def test_there_is_one_controller_at_a_time(overlay):
    deployment = one(overlay, "Deployment", CONTROLLERS)

    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    pod = deployment["spec"]["template"]["spec"]
    assert pod["priorityClassName"] == "system-cluster-critical"
    assert environment(overlay, "kube-controllers")["ENABLED_CONTROLLERS"] == "node"


def test_bird_goes_such_that_its_routes_stay(overlay):
    bird = container(overlay, "bird")

    assert bird["lifecycle"]["preStop"]["exec"]["command"][-2:] == ["graceful", "restart"]
    assert " -R " in bird["command"][-1]


# ---- what the overlays differ in ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("overlay", "modes"),
    [
        ("native-bgp", [("Never", "Never")]),
        ("ipip", [("Always", "Never")]),
        ("vxlan", [("Never", "Always")]),
        ("dual-stack", [("Never", "Never"), ("Never", "Never")]),
    ],
)
def test_each_overlay_makes_the_pools_that_it_is_called_by(overlay, modes):
    found = with_etcd(environment(overlay, "ipamd"))
    found = {k: v for k, v in found.items() if not k.startswith("OCICAT_") or k in OURS}

    pools = read_config(found, "node-1").default_pools

    assert [(pool.ipip_mode, pool.vxlan_mode) for pool in pools] == modes
    assert pools[0].cidr == ipaddress.ip_network("10.233.64.0/18")
    assert all(pool.nat_outgoing for pool in pools)

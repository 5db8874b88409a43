"""`ocicatctl doctor` on a node that works, and where one thing after another is broken for real."""

import json
import re
import shutil
import sys
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from datamodel.affinity import Affinity
from datastore import codec, keys
from ocicatctl.lab import daemons, etcd, system
from tests.installation import snapshot

VENV = Path(sys.executable).parent


@pytest.fixture
def doctor(node, tmp_path):
    """Ask the doctor about the node; by check, what is wrong, and the exit status."""

    def ask(*arguments: str, **environment: str):
        done = system.run(
            *(sys.executable, "-m", "ocicatctl", "doctor", "-o", "json"),
            *(f"--bin-dir={node.bin}", f"--conf-dir={node.directory / 'net.d'}"),
            *(f"--state-dir={tmp_path / 'state'}", *arguments),
            namespace=node.namespace,
            environment={**node.environment, **environment},
            check=False,
        )
        assert not done.stderr, done.stderr
        findings = json.loads(done.stdout)["findings"]
        assert "the check failed" not in done.stdout
        assert "the look failed" not in done.stdout
        wrong: dict[str, list[dict]] = {}
        for finding in findings:
            if finding["status"] in ("wrong", "warning") and finding["check"] != "clock":
                wrong.setdefault(finding["check"], []).append(finding)
        is_wrong = any(one["status"] == "wrong" for some in wrong.values() for one in some)
        assert done.returncode == (1 if is_wrong else 0)
        return wrong

    return ask


def on_node(node, script: str, **environment: str) -> None:
    """Run a script as somebody on the node would."""
    path = f"{VENV}:{system.BASE_ENVIRONMENT['PATH']}"
    system.run(
        *("sh", "-ec", script),
        namespace=node.namespace,
        environment={**node.environment, "PATH": path, **environment},
    )


def block_of(pod) -> str:
    return str(ip_network(f"{pod.address}/24", strict=False))


def ip(node, *arguments: str) -> str:
    return system.run("ip", *arguments, namespace=node.namespace).stdout


def state(lab, node) -> dict[str, object]:
    """All that the doctor could change: the kernel's, etcd's, the node's files."""
    shown = {
        "links": ("ip", "-d", "address"),
        "routes": ("ip", "route", "show", "table", "all"),
        "rules": ("nft", "--stateless", "list", "ruleset"),
        "sysctls": ("sysctl", "-a", "-r", r"^net\.ipv[46]\.conf\..*(filter|forw|proxy|disable)"),
    }
    texts = {
        name: system.run(*command, namespace=node.namespace, check=False).stdout
        for name, command in shown.items()
    }
    files = {
        path: kept
        for path, kept in snapshot(node.directory).items()
        if not str(path).endswith((".log", ".json"))
    }
    return {
        **texts,
        "files": files,
        "etcd": etcd.etcdctl(lab.spec, "get", "--prefix", "/calico/").stdout,
    }


def test_of_a_node_that_works_nothing_is_wrong_and_nothing_is_changed(lab, node, doctor):
    lab.add_pod(node, "web")
    lab.wait_for_routes()
    before = state(lab, node)

    wrong = doctor()

    assert wrong == {}
    assert state(lab, node) == before


BREAK = """
    nft 'add table ip filter'
    nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'
    sysctl -qw net.ipv4.conf.all.rp_filter=1
    sysctl -qw net/ipv4/conf/$POD_LINK/proxy_arp=0
    ip link add second type bridge
    ip address add 10.77.0.1/24 dev second
    ip link set second up
    ip link add calileaked0 type bridge
    ip link set calileaked0 up
    ip route prepend $BLOCK via 10.0.0.1 proto static
    chmod 0644 $DIR/bin/ocicat
    echo '{"name": "x", "plugins": [{"type": "flannel"}]}' > $DIR/net.d/05-other.conflist
"""
UNDO = """
    rm -f $DIR/net.d/05-other.conflist*
    chmod 0755 $DIR/bin/ocicat
    ip route del $BLOCK proto static || :
    ip link del second || :
    ip link del calileaked0 || :
    sysctl -qw net.ipv4.conf.all.rp_filter=0
    nft 'delete table ip filter' || :
"""
BROKEN = {
    "conflist": "05-other.conflist: sorts before",
    "plugins": "bin/ocicat: cannot be executed",
    "launchers": "bin/ocicat: may not be executed",
    "forward-policy": "chain FORWARD of table ip filter drops",
    "forwarding": "proxy_arp: is 0",
    "rp-filter": "is strict on eth0",
    "pod-links": "calileaked0: no route leads to it",
    "routes": "a route of somebody else",
    "addresses": "affinity node-9",
}


def test_what_is_broken_is_named_and_the_commands_mend_it(lab, node, doctor):
    lab.add_pod(node, "own")
    settings = {
        "DIR": str(node.directory),
        "BLOCK": block_of(lab.add_pod(lab.nodes[1], "far")),
        "POD_LINK": re.findall(r"cali[0-9a-f]{11}", ip(node, "link"))[0],
    }
    lab.wait_for_routes()
    nobodys = Affinity("node-9", ip_network("10.233.127.0/24"), "confirmed")
    key, value = keys.affinity(nobodys.host, nobodys.cidr), codec.encode_affinity(nobodys)
    try:
        on_node(node, BREAK, **settings)
        etcd.etcdctl(lab.spec, "put", key, value.decode())
        broken = doctor()
        for name in broken.keys() & BROKEN.keys():
            for command in dict.fromkeys(one["mend"] for one in broken[name]):
                if not command.startswith("systemctl"):
                    on_node(node, command)
        mended = doctor()
    finally:
        etcd.etcdctl(lab.spec, "del", key)
        on_node(node, UNDO, **settings)

    assert {name: what for name, what in BROKEN.items() if what not in str(broken.get(name))} == {}
    assert mended == {}


def test_daemons_that_are_gone_are_named_and_so_is_a_route_that_nobody_puts_back(lab, node, doctor):
    block = block_of(lab.add_pod(lab.nodes[1], "far"))
    lab.wait_for_routes()
    for daemon in ("bird", "cni-server", "ipamd"):
        daemons.kill(node, daemon)
    ip(node, "route", "del", block)

    wrong = doctor()

    assert wrong.keys() >= {"bird", "cni-server", "ipamd", "routes"}
    assert f"{block}: the kernel has no route to it" in str(wrong["routes"])
    assert wrong["ipamd"][0]["mend"] == "systemctl restart ocicat-ipamd"


def test_an_etcd_that_is_dead_and_a_certificate_that_has_expired_cost_five_seconds_at_most(
    node, doctor, tmp_path
):
    key, certificate = tmp_path / "client.key", tmp_path / "client.crt"
    on_node(
        node,
        f"""
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=node \\
            -keyout {key} -out {tmp_path}/request
        openssl x509 -req -in {tmp_path}/request -signkey {key} -days -1 -out {certificate}
        """,
    )
    begun = time.monotonic()

    wrong = doctor(
        ETCD_ENDPOINTS="https://10.0.0.250:2379,https://10.0.0.1:9",
        ETCD_CERT_FILE=str(certificate),
        ETCD_KEY_FILE=str(key),
    )

    took_s = time.monotonic() - begun
    assert took_s < 7  # of which most is not ours on a busy machine
    assert len(wrong["etcd-endpoints"]) == 2
    assert "expired 1 days ago" in wrong["certificates"][0]["what"]
    assert wrong["certificates"][0]["mend"] == "kubeadm certs renew apiserver-etcd-client"


def test_a_bin_directory_without_execution_is_named_and_mended(node, tmp_path):
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    shutil.copytree(node.bin, tmp_path / "copy")
    ask = f"ocicatctl doctor -o json --bin-dir {bin_dir} --only bin-dir --only launchers || :"
    script = f"""
        mount -t tmpfs -o noexec none {bin_dir}
        cp -a {tmp_path}/copy/. {bin_dir}
        {ask}
        mount -o remount,exec $(findmnt -no TARGET -T {bin_dir})
        {ask}
    """
    done = system.run(
        *("unshare", "--mount", "sh", "-ec", script),
        namespace=node.namespace,
        environment={**node.environment, "PATH": f"{VENV}:{system.BASE_ENVIRONMENT['PATH']}"},
    )

    decoder = json.JSONDecoder()
    broken, end = decoder.raw_decode(done.stdout)
    mended, _ = decoder.raw_decode(done.stdout[end:].lstrip())
    said = {one["what"]: one["mend"] for one in broken["findings"] if one["status"] == "wrong"}
    command = f"mount -o remount,exec $(findmnt -no TARGET -T {bin_dir})"
    assert said[f"bin dir {bin_dir}: is on a file system that is mounted noexec"] == command
    assert any("may not be executed" in what for what in said)
    assert mended["wrong"] == 0

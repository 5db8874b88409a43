"""deploy/provision/kubeadm.sh against stand-ins for the programs that it runs.

There is no Kubernetes here: what is tested is which commands it gives, in which order, and that
it gives none twice. ``/etc`` is a copy that only the script sees.
"""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "provision" / "kubeadm.sh"
NAME = "docker.io/ocicat/ocicat:0.1.0"
PROGRAMS = (
    "apt-get apt-mark ctr curl dpkg-query gpg kubeadm kubectl modprobe swapoff sysctl systemctl"
)
STAND_IN = """#!/bin/bash
echo "${0##*/} $*" >>"$LOG"
case "${0##*/} $*" in
  dpkg-query*) echo installed ;;
  gpg*) cat >/etc/apt/keyrings/kubernetes.gpg.new ;;
  "kubeadm version"*) echo v1.33.5 ;;
  "kubeadm config images list"*) printf 'registry.k8s.io/%s\\n' etcd:3.5.21-0 pause:3.10 ;;
  "kubeadm init"*) mkdir -p /etc/kubernetes; touch /etc/kubernetes/admin.conf ;;
  "kubeadm join"*) mkdir -p /etc/kubernetes; touch /etc/kubernetes/kubelet.conf ;;
  "ctr "*" ls -q") echo "$LOADED" ;;
  "kubectl "*" exec "*|"kubectl apply -f -") cat >>"$LOG" ;;
esac
"""
IN_ITS_OWN_ETC = """
mkdir {home}/etc; mount -t tmpfs none {home}/etc; mkdir {home}/etc/upper {home}/etc/work
mount -t overlay -o lowerdir=/etc,upperdir={home}/etc/upper,workdir={home}/etc/work none /etc
for round in 1 2; do echo "round $round" >>"$LOG"; bash {script} || exit; done
cat /etc/containerd/config.toml /etc/default/kubelet >{home}/written
"""


@pytest.fixture
def provision(tmp_path):
    """Run the script twice; return how it ended, and the commands of each time."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS.split():
        (programs / name).write_text(STAND_IN)
        (programs / name).chmod(0o755)
    log, image = tmp_path / "log", tmp_path / "ocicat.tar"
    image.touch()

    def provision(address, *, loaded=NAME, **settings):
        done = subprocess.run(
            ["unshare", "-m", "bash", "-euc", IN_ITS_OWN_ETC.format(home=tmp_path, script=SCRIPT)],
            env={
                "PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin",
                "LOG": str(log),
                "LOADED": loaded,
                "IMAGE": str(image),
                "NODE_NAME": "n1",
                "NODE_ADDRESS": f"{address}/24",
                "CONTROL_PLANE": "192.0.2.1",
                "ETCD_ENDPOINTS": "http://192.0.2.9:2379",
                **settings,
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        rounds = log.read_text().split("round ")[1:]
        return done, [text.splitlines()[1:] for text in rounds]

    return provision


def starting_with(beginning, commands):
    return [command for command in commands if command.startswith(beginning)]


def test_the_control_plane_makes_the_cluster_once_and_applies_the_manifests_each_time(provision):
    done, (first, second) = provision("192.0.2.1", PEER="192.0.2.9")

    assert done.returncode == 0, done.stderr
    (init,) = starting_with("kubeadm init", first)
    assert "--kubernetes-version v1.33.5 --node-name n1" in init
    assert "--apiserver-advertise-address 192.0.2.1 --pod-network-cidr 10.233.64.0/18" in init
    assert starting_with("kubeadm init", second) == []
    for commands in (first, second):
        apply = starting_with("kubectl apply -k", commands)
        assert apply == ["kubectl apply -k /etc/ocicat/kubernetes/overlays/this-cluster"]
        assert "spec: {peerIP: 192.0.2.9, asNumber: 64513}" in commands
        assert starting_with("kubeadm join", commands) == []


def test_another_node_waits_for_the_control_plane_and_joins_once(provision):
    done, (first, second) = provision("192.0.2.2")

    assert done.returncode == 0, done.stderr
    waits, joins = first[-2:]
    assert waits == "curl -fsSk https://192.0.2.1:6443/readyz"
    assert joins.startswith("kubeadm join 192.0.2.1:6443 --node-name n1 --token ocicat.")
    assert starting_with("kubeadm join", second) == starting_with("kubectl", first) == []


def test_nothing_restarts_when_nothing_has_changed(provision, tmp_path):
    _, (first, second) = provision("192.0.2.2")

    assert len(starting_with("systemctl restart", first)) == 1
    assert starting_with("systemctl restart", second) == []
    assert starting_with("systemctl -q try-restart", second) == []
    written = (tmp_path / "written").read_text()
    assert 'sandbox_image = "registry.k8s.io/pause:3.10"' in written
    assert "--node-ip=192.0.2.2\n" in written


def test_an_image_of_another_name_is_refused_before_there_is_a_cluster(provision, tmp_path):
    done, (commands,) = provision("192.0.2.1", loaded="localhost/ocicat:latest")

    assert done.returncode == 1
    assert f"ocicat.tar: does not have {NAME}, for which ../kubernetes asks" in done.stderr
    assert starting_with("kubeadm init", commands) == []

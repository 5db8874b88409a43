#!/usr/bin/env bash
# Makes this Debian machine a node of a Kubernetes cluster of kubeadm whose pod network is Ocicat,
# from ../kubernetes. The node that has CONTROL_PLANE as its address makes the cluster, the others
# wait for it and join. Needs the Kubernetes project's packages and images: a network.
# Can be run again: then it loads the image and applies the manifests anew.
#
#   NODE_NAME        the node's name in the cluster (this host's name)
#   NODE_ADDRESS     its address, with or without prefix length
#   CONTROL_PLANE    address of the node that is the control plane
#   ETCD_ENDPOINTS   of Ocicat's etcd, without TLS: http://10.0.0.5:2379,…
#   POOL             range of the pods' addresses (10.233.64.0/18)
#   PEER             address of a router with which every node has eBGP ("": none), and
#   PEER_AS          its AS number (64513)
#   KUBERNETES       minor version (v1.33)
#   TOKEN            with which nodes join: of a lab, everybody knows it (ocicat.0123456789abcdef)
#   IMAGE            file with Ocicat's image, as `podman save` writes it (../../build/ocicat.tar)
#   OVERLAY          one of ../kubernetes/overlays (native-bgp)
set -euo pipefail
cd "$(dirname "$0")"
. ./lib.sh

need NODE_ADDRESS CONTROL_PLANE ETCD_ENDPOINTS
NODE_NAME=${NODE_NAME:-$(hostname)}
POOL=${POOL:-10.233.64.0/18}
IMAGE=${IMAGE:-../../build/ocicat.tar}
TOKEN=${TOKEN:-ocicat.0123456789abcdef}
ADDRESS=${NODE_ADDRESS%/*}
CNI_BIN=/usr/lib/cni # where Debian's containernetworking-plugins are
export KUBECONFIG=/etc/kubernetes/admin.conf

host() {
  packages containerd runc containernetworking-plugins iproute2 iptables nftables conntrack kmod \
    procps python3
  swapoff -a
  sed -i '/\sswap\s/s/^[^#]/#&/' /etc/fstab
  put /etc/modules-load.d/kubernetes.conf <<< br_netfilter || true
  modprobe br_netfilter
  put /etc/sysctl.d/90-kubernetes.conf << END || true
net.ipv4.ip_forward = 1
net.bridge.bridge-nf-call-iptables = 1
END
  sysctl -q -p /etc/sysctl.d/90-kubernetes.conf
}

kubernetes() {
  local repository=https://pkgs.k8s.io/core:/stable:/${KUBERNETES:-v1.33}/deb
  local key=/etc/apt/keyrings/kubernetes.gpg
  packages ca-certificates curl gpg
  if [ ! -e "$key" ]; then
    mkdir -p "${key%/*}"
    curl -fsSL "$repository/Release.key" | gpg --batch --yes --dearmor -o "$key.new"
    chmod 644 "$key.new"
    mv "$key.new" "$key"
  fi
  put /etc/apt/sources.list.d/kubernetes.list <<< "deb [signed-by=$key] $repository/ /" || true
  packages kubelet kubeadm kubectl
  apt-mark -q hold kubelet kubeadm kubectl > /dev/null
  systemctl -q enable kubelet # kubeadm starts it
  # Virtual machines have several cards; the first one's address is often the same on all.
  if put /etc/default/kubelet <<< "KUBELET_EXTRA_ARGS=--node-ip=$ADDRESS"; then
    systemctl -q try-restart kubelet
  fi
}

# kubelet and runc have to agree about who makes control groups: systemd does. The image of the
# sandboxes is kubeadm's own, so that there is one and kubelet does not remove it.
runtime() {
  local pause
  pause=$(kubeadm config images list --kubernetes-version "$(kubeadm version -o short)" | grep /pause:)
  if put /etc/containerd/config.toml << END
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$pause"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "$CNI_BIN"
  conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = true
END
  then
    systemctl restart containerd
  fi
  systemctl -q enable --now containerd
}

# No registry has it, so it must have the very name that the manifests ask for.
image() {
  local tag name
  tag=$(sed -n 's/^ *newTag: *//p' ../kubernetes/base/kustomization.yaml)
  name=docker.io/ocicat/ocicat:$tag
  [ -e "$IMAGE" ] || die "$IMAGE: not there; docs/vagrant.md says how it is made"
  say "loading $IMAGE"
  ctr -n k8s.io images import "$IMAGE" > /dev/null
  ctr -n k8s.io images ls -q | grep -xF "$name" > /dev/null ||
    die "$IMAGE: does not have $name, for which ../kubernetes asks; build it with that name"
}

overlay() {
  cat << END
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: kube-system
resources:
- ../${OVERLAY:-native-bgp}
generatorOptions:
  disableNameSuffixHash: true
configMapGenerator:
- name: ocicat-config
  behavior: merge
  literals:
  - etcd_endpoints=$ETCD_ENDPOINTS
  - etcd_ca=
  - etcd_cert=
  - etcd_key=
- name: ocicat-node
  behavior: merge
  literals:
  - CALICO_IPV4POOL_CIDR=$POOL
  - CNI_BIN_DIR=$CNI_BIN
END
}

peer() {
  cat << END
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: router}
spec: {peerIP: $PEER, asNumber: ${PEER_AS:-64513}}
END
}

control_plane() {
  if [ ! -e "$KUBECONFIG" ]; then
    say "kubeadm init"
    kubeadm init --kubernetes-version "$(kubeadm version -o short)" --node-name "$NODE_NAME" \
      --apiserver-advertise-address "$ADDRESS" --pod-network-cidr "$POOL" \
      --token "$TOKEN" --token-ttl 0
  fi
  local manifests=/etc/ocicat/kubernetes
  rm -rf "$manifests"
  mkdir -p "${manifests%/*}"
  cp -r ../kubernetes "$manifests"
  overlay | put "$manifests/overlays/this-cluster/kustomization.yaml" || true
  # The manifests want the Secret; without TLS nothing is in it.
  kubectl -n kube-system create secret generic ocicat-etcd-secrets --dry-run=client -o yaml \
    --from-literal=etcd-ca= --from-literal=etcd-cert= --from-literal=etcd-key= | kubectl apply -f -
  kubectl apply -k "$manifests/overlays/this-cluster"
  kubectl -n kube-system rollout status daemonset/ocicat-node --timeout 300s
  [ -z "${PEER:-}" ] ||
    peer | kubectl -n kube-system exec -i ds/ocicat-node -c ipamd -- ocicatctl apply -f -
}

worker() {
  [ ! -e /etc/kubernetes/kubelet.conf ] || return 0
  wait_for 900 "the control plane at $CONTROL_PLANE" curl -fsSk "https://$CONTROL_PLANE:6443/readyz"
  say "kubeadm join"
  kubeadm join "$CONTROL_PLANE:6443" --node-name "$NODE_NAME" --token "$TOKEN" \
    --discovery-token-unsafe-skip-ca-verification
}

host
kubernetes
runtime
image
if [ "$ADDRESS" = "$CONTROL_PLANE" ]; then control_plane; else worker; fi
say "node $NODE_NAME at $ADDRESS"

#!/usr/bin/env bash
# Makes this Debian machine a node of the cluster: a container runtime, and Ocicat from wheels.
# Can be run again, and with other wheels upgrades.
#
#   NODE_NAME        the node's name in the cluster (this host's name)
#   NODE_ADDRESS     its address, with or without prefix length
#   ETCD_ENDPOINTS   http://10.0.0.5:2379,…
#   WHEELS           directory with Ocicat's wheel and all that it needs: nothing is downloaded
#   POOL             range of the pods' addresses (10.233.64.0/18)
#   PEER             address of a router with which the node has eBGP ("": none), and
#   PEER_AS          its AS number (64513)
#   SETTINGS         more lines for /etc/ocicat/ocicat.env
#   STEP             prepare: only what is the same on every node; join: only the rest ("": both)
set -euo pipefail
cd "$(dirname "$0")"
. ./lib.sh

PROGRAMS=/opt/ocicat
CNI_BIN=/usr/lib/cni # where Debian's containerd looks

runtime() {
  packages containerd runc containernetworking-plugins iproute2 nftables kmod
}

# Every version has a virtual environment of its own: an upgrade touches nothing that runs.
program() {
  need WHEELS
  packages bird2 python3-venv
  systemctl -q disable --now bird 2>/dev/null || true # Debian's own; ours has a unit of ours
  local wheel version
  wheel=$(find "$WHEELS" -name 'ocicat-*.whl' | sort -V | tail -n 1)
  [ -n "$wheel" ] || die "$WHEELS: no wheel of ocicat there; tools/wheels makes them"
  version=${wheel##*/ocicat-}
  version=${version%%-*}
  VENV=$PROGRAMS/$version
  if [ ! -e "$VENV/complete" ]; then
    say "installing Ocicat $version in $VENV"
    rm -rf "$VENV"
    python3 -m venv "$VENV"
    "$VENV/bin/pip" install -q --disable-pip-version-check --no-index --find-links "$WHEELS" "$wheel"
    touch "$VENV/complete"
  fi
}

settings() {
  cat << END
NODENAME=$NODE_NAME
IP=$NODE_ADDRESS
ETCD_ENDPOINTS=$ETCD_ENDPOINTS
CALICO_IPV4POOL_CIDR=${POOL:-10.233.64.0/18}
${SETTINGS:-}
END
}

# What the operator types: the version that the node has, with the settings of its daemons.
operators_command() {
  cat << END
#!/bin/sh
set -a
. /etc/ocicat/ocicat.env
exec $VENV/bin/ocicatctl "\$@"
END
}

# A node also tells the router of other nodes' blocks: of each that it is to be reached there.
peer() {
  cat << END
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: router-of-$NODE_NAME}
spec: {node: $NODE_NAME, peerIP: $PEER, asNumber: ${PEER_AS:-64513}, keepOriginalNextHop: true}
END
}

apply_peer() { peer | ocicatctl apply -f -; }

join() {
  need NODE_ADDRESS ETCD_ENDPOINTS
  NODE_NAME=${NODE_NAME:-$(hostname)}
  systemctl -q enable --now containerd
  put /etc/sysctl.d/90-ocicat.conf <<< 'net.ipv4.ip_forward = 1' && sysctl -q -p /etc/sysctl.d/90-ocicat.conf
  local changed=
  settings | put /etc/ocicat/ocicat.env 600 && changed=yes
  if [ ! -e /var/lib/ocicat/installed.json ]; then
    "$VENV/bin/ocicatctl" install --systemd --bin-dir "$CNI_BIN" >/dev/null
    systemctl daemon-reload
    systemctl -q enable ocicat.target
  elif [ -n "$changed" ]; then
    systemctl restart ocicat.target
  fi
  if [ -e /usr/local/bin/ocicatctl ] && ! operators_command | cmp -s - /usr/local/bin/ocicatctl; then
    "$VENV/bin/ocicatctl" upgrade
  fi
  operators_command | put /usr/local/bin/ocicatctl 755 || true
  systemctl start ocicat.target
  # etcd may be starting as well.
  [ -z "${PEER:-}" ] || wait_for 180 "BGPPeer router-of-$NODE_NAME" apply_peer
  wait_for 300 "Ocicat on $NODE_NAME" test -S /run/ocicat/bird.ctl
  say "node $NODE_NAME at $NODE_ADDRESS"
}

STEP=${STEP:-}
[ "$STEP" = join ] || runtime
program
[ "$STEP" = prepare ] || join

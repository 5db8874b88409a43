#!/usr/bin/env bash
# Makes this Debian machine a router outside of the cluster that has eBGP sessions, with BFD, with
# the nodes: their pods can be reached from it. Nothing of Ocicat is on it. Can be run again.
#
#   ROUTER_ADDRESS   one of its own addresses, which names it
#   ROUTER_AS        its AS number (64513)
#   NODES_AS         that of the nodes (64512)
#   NODE_ADDRESSES   the nodes' addresses, separated by spaces
set -euo pipefail
cd "$(dirname "$0")"
. ./lib.sh

need ROUTER_ADDRESS NODE_ADDRESSES
packages bird2

configuration() {
  cat << END
router id $ROUTER_ADDRESS;
protocol device {}
protocol bfd {
  interface "*" { min rx interval 300 ms; min tx interval 300 ms; multiplier 5; };
}
protocol kernel {
  ipv4 { import none; export all; };
}
template bgp node {
  local as ${ROUTER_AS:-64513};
  hold time 90;
  graceful restart on;
  bfd on;
  ipv4 { import all; export none; };
}
END
  local number=0 address
  for address in $NODE_ADDRESSES; do
    number=$((number + 1))
    printf 'protocol bgp node%s from node { neighbor %s as %s; }\n' \
      "$number" "$address" "${NODES_AS:-64512}"
  done
}

put /etc/sysctl.d/90-router.conf <<< 'net.ipv4.ip_forward = 1' && sysctl -q -p /etc/sysctl.d/90-router.conf
if configuration | put /etc/bird/bird.conf; then
  systemctl reload-or-restart bird
fi
systemctl -q enable --now bird
say "router of AS ${ROUTER_AS:-64513} with sessions to $NODE_ADDRESSES"

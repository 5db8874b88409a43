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
packages bird2 iproute2

configuration() {
  cat << END
router id $ROUTER_ADDRESS;
protocol device {}
protocol direct { ipv4; }
# As the nodes' sessions are of several hops, so is BFD: UDP 4784, not 3784.
protocol bfd {
  multihop { min rx interval 300 ms; min tx interval 300 ms; multiplier 5; };
}
protocol kernel {
  ipv4 { import none; export where source = RTS_BGP; };
}
template bgp node {
  multihop;
  hold time 90;
  graceful restart on;
  bfd on;
  ipv4 { import all; export none; };
}
END
  local number=0 address own
  for address in $NODE_ADDRESSES; do
    number=$((number + 1))
    own=$(ip -4 route get "$address" | sed -n 's/.* src \([0-9.]*\).*/\1/p')
    printf 'protocol bgp node%s from node { local %s as %s; neighbor %s as %s; }\n' \
      "$number" "$own" "${ROUTER_AS:-64513}" "$address" "${NODES_AS:-64512}"
  done
}

put /etc/sysctl.d/90-router.conf <<< 'net.ipv4.ip_forward = 1' && sysctl -q -p /etc/sysctl.d/90-router.conf
if configuration | put /etc/bird/bird.conf; then
  systemctl reload-or-restart bird
fi
systemctl -q enable --now bird
say "router of AS ${ROUTER_AS:-64513} with sessions to $NODE_ADDRESSES"

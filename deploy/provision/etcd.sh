#!/usr/bin/env bash
# Makes this Debian machine the cluster's etcd: one member, without TLS, as labs may have it.
# Can be run again.
#
#   ETCD_ADDRESS   the address where the nodes reach it
set -euo pipefail
cd "$(dirname "$0")"
. ./lib.sh

need ETCD_ADDRESS
packages etcd-server etcd-client
if put /etc/default/etcd << END
ETCD_NAME=ocicat
ETCD_DATA_DIR=/var/lib/etcd/ocicat
ETCD_LISTEN_CLIENT_URLS=http://$ETCD_ADDRESS:2379,http://127.0.0.1:2379
ETCD_ADVERTISE_CLIENT_URLS=http://$ETCD_ADDRESS:2379
ETCD_LISTEN_PEER_URLS=http://127.0.0.1:2380
ETCD_INITIAL_ADVERTISE_PEER_URLS=http://127.0.0.1:2380
ETCD_INITIAL_CLUSTER=ocicat=http://127.0.0.1:2380
ETCD_AUTO_COMPACTION_RETENTION=1
END
then
  systemctl restart etcd
fi
systemctl -q enable --now etcd
wait_for 60 etcd env ETCDCTL_API=3 etcdctl --endpoints "http://$ETCD_ADDRESS:2379" endpoint health
say "etcd serves at http://$ETCD_ADDRESS:2379"

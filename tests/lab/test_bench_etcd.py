"""The pen of the benchmark of routes."""

from bench.lab_etcd import LabEtcd
from ocicatctl.lab import etcd


def test_the_benchmark_writes_to_etcd_from_outside_the_lab(lab):
    key = "/ocicat-bench/é"

    with LabEtcd(lab.spec) as gateway:
        gateway.put({key: b"two\nlines", f"{key}2": b""})

    try:
        listing = etcd.etcdctl(lab.spec, "get", "--prefix", key).stdout
        assert listing == f"{key}\ntwo\nlines\n{key}2\n\n"
    finally:
        etcd.etcdctl(lab.spec, "del", "--prefix", key)

"""What a lab's etcd holds, as plain values."""

import base64
import json

from ocicatctl.lab import etcd
from ocicatctl.lab.lab import Lab


def held(lab: Lab) -> dict[str, object]:
    """The store; of blocks only who holds what, since every write moves queue and sequence."""
    answer = json.loads(etcd.etcdctl(lab.spec, "get", "--prefix", "/calico/", "-w", "json").stdout)
    store = {}
    for kv in answer.get("kvs", ()):
        key = base64.b64decode(kv["key"]).decode()
        value = json.loads(base64.b64decode(kv["value"]))
        if "/assignment/" in key:
            value = [value[k] for k in ("cidr", "affinity", "allocations", "attributes")]
        store[key] = value
    return store

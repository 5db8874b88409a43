"""What a lab's etcd holds, as plain values."""

import base64
import json

from ocicatctl.lab import etcd
from ocicatctl.lab.lab import Lab


def everything(lab: Lab) -> dict[str, bytes]:
    """The store."""
    answer = json.loads(etcd.etcdctl(lab.spec, "get", "--prefix", "/calico/", "-w", "json").stdout)
    decode = base64.b64decode
    return {decode(kv["key"]).decode(): decode(kv["value"]) for kv in answer.get("kvs", ())}


def held(lab: Lab) -> dict[str, object]:
    """The store; of blocks only who holds what, since every write moves queue and sequence."""
    store = {}
    for key, text in everything(lab).items():
        value = json.loads(text)
        if "/assignment/" in key:
            value = [value[k] for k in ("cidr", "affinity", "allocations", "attributes")]
        store[key] = value
    return store

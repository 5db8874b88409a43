"""Claims on node names ⇄ the JSON in etcd. They are ours alone: Calico knows nothing of them.

Pure: no I/O.
"""

from datetime import UTC, datetime

from datamodel.attachment import Kernel
from datamodel.claim import Claim, Machine
from datastore import reading
from datastore.codec import dump, load


def encode_claim(claim: Claim) -> bytes:
    """The value of a claim's key."""
    kernel = claim.machine.kernel
    document = {
        "machineID": claim.machine.machine_id,
        "bootID": kernel.boot_id,
        "netns": kernel.netns,
        "since": claim.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lease": f"{claim.lease:x}",  # as etcdctl shows it
    }
    return dump(document)


def decode_claim(key: str, value: bytes) -> Claim:
    """Read a claim.

    Raises:
        Invalid: naming the key.
    """
    document = load(key, value)
    with reading.entry(key):
        return Claim(
            machine=Machine(
                Kernel(reading.text(document["bootID"]), reading.text(document["netns"])),
                reading.text(document["machineID"]),
            ),
            since=datetime.fromisoformat(reading.text(document["since"])),
            lease=int(reading.text(document["lease"]), 16),
        )

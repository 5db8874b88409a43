"""The bytes between launcher and server.

Pure: no I/O. The launcher writes the same by hand, since it can afford no import; the format is:

* request: two lengths (4 bytes, big-endian), then that many bytes of ``NAME=value`` lines (each
  ended by a zero byte) and of stdin. The descriptor of CNI_NETNS comes along with the first byte.
  Names that begin with "@" are the launcher's own: ``@role``, ``@netns_mistake``,
  ``@stdin_mistake``.
* answer: exit status (1 byte), two lengths, then stdout and stderr.
* receipt: one byte once the launcher has written stdout; without it an ADD is taken back.
"""

from cni_plugin.args import Invocation
from cni_plugin.skel import Answer

LENGTH = 4
MAX_BYTES = 16 << 20  # more is not a CNI call
RECEIPT = b"\x06"  # ACK


def lengths(header: bytes) -> tuple[int, int]:
    """Read the two lengths at the front of a request.

    Raises:
        ValueError: they are out of all proportion.
    """
    first = int.from_bytes(header[:LENGTH])
    second = int.from_bytes(header[LENGTH : 2 * LENGTH])
    if first + second > MAX_BYTES:
        raise ValueError(f"a request of {first + second} bytes")
    return first, second


def decode_request(environment: bytes, stdin: bytes, netns_fd: int | None) -> Invocation:
    """Read a request's two parts."""
    values: dict[str, str] = {}
    for item in environment.split(b"\0"):
        name, _, value = item.decode(errors="surrogateescape").partition("=")
        values[name] = value
    return Invocation(
        environment={k: v for k, v in values.items() if k and not k.startswith("@")},
        stdin=stdin,
        netns_fd=netns_fd,
        netns_mistake=values.get("@netns_mistake", "is empty"),
        stdin_mistake=values.get("@stdin_mistake", ""),
        role=values.get("@role", ""),
    )


def encode_answer(answer: Answer) -> bytes:
    """Write an answer."""
    parts = [answer.stdout, answer.stderr]
    return b"".join([bytes([answer.exit_code]), *(len(p).to_bytes(LENGTH) for p in parts), *parts])

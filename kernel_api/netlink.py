"""Speaks netlink: has the kernel do requests, several in one round trip, and lists what it has.

Edge: the socket. What the messages mean is in ``rtnetlink.py``. It is our own because of the time
that decoding takes in Python: with pyroute2 an ADD's requests cost 4 ms of CPU, here 1.5 ms, and
most of that is the kernel's.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

SOL_NETLINK = 270
SO_RCVBUFFORCE = 33
SO_RCVTIMEO = 20
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_DROP_MEMBERSHIP = 2
NETLINK_CAP_ACK = 10  # an error does not repeat the request
NETLINK_EXT_ACK = 11  # an error says in words what is wrong
NETLINK_GET_STRICT_CHK = 12  # the kernel minds the filters in a request
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP = 0x300
NLM_F_DUMP_INTR = 0x10
NLM_F_ACK_TLVS = 0x200
NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3
NLMSGERR_ATTR_MSG = 1
NLA_TYPE_MASK = 0x3FFF

TRIES = 10  # each takes milliseconds
TIMEOUT_S = 10
ANNOUNCEMENTS_BUFFER = 4 << 20  # 110 links that go at once are announced in 1 MB
BUFFER = 1 << 16  # the kernel fills at most half of it

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_ERROR = struct.Struct("=i")
_TIMEVAL = struct.Struct("@ll")  # seconds, microseconds


@dataclass(frozen=True, slots=True)
class Request:
    """One message to the kernel, without its netlink header."""

    kind: int  # RTM_…
    flags: int  # NLM_F_CREATE and the like
    body: bytes
    what: str  # the object, as errors name it: "route 10.233.64.5/32"


class Refused(OSError):
    """The kernel refuses ``request``; ``strerror`` is in its own words if it has some."""

    def __init__(self, number: int, words: str, request: Request) -> None:
        super().__init__(number, words or os.strerror(number))
        self.request = request


@dataclass(frozen=True, slots=True)
class Dump:
    """What the kernel listed: messages without their netlink headers."""

    messages: tuple[bytes, ...]
    is_complete: bool


class Netlink:
    """A socket in the network namespace that the thread is in when it makes it, for good."""

    def __init__(self, timeout_s: int | None = TIMEOUT_S) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))  # one without an address of its own gets no announcements
        if timeout_s is not None:
            # Not settimeout: Python would ask before every call whether it will block.
            self._socket.setsockopt(
                socket.SOL_SOCKET, SO_RCVTIMEO, _TIMEVAL.pack(int(timeout_s), 0)
            )
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def execute(self, *requests: Request) -> None:
        """Have the kernel do all *requests*, one after the other, in one round trip.

        Raises:
            Refused: the first that it refuses; those behind it are done nevertheless.
        """
        for refused in self.refusals(requests):
            raise refused

    def refusals(self, requests: Sequence[Request]) -> list[Refused]:
        """Have the kernel do all *requests*; return its refusals."""
        # Errors come unasked, in order: the last request's acknowledgement is the end.
        first = self._send(*((r.kind, r.flags, r.body) for r in requests), last_flags=NLM_F_ACK)
        found = []
        while True:
            for answer in self.receive():
                if answer.kind != NLMSG_ERROR or answer.sequence < first:
                    continue
                number, words = _error(answer)
                if number:
                    found.append(Refused(number, words, requests[answer.sequence - first]))
                if answer.sequence == self._sequence:
                    return found

    def get(self, request: Request) -> bytes:
        """Ask for one object.

        Raises:
            Refused: among others because there is none.
        """
        sequence = self._send((request.kind, request.flags, request.body))
        while True:
            for answer in self.receive():
                if answer.sequence != sequence:
                    continue
                if answer.kind == NLMSG_ERROR:
                    raise Refused(*_error(answer), request)
                return answer.payload

    def dump(self, request: Request, tries: int = TRIES) -> Dump:
        """List everything of a kind; again, up to *tries* times, until nothing interferes.

        The kernel says by NLM_F_DUMP_INTR that something changed while it was listing, so that
        some may be missing.

        Raises:
            Refused: the kernel does not list that.
        """
        dump = self._dump_once(request)
        while not dump.is_complete and tries > 1:
            tries -= 1
            dump = self._dump_once(request)
        return dump

    def _dump_once(self, request: Request) -> Dump:
        sequence = self._send((request.kind, request.flags | NLM_F_DUMP, request.body))
        found: list[bytes] = []
        is_complete = True
        while True:
            for answer in self.receive():
                if answer.sequence != sequence:
                    continue
                # Any message may carry the flag, the last one as well.
                is_complete = is_complete and not answer.flags & NLM_F_DUMP_INTR
                if answer.kind in (NLMSG_DONE, NLMSG_ERROR):
                    number, words = _error(answer)
                    if number:
                        raise Refused(number, words, request)
                    return Dump(tuple(found), is_complete)
                found.append(answer.payload)

    def listen(self, group: int, is_wanted: bool) -> None:
        """Begin or cease to receive what the kernel announces to a multicast group."""
        if is_wanted:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ANNOUNCEMENTS_BUFFER)
        option = NETLINK_ADD_MEMBERSHIP if is_wanted else NETLINK_DROP_MEMBERSHIP
        self._socket.setsockopt(SOL_NETLINK, option, group)

    def wake(self) -> None:
        """Let the thread go on that waits in ``receive``."""
        self._send((NLMSG_NOOP, NLM_F_ACK, b""))

    def _send(self, *messages: tuple[int, int, bytes], last_flags: int = 0) -> int:
        """Send all of them at once; return the first one's sequence number."""
        first = self._sequence + 1
        data = bytearray()
        for kind, flags, body in messages:
            self._sequence += 1
            if self._sequence - first == len(messages) - 1:
                flags |= last_flags
            length = _HEADER.size + len(body)
            data += _HEADER.pack(length, kind, flags | NLM_F_REQUEST, self._sequence, 0) + body
        self._socket.send(data)
        return first

    def receive(self) -> Iterator["Message"]:
        """Wait for the next messages.

        Raises:
            OSError: ENOBUFS, announcements went missing because nobody took them in time.
        """
        return messages_of(self._socket.recv(BUFFER))


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the kernel."""

    kind: int
    flags: int
    sequence: int
    payload: bytes
    port: int = 0  # of an announcement: whose socket asked for the change; 0: the kernel's own


def messages_of(data: bytes) -> Iterator[Message]:
    """The messages in one datagram."""
    offset = 0
    while offset < len(data):
        length, kind, flags, sequence, port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            raise OSError(errno.EBADMSG, "a netlink message was cut off")
        payload = data[offset + _HEADER.size : offset + length]
        yield Message(kind, flags, sequence, payload, port)
        offset += _aligned(length)


def _error(answer: Message) -> tuple[int, str]:
    """The error number, 0 for success, and the kernel's words."""
    (code,) = _ERROR.unpack_from(answer.payload)
    if not answer.flags & NLM_F_ACK_TLVS:
        return -code, ""
    repeated = _HEADER.size if answer.kind == NLMSG_ERROR else 0  # the request's header
    found = attributes(answer.payload, _ERROR.size + repeated)
    return -code, found.get(NLMSGERR_ATTR_MSG, b"").rstrip(b"\0").decode(errors="replace")


def attribute(kind: int, value: bytes) -> bytes:
    """Write an attribute."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value.ljust(_aligned(length) - _ATTRIBUTE.size, b"\0")


def attributes(message: bytes, offset: int) -> dict[int, bytes]:
    """The attributes behind a family header of *offset* bytes."""
    found = {}
    end = len(message)
    while offset + 4 <= end:
        length, kind = _ATTRIBUTE.unpack_from(message, offset)
        if length < 4:
            break
        found[kind & NLA_TYPE_MASK] = message[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3


class Announcements:
    """What the kernel announces to some multicast groups, to be read without waiting."""

    def __init__(
        self,
        *groups: int,
        protocol: int = socket.NETLINK_ROUTE,
        buffer: int = ANNOUNCEMENTS_BUFFER,
    ) -> None:
        """Listen from now on; *buffer* is how many bytes may wait to be read."""
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, protocol)
        self._socket.bind((0, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, buffer)
        for group in groups:
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """The descriptor that can be read when there is something to take."""
        return self._socket.fileno()

    def read(self) -> Iterator[Message]:
        """Take all that has come, one after the other: of a storm nothing is kept.

        Raises:
            OSError: ENOBUFS, announcements went missing because nobody took them in time. The next
                call goes on.
        """
        while True:
            try:
                data = self._socket.recv(BUFFER)
            except BlockingIOError:
                return
            yield from messages_of(data)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

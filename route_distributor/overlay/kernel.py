"""Finds what the kernel has of the tunnels, and does to it what ``difference.py`` says.

Edge: netlink and /proc/sys. The calls block, each with a socket of its own in the network namespace
that the thread is in. What the kernel does not list is not looked at: no links of pods.
"""

import contextlib
import errno
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from datamodel.errors import Unavailable
from kernel_api import rtnetlink
from kernel_api.netlink import Netlink, Refused, Request
from kernel_api.rtnetlink import AF_BRIDGE, AF_INET, AF_INET6, RTM_NEWLINK, Address
from kernel_api.sysctl import families, read_sysctl, write_sysctl
from route_distributor.overlay import messages
from route_distributor.overlay.difference import Difference
from route_distributor.overlay.items import (
    ALIAS,
    DEVICES,
    IPIP,
    PROTOCOL,
    VERSIONS,
    VXLAN,
    Found,
    FoundDevice,
    Item,
    Route,
    Uplink,
)

FAMILIES = {4: AF_INET, 6: AF_INET6}
AT_ONCE = 500  # requests; what a socket takes of them in one piece is limited
GONE = {errno.ENODEV, errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL}  # before we removed it
NO_IPIP = f"{IPIP}: the kernel has no IPIP (module ipip); load it or use vxlanMode"


@dataclass(slots=True)
class Done:
    """What came of it."""

    changed: int = 0  # things made, replaced or removed
    lasting: list[str] = field(default_factory=list)  # what cannot be done before something changes
    refused: list[str] = field(default_factory=list)  # what may be taken when asked again


@contextlib.contextmanager
def opened() -> Iterator["Kernel"]:
    """The kernel, for some calls.

    Raises:
        Unavailable: it does not answer, or refuses to list.
    """
    try:
        with Netlink() as netlink:
            yield Kernel(netlink)
    except OSError as error:
        raise Unavailable(f"kernel: {error.strerror or error}") from error


class Kernel:
    """What is asked of the kernel, and done to it."""

    def __init__(self, netlink: Netlink) -> None:
        self._netlink = netlink

    def uplinks(self, addresses: Iterable[Address]) -> dict[int, Uplink]:
        """The interfaces that have these addresses, by their version."""
        wanted = frozenset(addresses)
        holders: dict[int, int] = {}
        for message in self._netlink.dump(rtnetlink.addresses()).messages if wanted else ():
            _, _, _, _, index = rtnetlink.ADDRESS.unpack_from(message)
            ip = rtnetlink.parse_address(message).ip
            if ip in wanted:
                holders.setdefault(ip.version, index)
        return {
            version: messages.parse_uplink(self._netlink.get(rtnetlink.get_link_by_index(index)))
            for version, index in holders.items()
        }

    def devices(self) -> dict[str, FoundDevice]:
        """The links that have names of tunnel devices."""
        found = {}
        for name in DEVICES:
            with contextlib.suppress(Refused):  # there is none
                found[name] = messages.parse_device(self._netlink.get(rtnetlink.get_link(name)))
        return found

    def indexes(self) -> dict[str, int]:
        """The indices of the tunnel devices, by name."""
        return {n: found.index for n, found in self.devices().items() if found.kind == _kind(n)}

    def find(self, uplinks: Iterable[Uplink], sysctls: Iterable[str]) -> Found:
        """Look at all that is ours, and at some sysctls."""
        devices = self.devices()
        names = {uplink.index: uplink.name for uplink in uplinks}
        names |= {d.index: n for n, d in devices.items() if d.kind == _kind(n)}
        items: set[Item] = set()
        routes: set[bytes] = set()  # some are listed twice
        for index in (d.index for d in devices.values() if d.index in names):
            items.update(self._on(index, names))
            if names[index] != IPIP:
                family = FAMILIES[VERSIONS[names[index]]]
                routes.update(self._dump(rtnetlink.main_routes(family, index)))
        for family in families():
            routes.update(self._dump(rtnetlink.main_routes(family, protocol=PROTOCOL)))
        for message in routes:
            route = messages.parse_route(message, names)
            if route and messages.is_ours(message, route):
                items.add(route)
        values = {}
        for path in sysctls:
            with contextlib.suppress(FileNotFoundError):
                values[path] = read_sysctl(path)
        return Found(devices, frozenset(items), values)

    def _on(self, index: int, names: Mapping[int, str]) -> Iterator[Item]:
        """What is on a tunnel device, routes aside."""
        for message in self._dump(rtnetlink.addresses(index)):
            if address := messages.parse_address(message, names):
                yield address
        if names[index] == IPIP:
            return
        for family in (FAMILIES[VERSIONS[names[index]]], AF_BRIDGE):
            for message in self._dump(rtnetlink.neighbours(index, family)):
                found = messages.parse_neighbour(message, names)
                if found and found[1]:
                    yield found[0]

    def _dump(self, request: Request) -> Collection[bytes]:
        try:
            return self._netlink.dump(request).messages
        except Refused as error:
            if error.errno == errno.ENOENT:  # no route was ever made: there is no table
                return ()
            raise

    def do(self, todo: Difference, uplinks: Iterable[Uplink]) -> Done:
        """Do everything, whatever of it is refused."""
        done = Done()
        self._make_devices(todo, done)
        indexes = self.indexes()
        _write(todo.sysctls, indexes, done)
        self._execute(_changes(todo, indexes), done)
        ends = indexes | {uplink.name: uplink.index for uplink in uplinks}
        self._execute((messages.put(i, ends) for i in todo.put if i.device in ends), done)
        self._execute(_removals(todo, indexes), done, forgiven=GONE)
        return done

    def _make_devices(self, todo: Difference, done: Done) -> None:
        """Make them; that something was done to a device counts when it is changed."""
        there = self.devices()
        for name in todo.remove_first:
            if name in there:  # what refuses to go is in the way of the next one, which says so
                self._netlink.refusals([rtnetlink.delete_link(there[name].index)])
        for device in todo.make:
            for refused in self._netlink.refusals([messages.create_device(device)]):
                if refused.errno == errno.EOPNOTSUPP:
                    done.lasting.append(NO_IPIP if device.name == IPIP else _said(refused))
                # To ask for tunl0 loads the module, which makes it: then it is there already.
                elif refused.errno != errno.EEXIST or device.name != IPIP:
                    done.refused.append(_said(refused))

    def _execute(
        self, requests: Iterable[Request], done: Done, forgiven: Collection[int] = ()
    ) -> None:
        waiting = list(requests)
        for i in range(0, len(waiting), AT_ONCE):
            some = waiting[i : i + AT_ONCE]
            refusals = self._netlink.refusals(some)
            done.changed += len(some) - len(refusals)
            done.refused += [_said(r) for r in refusals if r.errno not in forgiven]


def _changes(todo: Difference, indexes: Mapping[str, int]) -> Iterator[Request]:
    for device in todo.change:
        if device.name in indexes:
            yield rtnetlink.set_link(
                indexes[device.name],
                is_up=True,
                mtu=device.mtu,
                mac=device.mac or None,
                alias=None if device.vxlan else ALIAS,
            )


def _removals(todo: Difference, indexes: Mapping[str, int]) -> Iterator[Request]:
    for item in todo.remove:
        if isinstance(item, Route) or item.device in indexes:
            yield messages.remove(item, indexes)
    for name in todo.release:
        if name in indexes:
            yield rtnetlink.set_link(indexes[name], is_up=False, alias="")
    for name in todo.remove_last:
        if name in indexes:
            yield rtnetlink.delete_link(indexes[name])


def _write(sysctls: Iterable[tuple[str, str]], indexes: Mapping[str, int], done: Done) -> None:
    """Write sysctls; those of a device that could not be made are left out."""
    for path, value in sysctls:
        name = path.split("/")[3]
        if name in VERSIONS and name not in indexes:
            continue
        try:
            write_sysctl(path, value)
            done.changed += 1
        except OSError as error:
            done.refused.append(f"sysctl {path}: cannot be set to {value}: {error.strerror}")


def _kind(name: str) -> str:
    return "vxlan" if name in VXLAN.values() else "ipip"


def _said(refused: Refused) -> str:
    verb = "cannot be made" if refused.request.kind == RTM_NEWLINK else "is refused"
    return f"{refused.request.what}: {verb}: {refused.strerror}"

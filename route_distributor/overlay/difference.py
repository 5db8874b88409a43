"""What has to be done to what the kernel has, so that it is what there should be.

Pure: no I/O. The order is for traffic that goes on meanwhile: ways are made before the routes that
lead there, a route is replaced at once, and what nobody leads to any more goes last.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from route_distributor.overlay.items import (
    ALIAS,
    DEVICES,
    IPIP,
    PROTOCOL,
    VERSIONS,
    Device,
    Forwarding,
    Found,
    FoundDevice,
    Item,
    Neighbour,
    Overlay,
    OwnAddress,
    Route,
    version_of,
)

_ORDER = (OwnAddress, Neighbour, Forwarding, Route)  # of making; of removing the other way round


@dataclass(frozen=True, slots=True)
class Difference:
    """Steps, in the order of the fields."""

    remove_first: tuple[str, ...] = ()  # devices that cannot become what they should be
    make: tuple[Device, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    change: tuple[Device, ...] = ()
    put: tuple[Item, ...] = ()
    remove: tuple[Item, ...] = ()
    release: tuple[str, ...] = ()  # tunl0, which cannot be removed: down, and nobody's
    remove_last: tuple[str, ...] = ()  # devices
    problems: tuple[str, ...] = field(default=(), compare=False)

    def without_removal(self) -> "Difference":
        """What can be done before all that should be is known."""
        return replace(self, remove=(), release=(), remove_last=())


def difference(wanted: Overlay, found: Found) -> Difference:
    """Compare what there should be with what there is."""
    devices = {n: d for n, d in found.devices.items() if VERSIONS[n] not in wanted.unknown}
    foreign = {n for n, device in wanted.devices.items() if _is_foreign(devices.get(n), device)}
    usable = {n: device for n, device in wanted.devices.items() if n not in foreign}
    remade = {n for n, device in usable.items() if _must_be_remade(devices.get(n), device)}
    missing = remade | (usable.keys() - devices.keys())
    released = {
        n for n, d in devices.items() if n == IPIP and n not in wanted.devices and d.alias == ALIAS
    }
    gone = {n for n, d in devices.items() if n not in wanted.devices and d.kind == "vxlan"}
    ours = usable.keys() | gone | released
    put, removed = _items(wanted, found, ours, lost=missing | gone)
    return Difference(
        remove_first=tuple(sorted(remade)),
        make=tuple(usable[n] for n in DEVICES if n in missing),
        change=tuple(
            usable[n]
            for n in DEVICES
            if n in usable and (n in missing or not is_right(devices[n], usable[n]))
        ),
        put=put,
        sysctls=tuple(
            (path, value)
            for path, value in sorted(wanted.sysctls.items())
            if found.sysctls.get(path) != value and not _is_on(path, foreign)
        ),
        remove=removed,
        release=tuple(sorted(released)),
        remove_last=tuple(sorted(gone)),
        problems=tuple(
            f"link {n}: exists and is no {wanted.devices[n].kind} device; remove it"
            for n in sorted(foreign)
        ),
    )


def _is_foreign(found: FoundDevice | None, wanted: Device) -> bool:
    return found is not None and found.kind != wanted.kind


def _must_be_remade(found: FoundDevice | None, wanted: Device) -> bool:
    return found is not None and found.vxlan != wanted.vxlan


def is_right(found: FoundDevice, wanted: Device) -> bool:
    """Whether a device is as it should be; what is on it aside."""
    if found.vxlan != wanted.vxlan or (not wanted.vxlan and found.alias != ALIAS):
        return False
    return found.is_up and found.mtu == wanted.mtu and wanted.mac in ("", found.mac)


def _items(
    wanted: Overlay, found: Found, ours: Iterable[str], lost: Iterable[str]
) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """What to put and what to remove.

    Args:
        ours: devices of which something may be removed.
        lost: devices that are not there, or will go, with all that is on them.
    """
    ours, lost = frozenset(ours), frozenset(lost)
    there = {i for i in found.items if version_of(i) not in wanted.unknown and i.device not in lost}
    usable = {i for i in wanted.items if i.device in ours or i.device not in VERSIONS}
    put = sorted(usable - there, key=_order)
    replaced = {place(item) for item in put}
    removed = [
        i
        for i in there - usable
        if place(i) not in replaced and (i.device in ours or _has_our_protocol(i))
    ]
    return tuple(put), tuple(sorted(removed, key=_order, reverse=True))


def _has_our_protocol(item: Item) -> bool:
    return isinstance(item, Route) and item.protocol == PROTOCOL


def place(item: Item) -> tuple[object, ...]:
    """What there can be only one of: to put another one there replaces it."""
    match item:
        case OwnAddress(device, address):
            return (OwnAddress, device, address)
        case Neighbour(device, address):
            return (Neighbour, device, address)
        case Forwarding(device, mac):
            return (Forwarding, device, mac)
        case Route(destination, metric=metric):
            return (Route, destination, metric)


def _order(item: Item) -> tuple[int, str]:
    return _ORDER.index(type(item)), repr(item)


def _is_on(path: str, devices: Iterable[str]) -> bool:
    return any(f"/{name}/" in path for name in devices)

"""IPReservations: addresses that no pod gets by itself, whatever pool they are in.

Pure: no I/O. As in Calico an allocation that exists is untouched, and whoever asks for one
certain address gets it, reserved or not.
"""

import ipaddress
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from datamodel.block import Address
from datamodel.pool import Network

# First and last address, as numbers.
Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Reservations:
    """Everything that is reserved: ranges that neither overlap nor touch, in order."""

    ipv4: tuple[Range, ...] = ()
    ipv6: tuple[Range, ...] = ()
    malformed: tuple[str, ...] = ()  # entries that are neither CIDR nor address, and ignored

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Reservations":
        """Read what IPReservations list: CIDRs and addresses; a blank entry means nothing."""
        ranges: dict[int, list[Range]] = {4: [], 6: []}
        malformed = []
        for text in filter(None, (text.strip() for text in texts)):
            try:
                network = _network(text)
            except ValueError:
                malformed.append(text)
            else:
                ranges[network.version].append(_range(network))
        return cls(_merged(ranges[4]), _merged(ranges[6]), tuple(malformed))

    def ordinals(self, block: Network) -> frozenset[int]:
        """Which ordinals of *block* are reserved."""
        first, last = _range(block)
        return frozenset(
            address - first
            for start, end in self._ranges_from(first, block.version)
            if start <= last
            for address in range(max(start, first), min(end, last) + 1)
        )

    def covers(self, network: Network) -> bool:
        """Whether every address of *network* is reserved, by one reservation or by several."""
        first, last = _range(network)
        nearest = next(iter(self._ranges_from(first, network.version)), None)
        return nearest is not None and nearest[0] <= first and last <= nearest[1]

    def touches(self, network: Network) -> bool:
        """Whether any address of *network* is reserved."""
        first, last = _range(network)
        nearest = next(iter(self._ranges_from(first, network.version)), None)
        return nearest is not None and nearest[0] <= last

    def __contains__(self, address: Address) -> bool:
        nearest = next(iter(self._ranges_from(int(address), address.version)), None)
        return nearest is not None and nearest[0] <= int(address)

    def _ranges_from(self, address: int, version: int) -> tuple[Range, ...]:
        """The ranges that end at *address* or behind it."""
        ranges = self.ipv4 if version == 4 else self.ipv6
        return ranges[bisect_left(ranges, address, key=lambda found: found[1]) :]


def _network(text: str) -> Network:
    """Read a CIDR or an address as Go does: host bits are cut off; no netmask and no zone."""
    _, slash, length = text.partition("/")
    if "%" in text or (slash and not (length.isascii() and length.isdigit())):
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=False)


def _range(network: Network) -> Range:
    return int(network.network_address), int(network.broadcast_address)


def _merged(ranges: list[Range]) -> tuple[Range, ...]:
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)

"""Tunnel devices and what is on them, in the messages of the kernel.

Pure: no I/O. The numbers are those of <linux/if_link.h> and neighbour.h. What lists tell and what
is announced reads the same way.
"""

import struct
from collections.abc import Mapping
from ipaddress import ip_address, ip_network

from kernel_api import rtnetlink
from kernel_api.netlink import Request, attribute, attributes
from kernel_api.rtnetlink import (
    AF_BRIDGE,
    AF_INET,
    AF_INET6,
    IFLA_ADDRESS,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    INT,
    LINK,
    NDA_DST,
    NDA_LLADDR,
    NEIGHBOUR,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NUD_NOARP,
    NUD_PERMANENT,
    ROUTE,
    RT_SCOPE_LINK,
    RT_TABLE_MAIN,
    RTA_DST,
    RTA_GATEWAY,
    RTA_MULTIPATH,
    RTA_OIF,
    RTA_PRIORITY,
    RTM_DELNEIGH,
    RTM_DELROUTE,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTN_UNICAST,
    RTNH_F_ONLINK,
    UINT,
    Entry,
    UnicastRoute,
    text_bytes,
)
from route_distributor.overlay.items import (
    PROTOCOL,
    VERSIONS,
    VXLAN,
    Device,
    Forwarding,
    FoundDevice,
    Item,
    Neighbour,
    OwnAddress,
    Route,
    Uplink,
    Vxlan,
)

VXLAN_ID, VXLAN_LINK, VXLAN_LOCAL, VXLAN_LEARNING, VXLAN_PORT, VXLAN_LOCAL6 = 1, 3, 4, 7, 15, 17
RTPROT_KERNEL = 2
NTF_SELF = 0x02
_PORT = struct.Struct("!H")

Names = Mapping[int, str]  # index -> name, of tunnel devices and uplinks


# ---- devices -----------------------------------------------------------------------------------


def create_device(device: Device) -> Request:
    """Make a tunnel device; there must be none of that name."""
    info = attribute(IFLA_INFO_KIND, device.kind.encode())
    if device.vxlan:
        info += attribute(IFLA_INFO_DATA, _vxlan_data(device.vxlan))
    body = LINK.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, text_bytes(device.name))
    if device.mac:
        body += attribute(IFLA_ADDRESS, rtnetlink.mac_bytes(device.mac))
    body += attribute(IFLA_LINKINFO, info)
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, f"link {device.name}")


def _vxlan_data(vxlan: Vxlan) -> bytes:
    data = attribute(VXLAN_ID, UINT.pack(vxlan.vni))
    data += attribute(VXLAN_LINK, UINT.pack(vxlan.parent))
    data += attribute(VXLAN_PORT, _PORT.pack(vxlan.port))
    data += attribute(VXLAN_LEARNING, bytes([vxlan.is_learning]))
    if vxlan.local:
        kind = VXLAN_LOCAL if vxlan.local.version == 4 else VXLAN_LOCAL6
        data += attribute(kind, vxlan.local.packed)
    return data


def parse_device(message: bytes) -> FoundDevice:
    """Read a link that has the name of a tunnel device."""
    link = rtnetlink.parse_link(message)
    info = attributes(attributes(message, LINK.size).get(IFLA_LINKINFO, b""), 0)
    kind = info.get(IFLA_INFO_KIND, b"").rstrip(b"\0").decode(errors="replace")
    vxlan = None
    if kind == "vxlan":
        data = attributes(info.get(IFLA_INFO_DATA, b""), 0)
        local = data.get(VXLAN_LOCAL) or data.get(VXLAN_LOCAL6)
        vxlan = Vxlan(
            local=ip_address(local) if local else None,
            parent=UINT.unpack(data[VXLAN_LINK])[0] if VXLAN_LINK in data else 0,
            vni=UINT.unpack(data[VXLAN_ID])[0] if VXLAN_ID in data else 0,
            port=_PORT.unpack(data[VXLAN_PORT])[0],
            is_learning=data[VXLAN_LEARNING] != b"\0",
        )
    return FoundDevice(link.index, kind, link.is_up, link.mtu, link.mac, link.alias, vxlan)


def parse_uplink(message: bytes) -> Uplink:
    """Read the link that has the node's address."""
    link = rtnetlink.parse_link(message)
    return Uplink(link.index, link.name, link.mtu, link.is_up)


# ---- what is on them ---------------------------------------------------------------------------


def parse_address(message: bytes, names: Names) -> OwnAddress | None:
    """Read an address of a tunnel device; ``None`` if it is another link's, or the kernel's own."""
    _, _, _, scope, index = rtnetlink.ADDRESS.unpack_from(message)
    name = names.get(index)
    if name not in VERSIONS or scope == RT_SCOPE_LINK:
        return None
    return OwnAddress(name, rtnetlink.parse_address(message))


def parse_neighbour(message: bytes, names: Names) -> tuple[Neighbour | Forwarding, bool] | None:
    """Read a neighbour or forwarding entry of a VXLAN device, and whether it is for good."""
    family, index, state, _, _ = NEIGHBOUR.unpack_from(message)
    name = names.get(index, "")
    if name not in VXLAN.values():
        return None
    found = attributes(message, NEIGHBOUR.size)
    if NDA_DST not in found:
        return None
    address, mac = ip_address(found[NDA_DST]), found.get(NDA_LLADDR, b"").hex(":")
    is_permanent = bool(state & NUD_PERMANENT)
    if family == AF_BRIDGE:
        return Forwarding(name, mac, address, is_permanent), True
    if family not in (AF_INET, AF_INET6) or state & NUD_NOARP:  # of multicast
        return None
    return Neighbour(name, address, mac), is_permanent


def parse_route(message: bytes, names: Names) -> Route | None:
    """Read a route of the main table; ``None`` if the kernel made it by itself."""
    family, length, _, _, table, protocol, _, _, flags = ROUTE.unpack_from(message)
    if table != RT_TABLE_MAIN or protocol == RTPROT_KERNEL:
        return None
    found = attributes(message, ROUTE.size)
    destination = found.get(RTA_DST) or bytes(4 if family == AF_INET else 16)
    via = found.get(RTA_GATEWAY)
    index = INT.unpack(found[RTA_OIF])[0] if RTA_OIF in found else 0
    return Route(
        destination=ip_network((destination, length)),
        device=names.get(index, f"link {index}"),
        via=ip_address(via) if via else None,
        metric=UINT.unpack(found[RTA_PRIORITY])[0] if RTA_PRIORITY in found else 0,
        protocol=protocol,
        is_onlink=bool(flags & RTNH_F_ONLINK),
    )


def is_ours(message: bytes, route: Route) -> bool:
    """Whether a route is for us to remove if nobody wants it."""
    if route.device in VXLAN.values():
        return True
    # As Felix may have made it for a pod: straight to a link.
    is_pods = ROUTE.unpack_from(message)[7] == RTN_UNICAST and route.via is None
    is_pods = is_pods and RTA_MULTIPATH not in attributes(message, ROUTE.size)
    return route.protocol == PROTOCOL and not is_pods


# ---- requests ----------------------------------------------------------------------------------


def put(item: Item, indexes: Mapping[str, int]) -> Request:
    """Make an item, in the place of another one if need be."""
    flags = NLM_F_CREATE | NLM_F_REPLACE
    match item:
        case OwnAddress():
            return rtnetlink.add_address(indexes[item.device], item.address)
        case Route():
            return rtnetlink.route(RTM_NEWROUTE, flags, _unicast_route(item, indexes))
        case _:
            return rtnetlink.neighbour(RTM_NEWNEIGH, flags, _entry(item, indexes))


def remove(item: Item, indexes: Mapping[str, int]) -> Request:
    """Remove an item."""
    match item:
        case OwnAddress():
            return rtnetlink.delete_address(indexes[item.device], item.address)
        case Route():
            return rtnetlink.route(RTM_DELROUTE, 0, _unicast_route(item, indexes))
        case _:
            return rtnetlink.neighbour(RTM_DELNEIGH, 0, _entry(item, indexes))


def _unicast_route(route: Route, indexes: Mapping[str, int]) -> UnicastRoute:
    return UnicastRoute(
        destination=route.destination,
        index=indexes.get(route.device, 0),
        via=route.via,
        metric=route.metric,
        protocol=route.protocol,
        is_onlink=route.is_onlink,
    )


def _entry(item: Neighbour | Forwarding, indexes: Mapping[str, int]) -> Entry:
    index = indexes[item.device]
    if isinstance(item, Forwarding):
        return Entry(AF_BRIDGE, index, item.node, item.mac, NUD_NOARP | NUD_PERMANENT, NTF_SELF)
    return Entry(rtnetlink.family_of(item.address), index, item.address, item.mac)

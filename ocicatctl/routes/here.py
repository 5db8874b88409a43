"""Ask this node's BIRD and kernel what they do.

Edge: BIRD's control socket, netlink. It changes nothing. A BIRD that does not answer is an answer.
"""

from collections.abc import Sequence

from bird_api import protocols, routes
from bird_api.control import BirdControl, Refused
from bird_api.routes import BirdRoute
from datamodel.block import Address
from datamodel.errors import Unavailable
from kernel_api import lookup, netlink, rtnetlink
from kernel_api.lookup import KernelRoute
from kernel_api.sysctl import families
from ocicatctl.routes.facts import Bird, Kernel


def ask_bird(path: str, address: Address | None = None) -> tuple[Bird, Sequence[BirdRoute]]:
    """BIRD's sessions and routes, and those by which it would send to an address.

    Raises:
        Invalid: its answers are not those that we know.
    """
    try:
        with BirdControl(path) as bird:
            sessions = protocols.sessions(bird.command(protocols.SHOW_PROTOCOLS))
            known = routes.routes(bird.command(routes.SHOW_ROUTES))
            paths = _paths(bird, address) if address else []
    except Unavailable as error:
        return Bird(mistake=str(error)), []
    return Bird(sessions, known), paths


def _paths(bird: BirdControl, address: Address) -> list[BirdRoute]:
    try:
        return routes.routes(bird.command(routes.show_route_for(address)))
    except Refused as error:
        if error.code == routes.NOT_FOUND:
            return []
        raise


def ask_kernel(address: Address | None = None) -> tuple[Kernel, KernelRoute | None, str]:
    """The kernel's routes and links; by which it sends to an address, or what it says instead.

    Raises:
        Unavailable: the kernel does not answer.
    """
    try:
        with netlink.Netlink() as kernel:
            links = [
                rtnetlink.parse_link(message)
                for message in kernel.dump(lookup.list_links()).messages
            ]
            names = {link.index: link.name for link in links}
            known = [
                route
                for family in families()
                for message in kernel.dump(rtnetlink.main_routes(family)).messages
                if (route := lookup.parse_route(message, names))
            ]
            silent = [
                lookup.parse_silent(message, names)
                for message in kernel.dump(rtnetlink.neighbours()).messages
            ]
            used, refusal = None, ""
            if address is not None:
                try:
                    used = lookup.parse_route(kernel.get(lookup.look_up(address)), names)
                except netlink.Refused as refused:
                    refusal = refused.strerror or str(refused)
    except OSError as error:
        raise Unavailable(f"kernel: does not list its routes: {error}") from error
    is_up = {link.name: link.is_up for link in links}
    return Kernel(known, is_up, frozenset(filter(None, silent))), used, refusal

"""Ask this node's BIRD and kernel what they do.

Edge: BIRD's control socket, netlink. It changes nothing. A BIRD that does not answer is an answer.
"""

from collections.abc import Sequence

from bird_api import protocols, routes
from bird_api.control import BirdControl, Refused
from bird_api.routes import BirdRoute
from datamodel.block import Address
from datamodel.errors import Unavailable
from kernel_api import lookup, netlink
from kernel_api.lookup import KernelRoute
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
            links = dict(map(lookup.parse_link, kernel.dump(lookup.list_links()).messages))
            known = [
                route
                for version in lookup.FAMILIES
                for message in kernel.dump(lookup.list_routes(version)).messages
                if (route := lookup.parse_route(message, links))
            ]
            silent = [
                lookup.parse_silent(message, links)
                for message in kernel.dump(lookup.list_neighbours()).messages
            ]
            used, refusal = None, ""
            if address is not None:
                try:
                    used = lookup.parse_route(kernel.get(lookup.look_up(address)), links)
                except netlink.Refused as refused:
                    refusal = refused.strerror or str(refused)
    except OSError as error:
        raise Unavailable(f"kernel: does not list its routes: {error}") from error
    by_name = {link.name: link for link in links.values()}
    return Kernel(known, by_name, frozenset(filter(None, silent))), used, refusal

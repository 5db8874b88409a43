"""BIRD as a part of routing: what it should do, as text, and told to it.

Story. The same text is neither written nor told again, and a text that BIRD refused is not tried
again: pods come and go without BIRD hearing of it. Routes that somebody deletes BIRD itself puts
back, and sooner if it is told to look.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from datamodel.bgp import SecretRef
from datamodel.errors import Invalid
from route_distributor.bird.desired import BirdConfig, NotYet
from route_distributor.bird.render import render
from route_distributor.part import Applied
from route_distributor.snapshot import ClusterSnapshot

log = logging.getLogger(__name__)

LOOK_S = 10.0  # how often it is looked whether the file is still ours, and BIRD listens

Secrets = Mapping[SecretRef, str]


class Bird(Protocol):
    """What the part needs of ``route_distributor.bird.daemon.Bird``."""

    async def write(self, text: str) -> bool: ...

    async def is_written(self, text: str) -> bool: ...

    async def configure(self) -> None: ...

    async def lacks_socket(self) -> bool: ...

    async def put_routes_back(self) -> None: ...


class Routes(Protocol):
    """What the part needs of ``route_distributor.bird.kernel_routes.KernelRoutes``."""

    def are_missing(self) -> bool: ...

    async def disturbed(self) -> None: ...

    async def put_back(self) -> int: ...


class BirdPart:
    """Keeps BIRD's configuration at what the cluster wants."""

    name = "bird"

    def __init__(
        self,
        bird: Bird,
        decide: Callable[[ClusterSnapshot, Secrets], BirdConfig | NotYet],
        secrets: Callable[[], Secrets],
        routes: Routes,
        look_s: float = LOOK_S,
    ) -> None:
        """Have *bird* do what *decide* says; *secrets* reads the passwords, and may block."""
        self._bird = bird
        self._routes = routes
        self._decide = decide
        self._secrets = secrets
        self._look_s = look_s
        self._wanted: BirdConfig | None = None  # None: not known yet
        self._told: str | None = None  # the text that BIRD has taken over from us
        self._refused: tuple[str, str] | None = None  # a text, and why BIRD does not want it

    async def apply(self, snapshot: ClusterSnapshot) -> Applied:
        """Have BIRD do what *snapshot* wants.

        ``changed`` counts reconfigurations, and routes that were put back.

        Raises:
            Unavailable: BIRD does not answer, or its file cannot be written or checked.
            Invalid: BIRD refuses the text, and goes on as it did.
        """
        decision = self._decide(snapshot, await asyncio.to_thread(self._secrets))
        if isinstance(decision, BirdConfig):
            self._wanted = decision
            problems = decision.problems
        else:
            problems = (decision.reason,)
        if self._wanted is None:
            return Applied(problems=problems)
        try:
            changed = await self._configure(self._wanted)
        except Invalid:
            await self._put_routes_back()  # of what BIRD goes on with
            raise
        return Applied(changed + await self._put_routes_back(), problems)

    async def disturbed(self) -> None:
        """Wait until BIRD must be told again.

        Somebody deleted a route of its, or changed its file; or it found its port taken, perhaps by
        the BIRD that was here before, and gave its sessions up for good.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_s):
                    await self._routes.disturbed()
                return
            if self._told is None:
                continue
            if not await self._bird.is_written(self._told):
                return
            if await self._bird.lacks_socket():
                log.warning(
                    "BIRD found its port taken and has no sessions: it is told to try again"
                )
                self._told = None
                return

    async def _put_routes_back(self) -> int:
        if self._routes.are_missing():
            await self._bird.put_routes_back()
        return await self._routes.put_back()

    async def _configure(self, config: BirdConfig) -> int:
        text = render(config)
        if self._refused is not None and self._refused[0] == text:
            raise Invalid(self._refused[1])
        try:
            is_other = await self._bird.write(text)
            if text == self._told and not is_other:
                return 0
            self._told = None
            await self._bird.configure()
        except Invalid as error:
            self._refused = (text, str(error))
            raise
        self._told = text
        self._refused = None
        peers, blocks = len(config.peers), len(config.blocks)
        log.info("configured address=%s peers=%d blocks=%d", config.address, peers, blocks)
        return 1

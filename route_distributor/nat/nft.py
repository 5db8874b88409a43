"""Has nft change and list our table.

Edge: the program nft of the package nftables. It decides nothing; ``part.py`` does.
"""

from datamodel.errors import Unavailable
from route_distributor.nat.ruleset import FAMILY, NAME, TABLE, listing
from route_distributor.process import Ended, run

# Its messages are compared. PATH: of whoever has none, or none with the administrator's programs.
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Nft:
    """nft, in the network namespace of whoever calls it."""

    def __init__(self, program: str = "nft") -> None:
        self._program = program

    async def transact(self, text: str) -> None:
        """Do all that *text* says at once, or nothing of it.

        Raises:
            Unavailable: nft or the kernel refuses.
        """
        ended = await self._run("-f", "-", stdin=text)
        if ended.status:
            raise _refused(ended)

    async def table(self) -> frozenset[str] | None:
        """List our table; ``None`` if it is not there.

        Raises:
            Unavailable: nft or the kernel refuses.
            Invalid: the listing cannot be read.
        """
        ended = await self._run("-j", "list", "table", FAMILY, NAME)
        if ended.status and "No such file or directory" in ended.complaint:
            return None
        if ended.status:
            raise _refused(ended)
        return listing(ended.output)

    async def _run(self, *arguments: str, stdin: str = "") -> Ended:
        return await run(
            self._program, *arguments, package="nftables", stdin=stdin, environment=_ENVIRONMENT
        )


def _refused(ended: Ended) -> Unavailable:
    said = ended.complaint.splitlines()[0] if ended.complaint else f"status {ended.status}"
    return Unavailable(f"table {TABLE}: nft refuses: {said}")

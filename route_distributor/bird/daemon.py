"""Hand BIRD its file: check it, replace it, tell BIRD to read it.

Edge: the file, ``bird -p``, BIRD's control socket. It decides nothing; ``part.py`` does.
"""

import asyncio
import os
from pathlib import Path

from bird_api.control import BirdControl
from bird_api.protocols import SHOW_PROTOCOLS, all_started, lack_socket
from bird_api.reply import RECONFIGURED
from datamodel.errors import Invalid, OcicatError, Unavailable
from route_distributor.process import run


class Bird:
    """The BIRD of this node, running or not."""

    def __init__(self, config: Path, socket: Path) -> None:
        self._config = config
        self._socket = socket
        # In the same directory, else replacing would not be atomic. One fixed name: what a crash
        # leaves behind is overwritten, and a refused file stays for the operator to look into.
        self._draft = config.with_name(f"{config.name}.new")
        # The BIRD that is known to listen since it was told last: to ask it of a thousand sessions
        # again and again would be most of the work at rest.
        self._listening: tuple[int, int] | None = None

    async def write(self, text: str) -> bool:
        """Make *text* BIRD's file; ``False`` if it is already. BIRD is not told.

        Raises:
            Invalid: BIRD refuses the text. The file is as it was.
            Unavailable: the file cannot be written or checked. It is as it was.
        """
        try:
            if await self.is_written(text):
                return False
            await asyncio.to_thread(self._write_draft, text)
            await self._check_draft()
            await asyncio.to_thread(os.replace, self._draft, self._config)
        except OSError as error:
            raise Unavailable(f"file {self._config}: cannot be replaced: {error}") from error
        return True

    async def is_written(self, text: str) -> bool:
        """Tell whether *text* is what BIRD's file holds.

        Raises:
            Unavailable: the file cannot be read.
        """
        try:
            return await asyncio.to_thread(self._read) == text.encode()
        except OSError as error:
            raise Unavailable(f"file {self._config}: cannot be read: {error}") from error

    async def configure(self) -> None:
        """Tell BIRD to read its file. To repeat it does no harm.

        Raises:
            Invalid: BIRD refuses the file and goes on with the configuration that it has.
            Unavailable: BIRD does not answer, or is going down. It reads the file when it starts.
        """
        self._listening = None
        await asyncio.to_thread(self._configure)

    async def lacks_socket(self) -> bool:
        """Tell whether BIRD gave sessions up because it could not listen; not so if it is away."""
        return await asyncio.to_thread(self._lacks_socket)

    async def put_routes_back(self) -> None:
        """Have BIRD look at the kernel's routes now instead of at its next scan.

        Raises:
            Unavailable: BIRD does not answer.
            Invalid: it answers in a way that we do not know.
        """
        await asyncio.to_thread(self._put_routes_back)

    def _lacks_socket(self) -> bool:
        try:
            found = self._socket.stat()
            process = (found.st_ino, found.st_mtime_ns)  # each BIRD makes a socket of its own
            if process == self._listening:
                return False
            with BirdControl(str(self._socket)) as control:
                replies = control.command(SHOW_PROTOCOLS)
        except (OcicatError, OSError):
            return False
        if all_started(replies):
            self._listening = process
        return lack_socket(replies)

    def _put_routes_back(self) -> None:
        with BirdControl(str(self._socket)) as control:
            # BIRD's table of protocols: name, kind, table, state.
            rows = [reply.text.split() for reply in control.command(SHOW_PROTOCOLS)]
            for name in (row[0] for row in rows if row[1:2] == ["Kernel"] and row[3:4] == ["up"]):
                # It has nothing to import again, since it learns: so it scans.
                control.command(f"reload in {name}")

    def _read(self) -> bytes | None:
        try:
            return self._config.read_bytes()
        except FileNotFoundError:
            return None

    def _write_draft(self, text: str) -> None:
        self._draft.parent.mkdir(parents=True, exist_ok=True)  # /run is empty after a boot
        with self._draft.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)  # it may hold passwords
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())

    async def _check_draft(self) -> None:
        ended = await run("bird", "-p", "-c", str(self._draft), package="bird2")
        if ended.status < 0:  # says nothing of the text
            raise Unavailable(f"file {self._draft}: bird -p was killed by signal {-ended.status}")
        if ended.status:
            said = ended.complaint or ended.output.strip() or f"exit status {ended.status}"
            raise Invalid(f"file {self._draft}: bird -p refuses it: {said}")

    def _configure(self) -> None:
        with BirdControl(str(self._socket)) as control:
            last = control.command("configure")[-1]
        if last.code not in RECONFIGURED:
            raise Unavailable(f"BIRD {self._socket}: {last.text}")

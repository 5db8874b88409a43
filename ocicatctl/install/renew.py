"""Upgrades a node to the version that runs this: changed files, then one daemon after the other.

Called by ``ocicatctl upgrade``. What served before must serve afterwards; if one does not, the
former files are put back and the daemons restarted once more. Pods notice nothing of any of it: an
ADD waits for ipamd, and launchers serve themselves while the CNI server is not there.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from datamodel.errors import OcicatError, Unavailable
from ocicatctl.install.daemons import Daemons
from ocicatctl.install.disk import Disk
from ocicatctl.install.install import install
from ocicatctl.install.templates import BIRD
from ocicatctl.install.wanted import File

POLL_S = 0.1


def renew(
    disk: Disk,
    files: Sequence[File],
    prove: Callable[[Sequence[Path]], None],
    daemons: Daemons | None,
    *,
    timeout_s: float,
    is_trial: bool = False,
) -> Iterator[str]:
    """Put *files* in the place of the former version's; say what is done while it is done.

    Args:
        prove: as for ``install``.
        daemons: who runs them; ``None``: not systemd.
        timeout_s: how long a daemon may take until it serves.

    Raises:
        Invalid: the files cannot be put in place; nothing has changed.
        Unavailable: a daemon does not serve with them; the former ones are back.
    """
    former = [before for file in files if (before := disk.read(file))]
    changed = {file.path for file in files} - {b.path for b in former if b in files}
    running = daemons.running() if daemons else []
    services = [name for name in running if name != BIRD or _has(changed, BIRD)]
    serving = [name for name in services if daemons and daemons.serves(name)]
    yield from install(files, disk, prove, is_trial=is_trial)
    if daemons is None:
        yield "daemons: are not systemd's here; have those restarted that runs them"
        return
    if is_trial:
        yield from (f"{name}: would be restarted" for name in services)
        return
    done: list[str] = []
    try:
        daemons.reload()
        for name in services:
            done.append(name)
            yield _restarted(daemons, name, timeout_s, is_waited_for=name in serving)
    except OcicatError as error:
        yield f"{error}: going back"
        install(former, disk, lambda _: None)
        daemons.reload()
        for name in done:
            yield _restarted(daemons, name, timeout_s, is_waited_for=name in serving)
        raise Unavailable(
            f"{error}; the former version is back, see journalctl -u {done[-1]}"
        ) from error
    if not services:
        yield "daemons: none runs"


def _has(paths: set[str], unit: str) -> bool:
    return any(path.endswith(f"/{unit}") for path in paths)


def _restarted(daemons: Daemons, name: str, timeout_s: float, *, is_waited_for: bool) -> str:
    """Restart a daemon and wait until it serves; return what is to be said."""
    begun = time.monotonic()
    daemons.restart(name)
    if not is_waited_for:
        return f"{name}: restarted; it did not serve before, and is not waited for"
    while not daemons.serves(name):
        if time.monotonic() - begun > timeout_s:
            raise Unavailable(f"{name}: does not serve {timeout_s:g} s after its restart")
        time.sleep(POLL_S)
    return f"{name}: restarted, serves after {time.monotonic() - begun:.1f} s"

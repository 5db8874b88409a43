"""What install has put on the node: its launchers, and the other files that it recorded.

Pure: no I/O.
"""

from collections.abc import Iterator

from ocicatctl.doctor.checks_runtime import NAMES, executable
from ocicatctl.doctor.facts import BinDir, Facts, Installation, Launcher, Runtimes
from ocicatctl.doctor.finding import Finding, Fine, Unknown, Wrong
from ocicatctl.doctor.settings import ENVIRONMENT_FILE
from ocicatctl.install.plan import Removing, removing


def launchers(facts: Facts) -> Iterator[Finding]:
    """Whether each launcher answers, and is that of this version."""
    installation = facts.of(Installation)
    bins = facts.of(Runtimes).bins
    for one in installation.launchers:
        directory, _, name = one.path.rpartition("/")
        command = executable(bins.get(directory, BinDir(directory)), name)
        wrong = list(_launcher(one, facts.settings.cni, command))
        yield from wrong
        if not wrong and one.proof is None:
            yield Unknown(f"{one.path}: not called, it is for another file system")
        elif not wrong:
            yield Fine(f"{one.path}: answers VERSION, and is of this version")
    if not installation.launchers:
        yield Unknown("no launcher of ours found; see bin-dir")


def _launcher(one: Launcher, socket: str, command: str) -> Iterator[Wrong]:
    again = f"ocicatctl install --bin-dir {one.path.rpartition('/')[0]}"
    if not one.has_interpreter:
        yield Wrong(
            f"{one.path}: its interpreter {one.interpreter} is not there",
            "no call of the runtime gets through: every ADD and DEL fails",
            "apt-get install python3-minimal",
        )
    elif one.proof:
        yield Wrong(
            f"{one.path}: does not run ({one.proof})",
            "no call of the runtime gets through: every ADD and DEL fails",
            command if "may not be executed" in one.proof else again,
        )
    if one.fallback and not one.has_fallback:  # without one it waits for the server
        yield Wrong(
            f"{one.path}: {one.fallback} is not there",
            "while the CNI server is down, ADD and DEL fail",
            again,
            is_warning=True,
        )
    if one.socket != socket:
        yield Wrong(
            f"{one.path}: calls the CNI server at {one.socket}, not at {socket}",
            "each call is served by a process of its own, slowly, or not at all",
            f"OCICAT_CNI_SOCKET={socket} {again}",
        )
    if one.is_current is False:
        yield Wrong(
            f"{one.path}: is of another version than this ocicatctl",
            "launcher and server may not understand each other",
            again,
        )


def installation(facts: Facts) -> Iterator[Finding]:
    """Whether what was installed is there, whole."""
    seen = facts.of(Installation)
    for path in seen.unfinished:
        yield Wrong(
            f"{path}: is left of an install that was interrupted",
            "what is installed is of two versions",
            "ocicatctl install",
        )
    if seen.manifest is None:
        yield Fine("nothing is recorded as installed by ocicatctl install")
        return
    damaged = False
    for path, entry in seen.manifest.files.items():
        found = seen.found[path]
        what = "is not there" if not found.exists else "was changed since"
        if len(entry.digests) > 1:
            what = "may be of an older version: an install was interrupted"
        elif found.exists and (removing(entry, found) is not Removing.KEPT or _is_editable(path)):
            continue
        damaged = True
        name = path.rpartition("/")[2]
        is_launcher = name in NAMES
        yield Wrong(
            f"{path}: {what}",
            "the node is not as install has left it",
            f"mv {path} {path}.changed && ocicatctl install"
            if is_launcher and found.exists and len(entry.digests) == 1
            else "ocicatctl install",
            is_warning=found.exists and not is_launcher,
        )
    if not damaged:
        yield Fine(f"{len(seen.manifest.files)} files are as ocicatctl install has left them")


def _is_editable(path: str) -> bool:
    """Whether it is the operator's from the moment that it is there."""
    return path.endswith(ENVIRONMENT_FILE.rpartition("/")[2])

"""The package's own texts: the configuration, the environment file, the systemd units.

Edge: files of the package. What is in the units is explained in them.
"""

from importlib import resources
from pathlib import PurePosixPath

from ocicatctl.install import conflist
from ocicatctl.install.wanted import Directories, File

TARGET = "ocicat.target"
# In the order in which an upgrade restarts them: who is waited for comes first.
SERVICES = (
    "ocicat-ipamd.service",
    "ocicat-cni-server.service",
    "ocicat-route-distributor.service",
    "ocicat-bird.service",
)
BIRD = SERVICES[-1]
ENVIRONMENT = "ocicat.env"


def configuration() -> str:
    """The template of the network configuration list."""
    return resources.files(__package__).joinpath(conflist.NAME).read_text()


def unit_files(directories: Directories, programs: str) -> tuple[File, ...]:
    """The environment file and the units.

    Args:
        programs: the directory of the daemons' programs, on the node.
    """

    def filled(*path: str) -> bytes:
        text = resources.files(__package__).joinpath(*path).read_text()
        return text.replace("@bin@", programs).replace("@etc@", directories.etc).encode()

    return (
        # 0600: it may have the password of etcd's user.
        File(environment_file(directories), filled(ENVIRONMENT), 0o600, is_operators=True),
        *(
            File(str(PurePosixPath(directories.units, name)), filled("units", name), 0o644)
            for name in (*SERVICES, TARGET)
        ),
    )


def environment_file(directories: Directories) -> str:
    """The path of the settings that all units read."""
    return str(PurePosixPath(directories.etc, ENVIRONMENT))


def certificates(directories: Directories) -> str:
    """The path of the directory that ipamd's unit mounts its copies over: it must be there."""
    return str(PurePosixPath(directories.etc, "etcd"))

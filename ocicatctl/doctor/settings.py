"""Where the doctor looks: the settings of this node's daemons, as one frozen value.

Pure: no I/O. The names are those of the daemons (``docs/configuration.md``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datamodel.environment import node_name, unknown_names
from datastore.config import EtcdConfig, etcd_config

_STATE_DIR = "/var/lib/ocicat"


@dataclass(frozen=True, slots=True)
class Settings:
    """This node, as its environment describes it."""

    root: Path = Path("/")  # where the node's file system is
    node: str = ""
    hostname: str = ""
    names_node: bool = False  # NODENAME is set
    state_dir: str = _STATE_DIR
    bin_dir: str | None = None  # None: as the runtime is configured
    conf_dir: str | None = None
    ipamd: str = "/run/ocicat/ipamd.sock"
    cni: str = "/run/ocicat/cni.sock"
    spool: str = f"{_STATE_DIR}/releases"
    bird: str = "/run/ocicat/bird.ctl"
    routes: str = "/run/ocicat/routes.json"
    history: str = f"{_STATE_DIR}/history"  # "": none is kept
    etcd: EtcdConfig = field(default_factory=EtcdConfig)
    mistakes: tuple[str, ...] = ()
    etcd_mistakes: tuple[str, ...] = ()

    @property
    def is_elsewhere(self) -> bool:
        """Whether the node's file system is not ours."""
        return self.root != Path("/")

    def socket(self, path: str) -> str:
        """Where a socket of the node is for us."""
        return str(self.root / path.lstrip("/")) if self.is_elsewhere else path


ENVIRONMENT_FILE = "/etc/ocicat/ocicat.env"  # of the daemons' units


def read_settings(
    environment: Mapping[str, str],
    hostname: str,
    root: Path = Path("/"),
    *,
    state_dir: str | None = None,
    bin_dir: str | None = None,
    conf_dir: str | None = None,
) -> Settings:
    """Read the environment; what is wrong in it is part of the value."""
    node, node_mistakes = node_name(environment, hostname)
    etcd, etcd_mistakes = etcd_config(environment)
    default = Settings()
    history = environment.get("OCICAT_HISTORY_DIR", default.history)
    return Settings(
        root=root,
        node=node,
        hostname=hostname,
        names_node=bool(environment.get("NODENAME")),
        state_dir=state_dir or _STATE_DIR,
        bin_dir=bin_dir,
        conf_dir=conf_dir,
        ipamd=environment.get("OCICAT_IPAM_SOCKET") or default.ipamd,
        cni=environment.get("OCICAT_CNI_SOCKET") or default.cni,
        spool=environment.get("OCICAT_SPOOL_DIR") or default.spool,
        bird=environment.get("OCICAT_BIRD_SOCKET") or default.bird,
        routes=environment.get("OCICAT_ROUTES_STATUS") or default.routes,
        history="" if history == "none" else history,
        etcd=etcd,
        mistakes=(*node_mistakes, *unknown_names(environment)),
        etcd_mistakes=tuple(etcd_mistakes),
    )

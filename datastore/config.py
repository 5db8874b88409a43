"""How to reach etcd: Calico's environment variables as one frozen value.

Pure: no I/O, so files are named here but not opened.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

DEFAULT_ENDPOINT = "http://127.0.0.1:2379"


@dataclass(frozen=True, slots=True)
class EtcdConfig:
    """Where etcd is and how we prove who we are."""

    endpoints: tuple[str, ...] = (DEFAULT_ENDPOINT,)
    ca_cert_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)  # never in a log

    @property
    def is_tls(self) -> bool:
        """Whether the endpoints are https."""
        return any(endpoint.startswith("https:") for endpoint in self.endpoints)


def etcd_config(environment: Mapping[str, str]) -> tuple[EtcdConfig, list[str]]:
    """Read the settings of etcd and name every mistake in them.

    An empty variable counts as unset: manifests often write it so. The value may only be used if
    there is no mistake; both are returned so that a daemon can report the mistakes of all its
    settings at once.
    """
    endpoints, mistakes = _endpoints(environment.get("ETCD_ENDPOINTS") or DEFAULT_ENDPOINT)
    config = EtcdConfig(
        endpoints=endpoints,
        ca_cert_file=_path(environment.get("ETCD_CA_CERT_FILE")),
        cert_file=_path(environment.get("ETCD_CERT_FILE")),
        key_file=_path(environment.get("ETCD_KEY_FILE")),
        username=environment.get("ETCD_USERNAME") or None,
        password=environment.get("ETCD_PASSWORD") or None,
    )
    return config, mistakes + _contradictions(config)


def _endpoints(text: str) -> tuple[tuple[str, ...], list[str]]:
    given = [part.strip().rstrip("/") for part in text.split(",") if part.strip()]
    mistakes = [
        f"ETCD_ENDPOINTS: {endpoint!r} is not http(s)://host:port"
        for endpoint in given
        if not _is_endpoint(endpoint)
    ]
    if not given:
        mistakes.append(f"ETCD_ENDPOINTS: {text!r} names no endpoint")
    if len({urlsplit(endpoint).scheme for endpoint in given if _is_endpoint(endpoint)}) > 1:
        mistakes.append("ETCD_ENDPOINTS: http and https are mixed; use one of them for all")
    return tuple(dict.fromkeys(given)), mistakes


def _is_endpoint(text: str) -> bool:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:  # a port or an IPv6 address that is none
        return False
    return (
        url.scheme in ("http", "https")
        and bool(url.hostname)
        and bool(port)
        and url.username is None
        and not (url.path or url.query or url.fragment)
    )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _contradictions(config: EtcdConfig) -> list[str]:
    found = []
    files = {
        "ETCD_CA_CERT_FILE": config.ca_cert_file,
        "ETCD_CERT_FILE": config.cert_file,
        "ETCD_KEY_FILE": config.key_file,
    }
    pairs = (
        ("ETCD_CERT_FILE", config.cert_file, "ETCD_KEY_FILE", config.key_file),
        ("ETCD_USERNAME", config.username, "ETCD_PASSWORD", config.password),
    )
    for first, first_value, second, second_value in pairs:
        if first_value and not second_value:
            found.append(f"{first}: is set without {second}; set both or none")
        if second_value and not first_value:
            found.append(f"{second}: is set without {first}; set both or none")
    if not config.is_tls:
        found += [
            f"{name}: is set, but ETCD_ENDPOINTS are not https; TLS would not be used"
            for name, path in files.items()
            if path
        ]
    return found

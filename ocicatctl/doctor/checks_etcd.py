"""etcd as this node reaches it: settings, endpoints, certificates.

Pure: no I/O.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from ocicatctl.doctor.certificate import Validity
from ocicatctl.doctor.facts import Certificates, Etcd, EtcdServers, Facts
from ocicatctl.doctor.finding import Finding, Fine, Unknown, Wrong

_SLOW_S = 0.25
_SOON_DAYS = 14
_NO_ETCD = "no address is given out while none answers; running pods keep theirs"


def settings(facts: Facts) -> Iterator[Finding]:
    """Whether the settings of etcd fit together."""
    for mistake in facts.settings.etcd_mistakes:
        yield Wrong(mistake, "ipamd and the route distributor end at once", "env | grep ETCD_")
    if not facts.settings.etcd_mistakes:
        yield Fine(f"ETCD_ENDPOINTS: {', '.join(facts.settings.etcd.endpoints)}")


def endpoints(facts: Facts) -> Iterator[Finding]:
    """Whether each endpoint answers, and how soon."""
    found = facts.of(Etcd).endpoints
    is_alone = not any(endpoint.took_s is not None for endpoint in found)
    for endpoint in found:
        if endpoint.took_s is None:
            yield Wrong(
                endpoint.mistake or f"etcd {endpoint.name}: no answer",
                _NO_ETCD if is_alone else "the others have to do without it",
                f"curl -sS {_curl(facts)}{endpoint.name}/health",
                is_warning=not is_alone,
            )
        elif endpoint.took_s > _SLOW_S:
            yield Wrong(
                f"etcd {endpoint.name}: answers after {endpoint.took_s * 1000:.0f} ms",
                "every ADD waits for an answer or two; it may have a slow disk",
                f"etcdctl --endpoints={endpoint.name} check perf",
                is_warning=True,
            )
        else:
            yield Fine(f"etcd {endpoint.name}: answers after {endpoint.took_s * 1000:.1f} ms")


def _curl(facts: Facts) -> str:
    etcd = facts.settings.etcd
    given = (("--cacert", etcd.ca_cert_file), ("--cert", etcd.cert_file), ("--key", etcd.key_file))
    return "".join(f"{option} {path} " for option, path in given if path)


def certificates(facts: Facts) -> Iterator[Finding]:
    """Whether certificates can be read, fit together, and hold."""
    seen = facts.of(Certificates)
    now = datetime.fromtimestamp(seen.now, UTC)
    for file in seen.files:
        where = f"{file.variable} {file.path}"
        if file.mistake:
            yield Wrong(
                f"{where}: {file.mistake}",
                _NO_ETCD,
                f"ls -lL {file.path}",
            )
        for validity in file.validities[:1] if "CA" not in file.variable else file.validities:
            yield _validity(where, validity, now, _renewal(file.variable))
    if seen.pair_mistake:
        yield Wrong(
            f"ETCD_KEY_FILE: does not belong to ETCD_CERT_FILE ({seen.pair_mistake})",
            _NO_ETCD,
            "kubeadm certs renew apiserver-etcd-client",
        )
    if not seen.files:
        yield Fine("etcd is spoken to without certificates")
    servers = facts.areas.get(EtcdServers)
    for server in servers.servers if isinstance(servers, EtcdServers) else ():
        if server.certificate:
            yield _validity(
                f"certificate of etcd {server.name}",
                server.certificate,
                now,
                "kubeadm certs renew etcd-server",
            )
        elif server.name.startswith("https"):
            yield Unknown(f"certificate of etcd {server.name}: was not shown")


def _renewal(variable: str) -> str:
    if "CA" in variable:
        return "kubeadm init phase certs etcd-ca"
    return "kubeadm certs renew apiserver-etcd-client"


def _validity(where: str, validity: Validity, now: datetime, mend: str) -> Finding:
    days = (validity.ends - now).total_seconds() / 86400
    if now < validity.begins:
        return Wrong(
            f"{where}: does not hold before {validity.begins:%Y-%m-%d %H:%M} UTC",
            f"{_NO_ETCD}; or the clock of this node is behind",
            "timedatectl set-ntp true",
        )
    if days < 0:
        return Wrong(f"{where}: expired {-days:.0f} days ago", _NO_ETCD, mend)
    if days < _SOON_DAYS:
        return Wrong(f"{where}: expires in {days:.0f} days", _NO_ETCD, mend, is_warning=True)
    return Fine(f"{where}: holds for {days:.0f} days more")

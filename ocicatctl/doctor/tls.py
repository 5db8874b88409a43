"""What a server shows of itself over HTTP and TLS: the date, and its certificate.

Edge: TCP, TLS, HTTP. Nobody is trusted by what it reads, so it verifies nobody: an expired
certificate is to be read, too.
"""

import contextlib
import email.utils
import http.client
import ssl
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from datastore.config import EtcdConfig
from ocicatctl.doctor.certificate import Validity, validity

_TIMEOUT_S = 0.8


def ask(config: EtcdConfig, endpoint: str) -> tuple[datetime | None, Validity | None]:
    """The time of an endpoint's answer by its own clock, and until when its certificate holds.

    Raises:
        OSError: no connection.
        Invalid: its certificate cannot be read.
    """
    url = urlsplit(endpoint)
    host, port = url.hostname or "", url.port
    if url.scheme != "https":
        return _date(http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)), None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if config.cert_file and config.key_file:
        context.load_cert_chain(config.cert_file, config.key_file)
    connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=context)
    connection.connect()
    found = connection.sock.getpeercert(binary_form=True)
    certificate = validity(found) if found else None
    with contextlib.suppress(OSError, http.client.HTTPException):
        return _date(connection), certificate
    return None, certificate


def _date(connection: http.client.HTTPConnection) -> datetime | None:
    try:
        connection.request("GET", "/version")
        said = connection.getresponse().headers.get("Date")
        return email.utils.parsedate_to_datetime(said) if said else None
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP: {error}") from error
    finally:
        connection.close()


def pair_mistake(certificate: Path, key: Path) -> str:
    """Why a certificate and a key do not serve together; "": they do."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError) as error:
        return getattr(error, "reason", None) or str(error)
    return ""

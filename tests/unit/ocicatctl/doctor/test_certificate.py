"""From when until when certificates hold: those that openssl makes, and what is none."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from datamodel.errors import Invalid
from ocicatctl.doctor.certificate import validities, validity
from ocicatctl.doctor.tls import pair_mistake


def made(directory, name: str, days: int = 30):
    key, certificate = directory / f"{name}.key", directory / f"{name}.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *(
                "-nodes",
                "-subj",
                "/CN=etcd",
                "-days",
                str(days),
                "-keyout",
                key,
                "-out",
                certificate,
            ),
        ],
        capture_output=True,
        check=True,
    )
    return key, certificate


def test_a_certificate_holds_for_as_long_as_it_was_made_for(tmp_path):
    _, certificate = made(tmp_path, "client")

    (found,) = validities(certificate.read_bytes())

    assert abs(datetime.now(UTC) - found.begins) < timedelta(minutes=1)
    assert found.ends - found.begins == timedelta(days=30)


def test_one_that_holds_for_a_century_has_its_time_in_the_other_form(tmp_path):
    _, certificate = made(tmp_path, "authority", 36500)

    assert validities(certificate.read_bytes())[0].ends.year > 2100


def test_a_file_of_several_has_several(tmp_path):
    pem = b"".join(made(tmp_path, name)[1].read_bytes() for name in "ab")

    assert len(validities(pem)) == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"],
)
def test_what_is_no_certificate_is_told(content):
    with pytest.raises(Invalid):
        validities(content)


@pytest.mark.parametrize("length", range(0, 400, 7))
def test_one_that_is_cut_off_anywhere_is_told(tmp_path_factory, length):
    directory = tmp_path_factory.getbasetemp()
    path = directory / "cut.crt"
    if not path.exists():
        made(directory, "cut")
    der = ssl.PEM_cert_to_DER_cert(path.read_text())

    with pytest.raises(Invalid):
        validity(der[: min(length, len(der) - 1)])


def test_a_key_of_another_certificate_is_told(tmp_path):
    key, certificate = made(tmp_path, "one")
    other, _ = made(tmp_path, "other")

    assert pair_mistake(certificate, key) == ""
    assert pair_mistake(certificate, other) == "KEY_VALUES_MISMATCH"

import inspect

import grpc
import pytest

from cni_plugin import cni_error
from cni_plugin.cni_error import CniError, code_of
from datamodel import errors
from datamodel.errors import Invalid, OcicatError, Unavailable
from ipam_api.client import NotReached
from ipam_api.status import error_of, status_of

# The base class is for what is a bug.
MAPPED = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind is not OcicatError
]


def test_there_are_errors_to_map():
    assert len(MAPPED) >= 4


@pytest.mark.parametrize("kind", MAPPED)
def test_an_error_passes_grpc_and_is_the_same_afterwards(kind):
    error = kind("pool default: is full; add a pool")

    received = error_of(status_of(error), str(error))

    assert type(received) is kind
    assert str(received) == str(error)


def test_no_two_errors_share_a_status():
    statuses = [status_of(kind("x")) for kind in MAPPED]

    assert len(set(statuses)) == len(MAPPED)
    assert grpc.StatusCode.INTERNAL not in statuses
    assert grpc.StatusCode.OK not in statuses


@pytest.mark.parametrize("kind", MAPPED)
def test_every_error_has_a_cni_code_of_its_own(kind):
    assert kind in cni_error.CODES
    assert code_of(kind("x")) == cni_error.CODES[kind]


def test_no_two_errors_share_a_cni_code():
    assert len(set(cni_error.CODES.values())) == len(cni_error.CODES)
    assert cni_error.INTERNAL not in cni_error.CODES.values()


@pytest.mark.parametrize("status", [s for s in grpc.StatusCode if s is not grpc.StatusCode.OK])
def test_any_status_becomes_an_error_of_ours(status):
    assert isinstance(error_of(status, "x"), OcicatError)


def test_a_bug_in_ipamd_is_none_of_the_known_errors():
    received = error_of(grpc.StatusCode.INTERNAL, "x")

    assert type(received) is OcicatError
    assert code_of(received) == cni_error.INTERNAL


def test_a_refinement_of_an_error_is_answered_like_the_error():
    class Refined(Invalid):
        pass

    assert code_of(Refined("x")) == cni_error.INVALID_CONFIG
    assert code_of(NotReached("x")) == code_of(Unavailable("x"))


def test_a_mistake_in_the_call_has_the_code_it_was_given():
    assert code_of(CniError(4, "CNI_IFNAME: is too long")) == 4


def test_what_nobody_foresaw_is_internal():
    assert code_of(ZeroDivisionError("x")) == cni_error.INTERNAL

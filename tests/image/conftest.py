"""Two nodes of a lab whose daemons are containers of the image."""

import os

import pytest

from ocicatctl.lab.lab import Lab
from tests.image import containers

NODES = 2


@pytest.fixture(scope="session")
def whole_lab():
    """The lab, up for all tests and gone after them."""
    lab = Lab(f"i{os.getpid()}")
    with containers.instead_of_processes(lab.spec, NODES):
        try:
            lab.up(NODES)
            yield lab
        finally:
            lab.down()


@pytest.fixture
def lab(whole_lab):
    """The lab with every daemon running; pods that a test leaves are taken away after it."""
    whole_lab.up(NODES)
    yield whole_lab
    whole_lab.up(NODES)
    for pod in whole_lab.pods():
        whole_lab.delete_pod(pod.name)


@pytest.fixture
def node(lab):
    return lab.nodes[0]

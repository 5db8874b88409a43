"""A three-node lab for the tests: the one that ``ocicatctl lab`` makes, under a name of its own."""

import os
import shutil
import tempfile

import pytest

from ocicatctl.lab.lab import Lab

NODES = 3


@pytest.fixture(scope="session")
def whole_lab():
    """The lab, up for all tests and gone after them."""
    lab = Lab(f"t{os.getpid()}")
    # In memory, as all of /run is on most hosts: a slow disk is none of the faults tested here.
    memory = tempfile.mkdtemp(dir="/dev/shm", prefix="ocicat-etcd-")
    lab.spec.directory.mkdir(parents=True)
    (lab.spec.directory / "etcd").symlink_to(memory)
    try:
        lab.up(NODES)
        yield lab
    finally:
        lab.down()
        shutil.rmtree(memory)


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

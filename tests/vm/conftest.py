"""The cluster of machines for all tests of this folder."""

import sys

import pytest

from tests.vm import image
from tests.vm.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(request, tmp_path_factory):
    """Two nodes, gone after all tests; what the machines said is shown if one failed."""
    if why := image.missing():
        pytest.skip(why)
    cluster = Cluster(tmp_path_factory.mktemp("machines"))
    try:
        yield cluster
        if request.session.testsfailed:
            sys.stderr.write(cluster.report())
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def wide_cluster(cluster):
    """The same, with a third node in another subnet."""
    cluster.add_far_node()
    return cluster

"""Which plugin the suite is pointed at, what of it applies, and the report.

Without options it is ours, in a lab of its own. ``--plugin PATH --conf FILE`` names another one;
cases of rules that are ours alone, about our daemons, or of specification versions that it does
not speak are then left out.

With ``--image`` it is ours as it runs on a node of Kubernetes: every daemon is a container of the
built image, and ``install-cni`` has installed the launcher. What that does by itself where there
is no server, it does not do then.
"""

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from ocicatctl.lab import system
from ocicatctl.lab.lab import Lab
from tests.conformance import report
from tests.conformance.ocicat import OcicatNode
from tests.conformance.other import OtherNode
from tests.conformance.rules import OURS, RULES
from tests.conformance.snapshot import Snapshot
from tests.image.containers import instead_of_processes

HERE = Path(__file__).parent
DEFAULT_CONF = HERE / "ptp.json"
VERDICTS = pytest.StashKey[dict[str, report.Verdict]]()


def pytest_addoption(parser):
    group = parser.getgroup("conformance")
    group.addoption("--plugin", help="the CNI executable to test; default: ours, in a lab")
    group.addoption("--conf", default=str(DEFAULT_CONF), help="its network configuration")
    group.addoption("--image", action="store_true", help="run our daemons from the image")
    group.addoption("--report", help="write its column of this Markdown page")


def pytest_configure(config):
    config.addinivalue_line("markers", "rule(*ids): the rules that a case stands for")
    config.addinivalue_line("markers", "since(version): the specification version it needs")
    config.addinivalue_line("markers", "capability(name): what the configuration has to declare")
    config.stash[VERDICTS] = {}


# ---- what applies ----------------------------------------------------------------------------


def pytest_collection_modifyitems(config, items):
    """Leave out what is not the business of the plugin that is tested."""
    plugin = config.getoption("plugin", None)
    if plugin is None:
        if config.getoption("image"):
            _keep(config, items, _applies_to_containers)
        return
    versions = _spoken(plugin)
    capabilities = json.loads(Path(config.getoption("conf")).read_text()).get("capabilities", {})
    _keep(config, items, lambda item: _applies(item, versions, capabilities))


def _keep(config, items, applies):
    kept = [item for item in items if applies(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _applies_to_containers(item):
    """Not where the launcher is to serve a call itself, or the server to see a later mount."""
    is_in_process = "in_process" in item.fixturenames or "in process" in item.name
    return not is_in_process and "full_state" not in item.fixturenames


def _spoken(plugin):
    said = system.run(plugin, environment={"CNI_COMMAND": "VERSION"}).stdout
    return json.loads(said)["supportedVersions"]


def _applies(item, versions, capabilities):
    needed = {mark.args[0] for mark in item.iter_markers("since")}
    if callspec := getattr(item, "callspec", None):
        needed |= {callspec.params["version"]} if "version" in callspec.params else set()
    wanted = {mark.args[0] for mark in item.iter_markers("capability")}
    is_ours = [RULES[name].level for name in _rules(item)[:1]] == [OURS]
    if is_ours or "spec" in item.fixturenames:
        return False
    return needed <= set(versions) and wanted <= capabilities.keys()


def _rules(item):
    return tuple(name for mark in item.iter_markers("rule") for name in mark.args)


# ---- the report ------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    verdicts = item.config.stash[VERDICTS]
    earlier = verdicts.get(item.nodeid)
    has_passed = outcome.outcome == "passed" and (earlier is None or earlier.has_passed)
    sentence = item.originalname.removeprefix("test_").replace("_", " ")
    parameters = item.callspec.id if hasattr(item, "callspec") else ""
    verdicts[item.nodeid] = report.Verdict(_rules(item), sentence, parameters, has_passed)
    return outcome


def pytest_sessionfinish(session):
    path = session.config.getoption("report", None)
    if path:
        plugin = Path(session.config.getoption("plugin") or "ocicat").name
        report.write(Path(path), plugin, session.config.stash[VERDICTS].values())


def pytest_assertrepr_compare(op, left, right):
    """Show what changed between two snapshots instead of both."""
    if op == "==" and isinstance(left, Snapshot) and isinstance(right, Snapshot):
        return ["the node changed:", *(left - right)]
    return None


# ---- the node --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def whole_node(request):
    """The node with the plugin, for all cases."""
    plugin = request.config.getoption("plugin", None)
    if plugin is None:
        lab = Lab(f"c{os.getpid()}")
        is_of_image = request.config.getoption("image")
        with instead_of_processes(lab.spec, 1) if is_of_image else nullcontext():
            try:
                yield OcicatNode(lab)
            finally:
                lab.down()
        return
    node = OtherNode(Path(plugin), Path(request.config.getoption("conf")))
    yield node
    node.down()


@pytest.fixture
def node(whole_node):
    """The node, with nothing attached; as it was again after each case."""
    yield whole_node
    whole_node.restore()


@pytest.fixture
def spec(node):
    """The lab's node; a case that needs it is about our daemons."""
    return node.spec


@pytest.fixture
def pod(node):
    """A container's namespace that is not on the network."""
    return node.pod()


@pytest.fixture
def in_process(node):
    """Our resident server is not there, so that the executable does everything itself."""
    if isinstance(node, OcicatNode):
        with node.without("cni-server"):
            yield
    else:
        yield


@pytest.fixture
def foreign_link(node):
    """A link on the node that somebody else made; it has the name that ours would have."""
    name = "calic0ffee"
    node.ip("link", "add", name, "type", "veth", "peer", "name", "other")
    yield name
    node.ip("link", "del", name)


@pytest.fixture
def before(node, pod):
    """The node and the container before the call."""
    return node.at_first()

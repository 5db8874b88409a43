"""The rules of ARCHITECTURE.md, checked."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Package -> the packages of ours it may import.
MAY_IMPORT = {
    "datamodel": set(),
    "datastore": {"datamodel"},
    "ipam_api": {"datamodel"},
    "bird_api": {"datamodel"},
    "kube_api": {"datamodel"},
    "kernel_api": set(),
    "health_api": {"datamodel"},
    "cni_plugin": {"datamodel", "health_api", "ipam_api", "kernel_api", "kube_api"},
    "kube_controllers": {"datamodel", "datastore", "health_api", "kube_api"},
    "ipamd": {"datamodel", "datastore", "health_api", "ipam_api", "kube_api"},
    "route_distributor": {"datamodel", "datastore", "bird_api", "health_api", "kernel_api"},
    "ocicatctl": {"datamodel", "datastore", "ipam_api", "bird_api", "kernel_api"},
}

# A part of the outside world -> the only files of ours that may touch it.
EDGES = {
    "grpc": {
        "datastore/etcd_channel.py",
        "datastore/etcd_session.py",
        "ipam_api/client.py",
        "ipam_api/status.py",
        "ipamd/__main__.py",
        "ipamd/server.py",
        "ocicatctl/lab/health.py",
    },
    "grpc_health": {"ipamd/__main__.py", "ocicatctl/lab/health.py"},
    "ctypes": {"cni_plugin/netns.py", "ocicatctl/doctor/look_host.py"},
    "fcntl": {
        "cni_plugin/log_file.py",
        "cni_plugin/netns.py",
        "cni_plugin/spool.py",
        "ipamd/interfaces.py",
        "ocicatctl/install/disk.py",
        "ocicatctl/upgrade/files.py",
    },
    "subprocess": {
        "cni_plugin/install.py",
        "ocicatctl/doctor/programs.py",
        "ocicatctl/install/launcher.py",
        "ocicatctl/install/programs.py",
        "ocicatctl/lab/etcd.py",
        "ocicatctl/lab/system.py",
    },
    "socket": {
        "bird_api/control.py",
        "kernel_api/netlink.py",
        "cni_plugin/health.py",
        "cni_plugin/server.py",
        "ipamd/__main__.py",
        "ipamd/interfaces.py",
        "kube_api/connection.py",
        "kube_api/watch.py",
        "ocicatctl/doctor/cni_socket.py",
        "ocicatctl/lab/health.py",
        "route_distributor/__main__.py",
        "health_api/web.py",
    },
    "threading": {
        "cni_plugin/dataplane.py",
        "cni_plugin/deletions.py",
        "cni_plugin/parts.py",
        "cni_plugin/reporter.py",
        "cni_plugin/server.py",
        "health_api/web.py",
        "kube_api/watch.py",
        "ocicatctl/doctor/looking.py",
    },
    "random": {"datastore/etcd_session.py", "datastore/store.py"},
    "prometheus_client": {
        "cni_plugin/metrics.py",
        "ipamd/metrics.py",
        "ipamd/metrics_state.py",
        "kube_controllers/metrics.py",
        "route_distributor/metrics.py",
        "health_api/state.py",
        "health_api/web.py",
    },
    "wsgiref": {"health_api/web.py"},
    "http": {"kube_api/client.py", "kube_api/watch.py", "ocicatctl/doctor/tls.py"},
    "ssl": {"kube_api/client.py", "kube_api/connection.py", "ocicatctl/doctor/tls.py"},
}

# "A place to look twice, not a wall": why a file may be longer than the rest.
MAX_LINES = 300
LONGER = {
    "datastore/codec.py": "every field name of the data model in one place",
    "cni_plugin/dataplane.py": "all that is done to the kernel in one place",
}

FILES = sorted(
    path
    for package in MAY_IMPORT
    for path in (ROOT / package).rglob("*.py")
    if "_pb2" not in path.name
)


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_package_imports_only_what_lies_below_it(path):
    package = relative(path).partition("/")[0]

    ours = imports_of(path) & MAY_IMPORT.keys()

    assert ours <= MAY_IMPORT[package] | {package}


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_only_the_edges_touch_the_outside_world(path):
    touched = imports_of(path) & EDGES.keys()

    assert {name for name in touched if relative(path) not in EDGES[name]} == set()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_that_calls_itself_pure_imports_nothing_that_acts(path):
    doc = ast.get_docstring(ast.parse(path.read_text())) or ""
    acting = EDGES.keys() | {"os", "time", "logging", "asyncio", "signal", "shutil", "tempfile"}

    assert "Pure: no I/O" not in doc or not imports_of(path) & acting


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_fits_in_the_head(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES or relative(path) in LONGER


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_module_says_in_one_line_what_it_is_for(path):
    source = path.read_text()

    assert not source.strip() or ast.get_docstring(ast.parse(source))


def test_the_launcher_imports_only_what_is_built_in():
    assert imports_of(ROOT / "cni_plugin/launcher.py") == {"_socket", "posix", "sys", "time"}


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"])
def test_every_path_named_in_the_map_exists(page):
    text = (ROOT / page).read_text()

    named = set(re.findall(r"`([a-z_.]+/[A-Za-z0-9_./-]+)`", text))

    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_the_generated_code_is_what_proto_gives_today():
    done = subprocess.run(
        [sys.executable, "tools/proto.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr

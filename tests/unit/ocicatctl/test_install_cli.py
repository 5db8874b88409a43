"""``ocicatctl install`` as an operator calls it, in whatever state his shell is."""

import json
import os
import subprocess
import sys

import pytest

from tests.installation import CALICO, CONFLIST, OCICAT, STATE, a_disk, put, snapshot

UNIT = "/etc/systemd/system/ocicat-ipamd.service"
OCICATCTL = [sys.executable, "-m", "ocicatctl"]


@pytest.fixture
def root(tmp_path):
    a_disk(tmp_path / "node")
    put(tmp_path / "node", "/opt/cni/bin/portmap", "", 0o755)
    put(tmp_path / "node", os.path.realpath(sys.executable), "", 0o755)
    link = tmp_path / "node" / sys.executable.lstrip("/")
    if not link.exists():
        link.parent.mkdir(parents=True)
        link.symlink_to(os.path.realpath(sys.executable))
    return tmp_path / "node"


def ocicatctl(*arguments: object, shell: str = "", **environment: str):
    """Call it, in a shell that does something strange before."""
    command = [*OCICATCTL, *map(str, arguments)]
    if shell:
        command = ["sh", "-c", f'{shell} "$@"', "sh", *command]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def call(path: str, root, shell: str = "exec", **environment: str):
    """Call a launcher as a runtime does; no server runs, so it becomes the plugin itself."""
    return subprocess.run(
        ["sh", "-c", f'{shell} "$@"', "sh", str(root) + path],
        env={"CNI_COMMAND": "VERSION", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


STRANGE = {
    "an empty environment": "exec env -i CNI_COMMAND=VERSION",
    "standard error closed": "exec 2>&-; exec",
    "standard input closed": "exec 0<&-; exec",
    "umask 077": "umask 077; exec",
    "its directory deleted": 'd=$(mktemp -d); cd "$d"; rmdir "$d"; exec',
}


@pytest.mark.parametrize("shell", STRANGE.values(), ids=STRANGE)
def test_it_works_in_any_shell_and_so_does_the_launcher(root, shell):
    before = snapshot(root)

    done = ocicatctl("install", "--root", root, "--calico", shell=shell)

    assert (done.returncode, done.stderr) == (0, "")
    answer = call(CALICO, root, shell)
    assert answer.returncode == 0, answer
    assert json.loads(answer.stdout)["supportedVersions"]
    assert ocicatctl("uninstall", "--root", root, shell=shell).returncode == 0
    assert snapshot(root) == before


def test_settings_and_template_come_from_the_environment(root, tmp_path):
    template = tmp_path / "template"
    template.write_text('{"name": "mine", "plugins": [{"type": "ocicat", "mtu": __CNI_MTU__}]}')

    done = ocicatctl(
        *("install", "--root", root, "--conf-dir", "/srv/net.d", "--bin-dir", "/srv/bin"),
        CNI_NETWORK_CONFIG_FILE=str(template),
        CNI_NETWORK_CONFIG="this one does not count",
        CNI_MTU="1234",
        OCICAT_CNI_SOCKET="/run/other.sock",
    )

    assert done.returncode == 0, done.stderr
    written = json.loads((root / "srv/net.d/10-ocicat.conflist").read_text())
    assert written == {"name": "mine", "plugins": [{"type": "ocicat", "mtu": 1234}]}
    assert "SERVER = '/run/other.sock'" in (root / "srv/bin/ocicat").read_text()


def test_a_dry_run_changes_nothing(root):
    before = snapshot(root)

    done = ocicatctl("install", "--root", root, "--dry-run")

    assert f"{CONFLIST}: installed" in done.stdout
    assert done.stderr == "this was a dry run: nothing has changed\n"
    assert snapshot(root) == before


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ((), {"OCICAT_SOKET": "x"}, "OCICAT_SOKET is not a setting"),
        ((), {"CNI_NETWORK_CONFIG": "{"}, "template: is not JSON"),
        (("--bin-dir", "opt/cni/bin"), {}, "'opt/cni/bin' is not an absolute path"),
        (("--bin-dir", "/usr/bin/python3"), {}, "/usr/bin/python3"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_changes(root, arguments, environment, message):
    before = snapshot(root)

    done = ocicatctl("install", "--root", root, *arguments, **environment)

    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert snapshot(root) == before


def test_a_node_without_python_gets_no_launcher(root):
    (root / "usr/bin/python3").unlink()
    before = snapshot(root)

    done = ocicatctl("install", "--root", root)

    assert done.returncode == 1
    assert f"{root}/usr/bin/python3: is not there; install python3 on the node" in done.stderr
    assert snapshot(root) == before


def test_it_warns_of_what_is_in_place_and_will_not_work(root):
    (root / "opt/cni/bin/portmap").unlink()
    (root / sys.executable.lstrip("/")).unlink()
    put(root, "/etc/cni/net.d/05-other.conf", "{}")

    done = ocicatctl("install", "--root", root)

    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"warning: {root}{sys.executable}: is not there; while the CNI server is down, "
        "ADD and DEL will wait for it, and then fail",
        "warning: /opt/cni/bin/portmap: is not there; 10-ocicat.conflist needs it for every pod",
        "warning: /etc/cni/net.d/05-other.conf: comes before 10-ocicat.conflist; "
        "runtimes use only the first",
    ]


@pytest.fixture
def programs(root):
    """The daemons' programs, beside the interpreter."""
    for name in ("ocicat-ipamd", "ocicat-cni-server", "ocicat-route-distributor"):
        put(root, f"{os.path.dirname(sys.executable)}/{name}", "", 0o755)
    for path in ("/usr/sbin/bird", "/usr/sbin/nft"):
        put(root, path, "", 0o755)


def is_hidden(path: str) -> bool:
    return path.startswith(("/home/", "/root/", "/tmp/"))


def test_units_are_written_as_asked_and_never_into_another_root_by_themselves(root, programs):
    assert ocicatctl("install", "--root", root).returncode == 0
    assert not (root / UNIT.lstrip("/")).exists()

    done = ocicatctl("install", "--root", root, "--systemd")

    if any(map(is_hidden, (sys.executable, os.path.realpath(sys.executable)))):
        assert done.returncode == 1
        assert "units do not see what is in /home, /root" in done.stderr
        assert "say --no-systemd" in done.stderr
        assert not (root / UNIT.lstrip("/")).exists()
    else:
        assert done.returncode == 0, done.stderr
        assert f"{UNIT}: installed" in done.stdout
        assert "systemctl enable --now ocicat.target" in done.stdout


def test_units_without_programs_are_refused(root):
    before = snapshot(root)

    done = ocicatctl("install", "--root", root, "--systemd")

    assert done.returncode == 1
    assert "ocicat-ipamd: is not there; install the package ocicat in there" in done.stderr
    assert snapshot(root) == before


def test_an_upgrade_of_nothing_is_refused(tmp_path):
    done = ocicatctl("upgrade", "--state-dir", tmp_path)

    assert done.returncode == 1
    assert done.stderr == "ocicatctl: nothing is installed here; ocicatctl install does that\n"


def test_a_launcher_whose_plugin_is_gone_says_so(root):
    assert ocicatctl("install", "--root", root).returncode == 0
    launcher = root / OCICAT.lstrip("/")
    gone = "/nonexistent/".ljust(len(sys.executable), "x")  # as long: it is in compiled code, too
    launcher.write_text(launcher.read_text().replace(sys.executable, gone))

    answer = call(OCICAT, root)

    assert answer.returncode == 1
    error = json.loads(answer.stdout)
    assert error["code"] == 11
    assert f"{gone} cannot be started in its place: No such file" in error["msg"]
    assert 'run "ocicatctl install" again' in error["msg"]


def test_the_launcher_runs_on_another_python_than_it_was_installed_with(root, tmp_path):
    """As when the distribution's python3 becomes a newer one: the name in the first line stays."""
    assert ocicatctl("install", "--root", root).returncode == 0
    launcher = root / OCICAT.lstrip("/")
    python = tmp_path / "python3"
    for target in ("/usr/bin/python3", os.path.realpath(sys.executable)):
        python.unlink(missing_ok=True)
        python.symlink_to(target)
        first, _, rest = launcher.read_text().partition("\n")
        launcher.write_text(f"#!{python} {first.partition(' ')[2]}\n{rest}")

        assert json.loads(call(OCICAT, root).stdout)["supportedVersions"]


def test_uninstall_of_nothing_is_fine(root):
    done = ocicatctl("uninstall", "--root", root, "--state-dir", STATE)

    assert (done.returncode, done.stdout) == (0, "nothing is installed\n")


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_help_has_examples(command):
    done = ocicatctl(command, "--help")

    assert f"Examples:\n    ocicatctl {command} --dry-run\n    ocicatctl {command}\n" in done.stdout

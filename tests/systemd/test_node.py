"""A node run by systemd, from install to uninstall: the tests are its life, in this order."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.installation import snapshot
from tests.ping import PingStream

SERVICES = ("ocicat-ipamd", "ocicat-cni-server", "ocicat-route-distributor", "ocicat-bird")
KEY = "-----BEGIN PRIVATE KEY-----\n"
PYTHON, LOAD = "/opt/ocicat/1/bin/python3", "/opt/load.py"


@pytest.fixture(scope="module")
def before(machine):
    """The node's files before anything of ours; three versions are at hand."""
    for version in ("1", "2", "3"):
        machine.add_version(version)
    broken = machine.root / "opt/ocicat/3/lib"
    (main,) = broken.glob("*/site-packages/ipamd/__main__.py")
    main.write_text("def main():\n    raise SystemExit('broken on purpose')\n")
    machine.put(LOAD, Path(__file__).with_name("load.py").read_text())
    return files(machine)


def files(machine) -> dict[str, tuple]:
    """All that an installation could touch, and much more."""
    found = {"/etc" + path: entry for path, entry in snapshot(machine.root / "etc").items()}
    for top in ("opt/cni", "var/lib/ocicat", "var/lib/ocicat-ipamd", "var/lib/private"):
        if (machine.root / top).exists():
            found[f"/{top}"] = ()
            inside = snapshot(machine.root / top)
            found |= {f"/{top}{path}": entry for path, entry in inside.items()}
    return found


def ocicatctl(machine, version: str, *arguments: str, check: bool = True):
    return machine.run(f"/opt/ocicat/{version}/bin/ocicatctl", *arguments, check=check)


def call(machine, command: str, name: str) -> dict:
    machine.run("sh", "-c", f"ip netns list | grep -qw {name} || ip netns add {name}")
    _, status, said = json.loads(machine.run(PYTHON, LOAD, command, name).stdout)
    assert status == 0, said
    return json.loads(said or "{}")


def states(machine) -> list[str]:
    return machine.run("systemctl", "is-active", *SERVICES, check=False).stdout.split()


def property_of(machine, unit: str, name: str) -> str:
    return machine.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()


def test_a_boot_without_etcd_is_survived(machine, before):
    done = ocicatctl(machine, "1", "install")
    assert "systemctl enable --now ocicat.target" in done.stdout
    machine.put("/etc/ocicat/etcd/client.key", KEY, 0o600)

    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", "--now", "ocicat.target")

    time.sleep(2)  # whatever gives up does so by then
    assert states(machine) == ["active"] * 4
    assert [property_of(machine, unit, "NRestarts") for unit in SERVICES] == ["0"] * 4


def test_pods_come_as_soon_as_etcd_is_there(machine):
    machine.run("systemd-run", "-q", "-u", "store", "etcd", "--data-dir", "/run/store")
    machine.wait_for("sh", "-c", "grep -q '\"ok\": true' /run/ocicat/routes.json")

    address = call(machine, "ADD", "web")["ips"][0]["address"]

    assert address.endswith("/32")
    machine.wait_for("sh", "-c", "ip route | grep -q 'blackhole .* proto bird'")


def test_ipamd_has_no_privilege_and_copies_of_roots_certificates(machine):
    pid = property_of(machine, "ocicat-ipamd", "MainPID")
    status = (machine.root / "proc" / pid / "status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())

    assert "0" not in fields["Uid"].split()  # DynamicUser=
    assert {int(fields[f"Cap{kind}"], 16) for kind in ("Prm", "Eff", "Bnd", "Amb")} == {0}
    assert machine.run("cat", f"/proc/{pid}/root/etc/ocicat/etcd/client.key").stdout == KEY


def test_an_upgrade_under_load_fails_no_call_and_drops_no_packet(machine):
    address = call(machine, "ADD", "near")["ips"][0]["address"].partition("/")[0]
    load = subprocess.Popen(
        machine.command(PYTHON, LOAD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with PingStream(machine.root / "run/netns/web", address) as stream:
        done = ocicatctl(machine, "2", "upgrade", check=False)
        answers = json.loads(load.communicate(timeout=120)[0])
        sent, received = stream.stop()

    assert done.returncode == 0, (done.stdout, done.stderr)
    assert done.stdout.count(": restarted, serves after") == 3
    assert "/opt/ocicat/2/" in property_of(machine, "ocicat-ipamd", "ExecStart")
    assert [answer for answer in answers if answer[1]] == []
    assert len(answers) > 10
    assert sent > 50
    assert received == sent


def test_a_version_that_does_not_serve_makes_way_for_the_former(machine):
    done = ocicatctl(machine, "3", "upgrade", "--timeout=5", check=False)

    assert done.returncode == 1
    assert "ocicat-ipamd.service: does not serve 5 s after its restart; the former" in done.stderr
    assert "/opt/ocicat/2/" in property_of(machine, "ocicat-ipamd", "ExecStart")
    assert states(machine) == ["active"] * 4
    call(machine, "DEL", "near")


def test_uninstall_is_refused_as_long_as_there_are_pods(machine):
    installed = snapshot(machine.root / "etc")

    done = ocicatctl(machine, "2", "uninstall", "--purge", check=False)

    assert done.returncode == 1
    assert "pods: 1 are attached: default/web (cali" in done.stderr
    assert states(machine) == ["active"] * 4
    assert snapshot(machine.root / "etc") == installed


def test_without_files_and_units_pods_keep_talking_and_a_new_install_takes_them_over(machine):
    address = call(machine, "ADD", "other")["ips"][0]["address"].partition("/")[0]
    (machine.root / "etc/ocicat/etcd/client.key").unlink()  # the directory is ours alone again
    with PingStream(machine.root / "run/netns/web", address) as stream:
        said = ocicatctl(machine, "2", "uninstall", "--with-pods").stdout
        ocicatctl(machine, "2", "install")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "enable", "--now", "ocicat.target")
        machine.wait_for("sh", "-c", "test -e /run/ocicat/bird.ctl")
        sent, received = stream.stop()

    assert "table inet ocicat" not in said
    assert sent > 50
    assert received == sent
    call(machine, "DEL", "other")


def test_after_uninstall_the_node_is_as_it_was(machine, before):
    call(machine, "DEL", "web")

    ocicatctl(machine, "2", "uninstall", "--purge")

    after = files(machine)
    assert after.keys() - {"/var/lib/private"} == before.keys() - {"/var/lib/private"}  # systemd's
    assert {path for path in before if before[path] != after[path]} == set()
    assert "proto bird" not in machine.run("ip", "route").stdout
    assert machine.run("nft", "list", "tables").stdout == ""
    assert machine.run("systemctl", "list-units", "--all", "-q", "ocicat*").stdout == ""
    assert not list((machine.root / "run").glob("ocicat*"))

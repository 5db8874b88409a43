"""Every check: silent about a node on which nothing is wrong, and what it says of one change."""

import json
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Interface

import pytest

from datamodel.routing_status import PartStatus, RoutingStatus
from ocicatctl.check.problem import Kind, Problem
from ocicatctl.doctor.check import Checked, run
from ocicatctl.doctor.drop_ins import DropIn
from ocicatctl.doctor.facts import (
    BinDir,
    Certificates,
    CniServer,
    ConfFile,
    Disk,
    Endpoint,
    Etcd,
    EtcdServer,
    EtcdServers,
    Facts,
    Filter,
    Ipamd,
    Network,
    Routing,
    Runtimes,
)
from ocicatctl.doctor.finding import Fine, Unknown, Wrong
from ocicatctl.doctor.forwarding import Chain, Firewall
from ocicatctl.doctor.registry import CHECKS
from ocicatctl.doctor.runtime_config import Runtime
from ocicatctl.routes.facts import Bird, Kernel
from tests.unit.ocicatctl.doctor import healthy
from tests.unit.ocicatctl.doctor.healthy import (
    BIN,
    CERTIFICATE,
    CONF,
    DOWN,
    DROP_INS,
    EXPIRED,
    HOLDS,
    HOST,
    KEY,
    LAUNCHER,
    NETWORK,
    NODES,
    NOW,
    POD_LINK,
    POOL,
    ROUTES,
    RUNTIME,
    RUNTIMES,
    STATUS,
    SYSCTLS,
    cluster,
    facts,
    installation,
    link,
    route,
)

FLANNEL = ConfFile("/etc/cni/net.d/05-flannel.conflist", '{"plugins": [{"type": "flannel"}]}')
CHAINED = ConfFile(CONF.path, json.dumps({"plugins": [{"type": "ocicat"}, {"type": "portmap"}]}))
BROKEN = ConfFile("/etc/cni/net.d/00-half.conflist", '{"plugins": [')


def conf(*files: ConfFile) -> Runtimes:
    return replace(RUNTIMES, conf={"/etc/cni/net.d": files})


def bins(*directories: BinDir) -> Runtimes:
    return replace(RUNTIMES, bins={directory.path: directory for directory in directories})


def sysctls(**changed: str) -> Network:
    values = {name.replace("__", "/"): value for name, value in changed.items()}
    return replace(NETWORK, sysctls={**SYSCTLS, **values})


def links(*changed, **rest) -> Network:
    return replace(NETWORK, links={**NETWORK.links, **{one.name: one for one in changed}}, **rest)


def without(network: str) -> Network:
    kept = tuple(one for one in ROUTES if str(one.network) != network)
    return replace(NETWORK, kernel=replace(NETWORK.kernel, routes=kept))


def with_route(extra) -> Network:
    return replace(NETWORK, kernel=Kernel((*ROUTES, extra), NETWORK.kernel.links))


IPIP = replace(POOL, ipip_mode="Always")
UPLINKS = replace(
    links(link("eth1")),
    addresses={**NETWORK.addresses, "eth1": (IPv4Interface("10.1.0.11/24"),)},
    sysctls={**SYSCTLS, "net/ipv4/conf/all/rp_filter": "1"},
)
SHARED = Problem(Kind.SHARED_NODE_ADDRESS, "node node-2", "has the address of node-1")
LEAKED = Problem(Kind.LEAKED_ADDRESS, "address 10.233.77.9", "is held by nobody that is there")

# By check: what is otherwise, what is said of it, and what the mending command has in it.
WRONG: dict[str, list[tuple[Facts, str, str]]] = {
    "runtime": [
        (facts(Runtimes((replace(RUNTIME, uses_cni=False),))), "disables its CRI", "restart"),
        (facts(Runtimes((replace(RUNTIME, mistake="x: is not TOML"),))), "is not TOML", "dump"),
    ],
    "bin-dir": [
        (facts(bins(replace(BIN, exists=False, programs=frozenset()))), "is not there", "install"),
        (facts(bins(replace(BIN, programs=frozenset({"loopback"})))), "no launcher", "install"),
        (facts(bins(replace(BIN, is_noexec=True))), "noexec", "remount,exec"),
        (
            facts(
                replace(
                    RUNTIMES,
                    found=(replace(RUNTIME, bin_dirs=("/usr/lib/cni",)),),
                    bins={"/usr/lib/cni": BinDir("/usr/lib/cni")},
                )
            ),
            "bin dir /usr/lib/cni: has no launcher of ours, and containerd looks",
            "--bin-dir /usr/lib/cni",
        ),
    ],
    "conflist": [
        (facts(conf(FLANNEL, CONF)), "05-flannel.conflist: sorts before", "mv /etc/cni/net.d/05"),
        (facts(conf(FLANNEL)), "is not ours", "ocicatctl install"),
        (facts(conf()), "has no network configuration", "ocicatctl install"),
        (facts(conf(BROKEN, CONF)), "00-half.conflist: is no network conf", ".broken"),
        (facts(conf(ConfFile(CONF.path, None))), "is no network configuration", ".broken"),
    ],
    "plugins": [
        (facts(conf(CHAINED)), "portmap: is not there", "containernetworking-plugins"),
        (facts(bins(replace(BIN, programs=frozenset()))), "ocicat: is not there", "install"),
        (
            facts(bins(replace(BIN, programs=frozenset(), others=frozenset({"ocicat"})))),
            "ocicat: cannot be executed",
            "chmod 0755 /opt/cni/bin/ocicat",
        ),
    ],
    "launchers": [
        (facts(replace(installation(), launchers=(replace(LAUNCHER, **change),))), said, mend)
        for change, said, mend in (
            ({"has_interpreter": False}, "its interpreter /usr/bin/python3", "apt-get install"),
            (
                {"proof": "x: may not be executed"},
                "does not run (x: may not",
                "chmod 0755 /opt/cni",
            ),
            ({"proof": "x: exit status 1"}, "does not run (x: exit", "install --bin-dir /opt"),
            ({"is_current": False}, "is of another version", "install --bin-dir /opt"),
            ({"socket": "/run/old.sock"}, "/run/old.sock, not at", "OCICAT_CNI_SOCKET=/run/oci"),
            ({"has_fallback": False}, "/opt/ocicat/bin/python3 is not there", "install"),
        )
    ],
    "installation": [
        (facts(installation(opt="edited")), "was changed since", "mv /opt/cni/bin/ocicat"),
        (facts(installation(etc="edited")), "10-ocicat.conflist: was changed", "install"),
        (
            facts(replace(installation(), unfinished=("/opt/cni/bin/.ocicat.ocicat-new",))),
            "is left of an install",
            "ocicatctl install",
        ),
    ],
    "network-manager": [
        (facts(replace(DROP_INS, network_manager=())), "manages cali*", "reload NetworkManager"),
        (
            facts(
                replace(
                    DROP_INS,
                    network_manager=(
                        *DROP_INS.network_manager,
                        DropIn("/etc/zzz.conf", "[keyfile]\nunmanaged-devices=interface-name:x\n"),
                    ),
                )
            ),
            "/etc/zzz.conf has the last word",
            "ocicatctl install",
        ),
    ],
    "networkd": [
        (
            facts(
                replace(
                    DROP_INS,
                    networkd=(
                        DropIn("/etc/00-all.network", "[Match]\nName=*\n[Network]\nDHCP=yes"),
                        *DROP_INS.networkd,
                    ),
                )
            ),
            "by /etc/00-all.network, which comes before",
            "mv /etc/00-all.network",
        )
    ],
    "udev": [
        (
            facts(
                replace(
                    DROP_INS,
                    udev=(
                        DropIn(
                            "/usr/lib/systemd/network/99-default.link",
                            "[Match]\nOriginalName=*\n[Link]\nMACAddressPolicy=persistent",
                        ),
                    ),
                )
            ),
            "99-default.link",
            "ocicatctl install && udevadm control --reload",
        )
    ],
    "firewall-managers": [
        (facts(replace(HOST, processes=frozenset({"firewalld"}))), "firewalld", "disable --now"),
        (facts(replace(HOST, has_ufw=True)), "ufw: is active", "ufw disable"),
    ],
    "kernel": [(facts(replace(HOST, release="4.19.0-26-amd64")), "older than 5.4", "reboot")],
    "modules": [
        (facts(cluster(pools=(IPIP,))), "module ipip is not loaded", "modprobe ipip"),
        (
            facts(cluster(pools=(IPIP,)), replace(HOST, can_load=frozenset())),
            "the kernel has no module ipip",
            "linux-modules-extra",
        ),
    ],
    "nft": [(facts(replace(HOST, programs=frozenset())), "has natOutgoing", "apt-get install nft")],
    "python": [(facts(replace(HOST, programs=frozenset())), "python3: is not", "python3-minimal")],
    "hostname": [
        (facts(cluster(nodes={"node-2": NODES["node-2"]})), "is not in etcd", "journalctl"),
        (
            replace(
                facts(cluster(nodes={"node-1.example": NODES["node-1"]})),
                settings=replace(facts().settings, node="node-1", names_node=False),
            ),
            "node node-1 (the host's name): is not in etcd",
            "NODENAME=node-1.example",
        ),
        (facts(environment={"OCICAT_BIRD": "x"}), "OCICAT_BIRD is not a setting", "env"),
    ],
    "clock": [
        (
            facts(EtcdServers((EtcdServer("https://10.0.0.1:2379", 90.0),), NOW.timestamp())),
            "is 90 s behind that of etcd",
            "set-ntp true",
        ),
        (facts(replace(HOST, is_synchronised=False)), "nobody keeps it right", "set-ntp true"),
    ],
    "disk": [(facts(replace(HOST, disks=(Disk("/var", 1 << 20, 0.01),))), "1 MiB free", "du -xh")],
    "inotify": [
        (
            facts(links(*(link(f"cali{i:011x}") for i in range(100)))),
            "is 128, and there are 101 pods",
            "sysctl -w fs.inotify",
        )
    ],
    "ip-forward": [
        (facts(sysctls(net__ipv4__ip_forward="0")), "is 0, and there are pods", "ip_forward=1")
    ],
    "forwarding": [
        (
            facts(sysctls(**{f"net__ipv4__conf__{POD_LINK}__proxy_arp": "0"})),
            f"{POD_LINK}/proxy_arp: is 0",
            f"sysctl -w net/ipv4/conf/{POD_LINK}/proxy_arp=1",
        ),
        (
            facts(sysctls(net__ipv4__conf__eth0__forwarding="0")),
            "eth0/forwarding: is 0",
            "sysctl -w net/ipv4/conf/eth0/forwarding=1",
        ),
    ],
    "rp-filter": [
        (facts(UPLINKS), "is strict on eth0", "sysctl -w net/ipv4/conf/eth0/rp_filter=2"),
        (
            facts(
                links(
                    link("tunl0", 1480),
                    sysctls={**SYSCTLS, "net/ipv4/conf/tunl0/rp_filter": "1"},
                )
            ),
            "is strict on tunl0",
            "sysctl -w net/ipv4/conf/tunl0/rp_filter=2",
        ),
    ],
    "forward-policy": [
        (
            facts(Filter(Firewall.of([Chain("ip filter", "FORWARD", (), "drop")]))),
            "chain FORWARD of table ip filter drops",
            "nft insert rule ip filter FORWARD iifname 'cali*' accept",
        ),
        (
            facts(
                Filter(
                    Firewall.of([Chain("ip-legacy filter", "FORWARD", (), "drop", is_legacy=True)])
                )
            ),
            "drops what is forwarded",
            "iptables-legacy -I FORWARD -i cali+ -j ACCEPT && iptables-legacy -I FORWARD -o",
        ),
    ],
    "mtu": [
        (
            facts(links(link("eth0", 1450))),
            f"{POD_LINK}: has MTU 1500, and no more than 1450 fits",
            "kubectl delete pod -n default web-0",
        ),
        (
            facts(links(link("tunl0", 1500)), cluster(pools=(IPIP,))),
            "tunl0: has MTU 1500; eth0 has 1500",
            "ip link set tunl0 mtu 1480",
        ),
    ],
    "conntrack": [
        (
            facts(sysctls(net__netfilter__nf_conntrack_count="900")),
            "900 of 1000 entries",
            "nf_conntrack_max=2000",
        )
    ],
    "neighbours": [(facts(replace(NETWORK, neighbours=1000)), "1000 entries", "gc_thresh3=4096")],
    "pod-links": [
        (facts(links(link(POD_LINK, is_up=False))), f"{POD_LINK}: is down", "link set"),
        (facts(links(link("cali0"))), "cali0: no route leads to it, and nobody", "link del cali0"),
    ],
    "node-address": [
        (facts(replace(NETWORK, addresses={})), "has 10.0.0.11 in etcd, and no link", "autodetect")
    ],
    "etcd-settings": [
        (facts(environment={"ETCD_CERT_FILE": "/x"}), "is set without ETCD_KEY_FILE", "env")
    ],
    "etcd-endpoints": [
        (
            facts(Etcd((Endpoint("http://a:1", None, "etcd http://a:1: does not answer"),))),
            "etcd http://a:1: does not answer",
            "curl -sS http://a:1/health",
        ),
        (facts(Etcd((Endpoint("http://a:1", 0.5),))), "answers after 500 ms", "check perf"),
    ],
    "certificates": [
        (facts(Certificates(files, pair, NOW.timestamp())), said, mend)
        for files, pair, said, mend in (
            ((replace(KEY, mistake="cannot be read"),), "", "client.key: cannot be read", "ls -lL"),
            ((replace(CERTIFICATE, validities=(EXPIRED,)),), "", "expired 35 days ago", "renew"),
            (
                (
                    replace(
                        CERTIFICATE,
                        validities=(replace(HOLDS, ends=NOW + timedelta(days=3)),),
                    ),
                ),
                "",
                "expires in 3 days",
                "kubeadm certs renew",
            ),
            (
                (
                    replace(
                        CERTIFICATE,
                        validities=(replace(HOLDS, begins=NOW + timedelta(days=3)),),
                    ),
                ),
                "",
                "does not hold before 2026-12-03",
                "set-ntp",
            ),
            ((CERTIFICATE, KEY), "KEY_VALUES_MISMATCH", "does not belong to", "kubeadm certs"),
        )
    ]
    + [
        (
            facts(EtcdServers((EtcdServer("https://a:1", None, EXPIRED),), NOW.timestamp())),
            "certificate of etcd https://a:1: expired",
            "renew etcd-server",
        )
    ],
    "ipamd": [
        (facts(Ipamd(None, "ipamd /x: does not answer")), "does not answer", "ocicat-ipamd"),
        (
            facts(Ipamd(replace(STATUS, waits_for="the first report"))),
            "gives out no address: the first report",
            "ocicat-cni-server",
        ),
        (facts(Ipamd(replace(STATUS, findings=("two pods",)))), "two pods", "ipam check"),
    ],
    "cni-server": [(facts(CniServer("/run/x: Connection refused")), "/run/x", "restart")],
    "spool": [(facts(CniServer("", 3, 120.0)), "3 releases wait, for up to 120 s", "restart")],
    "route-distributor": [
        (facts(Routing(None, "", Bird())), "has not written", "restart ocicat-route-distributor"),
        (facts(Routing(None, "cannot be read", Bird())), "cannot be read", "rm /run/ocicat"),
        (
            facts(Routing(RoutingStatus((), {"nat": PartStatus("no nft")}), "", Bird())),
            "route distributor: no nft",
            "ocicatctl node status",
        ),
    ],
    "bird": [
        (facts(Routing(None, "", Bird(mistake="BIRD /x: gone"))), "BIRD /x: gone", "ocicat-bird"),
        (
            facts(Routing(None, "", Bird([DOWN]))),
            "10.0.0.12: start since 21:57:18 (Active Socket: Connection refused)",
            "birdc -s /run/ocicat/bird.ctl restart Mesh_10_0_0_12",
        ),
    ],
    "addresses": [(facts(cluster(problems=(LEAKED,))), "10.233.77.9", "ipam check --repair")],
    "node-addresses": [(facts(cluster(problems=(SHARED,))), "of node-1", "get node -o wide")],
    "routes": [
        (facts(cluster(without("10.233.77.0/24"))), "no blackhole", "restart ocicat-bird"),
        (
            facts(
                cluster(
                    replace(
                        NETWORK,
                        kernel=Kernel(
                            (
                                *without("10.233.88.0/24").kernel.routes,
                                route("10.233.88.0/24", "eth0", protocol="static"),
                            ),
                            NETWORK.kernel.links,
                        ),
                    )
                )
            ),
            "a route of somebody else",
            "ip route del 10.233.88.0/24 proto static",
        ),
    ],
    "stray-routes": [
        (
            facts(cluster(with_route(route("10.233.99.0/24", kind="blackhole", protocol="bird")))),
            "10.233.99.0/24 blackhole proto bird: etcd has no such block",
            "ip route del blackhole 10.233.99.0/24 proto bird",
        )
    ],
}


def check(name: str, seen: Facts) -> Checked:
    return run([one for one in CHECKS if one.name == name], seen)[0]


@pytest.mark.parametrize("name", [one.name for one in CHECKS])
def test_on_a_node_where_nothing_is_wrong_every_check_says_that_it_is_fine(name):
    findings = check(name, facts()).findings

    assert findings
    assert all(isinstance(finding, Fine) for finding in findings), findings


@pytest.mark.parametrize(
    ("name", "seen", "said", "mend"),
    [(name, *case) for name, cases in WRONG.items() for case in cases],
    ids=[f"{name}-{i}" for name, cases in WRONG.items() for i in range(len(cases))],
)
def test_what_is_wrong_is_named_with_the_command_that_mends_it(name, seen, said, mend):
    wrong = [finding for finding in check(name, seen).findings if isinstance(finding, Wrong)]

    assert any(said in one.what and mend in one.mend for one in wrong), wrong
    assert all(one.why for one in wrong)


def test_there_is_a_wrong_case_of_every_check():
    assert list(WRONG) == [one.name for one in CHECKS]


def test_what_was_not_seen_is_unknown_and_ends_no_other_check():
    nothing = Facts(facts().settings, {}, {Network: "netlink: refused"})

    checked = run(CHECKS, nothing)

    by_name = {one.check.name: one.findings for one in checked}
    assert by_name["ip-forward"] == (Unknown("not looked at: netlink: refused"),)
    kinds = {type(finding) for findings in by_name.values() for finding in findings}
    assert kinds == {Unknown, Fine}


def test_a_check_that_breaks_is_unknown():
    odd = replace(RUNTIMES, found=(replace(RUNTIME, bin_dirs=()),))

    (finding,) = check("plugins", facts(odd)).findings

    assert finding == Unknown("the check failed: IndexError: list index out of range")


def test_without_settings_of_a_runtime_the_usual_directories_count():
    seen = facts(replace(RUNTIMES, found=()))

    assert [type(one) for one in check("runtime", seen).findings] == [Unknown]
    assert [type(one) for one in check("conflist", seen).findings] == [Fine]


def test_cri_o_takes_the_network_of_the_name_that_it_is_told():
    named = Runtime("CRI-O", "crio.conf", network="k8s-pod-network")
    seen = facts(replace(conf(FLANNEL, CONF), found=(named,)))

    assert [type(one) for one in check("conflist", seen).findings] == [Fine]


def test_one_dead_endpoint_of_several_is_a_warning():
    seen = facts(Etcd((Endpoint("http://a:1", None, "dead"), Endpoint("http://b:1", 0.001))))

    dead, alive = check("etcd-endpoints", seen).findings

    assert isinstance(dead, Wrong)
    assert dead.is_warning
    assert isinstance(alive, Fine)


def test_an_environment_file_that_the_operator_has_edited_is_fine():
    record, found = healthy.manifest()
    path = "/etc/ocicat/ocicat.env"
    seen = replace(
        installation(),
        manifest=replace(record, files={path: record.files["/opt/cni/bin/ocicat"]}),
        found={path: replace(found["/opt/cni/bin/ocicat"], digest="edited")},
    )

    assert [type(one) for one in check("installation", facts(seen)).findings] == [Fine]

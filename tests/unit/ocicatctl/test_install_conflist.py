"""The template of the network configuration list, and what of it our own plugin reads."""

import json

import pytest

from cni_plugin.netconf import netconf_of
from cni_plugin.stdin import parse
from datamodel.errors import Invalid
from ocicatctl.install import conflist
from tests.installation import TEMPLATE

# The template of Calico's manifests for etcd, shortened to what has a variable.
CALICO = """{
  "name": "k8s-pod-network", "cniVersion": "0.3.1", "plugins": [{
    "type": "calico", "log_level": "__LOG_LEVEL__", "log_file_path": "__LOG_FILE_PATH__",
    "etcd_endpoints": "__ETCD_ENDPOINTS__", "etcd_key_file": "__ETCD_KEY_FILE__",
    "etcd_cert_file": "__ETCD_CERT_FILE__", "etcd_ca_cert_file": "__ETCD_CA_CERT_FILE__",
    "nodename": "__KUBERNETES_NODE_NAME__", "mtu": __CNI_MTU__,
    "ipam": {"type": "calico-ipam"}, "policy": {"type": "k8s"},
    "kubernetes": {"kubeconfig": "__KUBECONFIG_FILEPATH__"}}]}"""


def netconf(text: str):
    """What the plugin understands when libcni hands it the first of the list."""
    document = json.loads(text)
    version = document["cniVersion"]
    entry = {**document["plugins"][0], "cniVersion": version, "name": document["name"]}
    return netconf_of(parse(json.dumps(entry).encode()), document["name"], version)


@pytest.mark.parametrize("template", [TEMPLATE, CALICO], ids=["ours", "calico"])
def test_our_plugin_reads_what_a_template_becomes(template):
    found = netconf(conflist.render(template, {"CNI_MTU": "1400"}))

    assert (found.name, found.mtu, found.is_kubernetes) == ("k8s-pod-network", 1400, True)
    assert netconf(conflist.render(template, {})).mtu is None


def test_ours_has_port_mappings_and_no_credentials():
    text = conflist.render(TEMPLATE, {})

    assert conflist.types(text) == ("ocicat", "portmap")
    assert json.loads(text)["plugins"][1]["capabilities"] == {"portMappings": True}
    assert "etcd" not in text
    assert "kubeconfig" not in text


def test_variables_come_from_the_environment():
    text = conflist.render(
        CALICO,
        {"LOG_LEVEL": "debug", "KUBERNETES_NODE_NAME": 'a "node"\\', "ETCD_ENDPOINTS": "http://e"},
    )

    plugin = json.loads(text)["plugins"][0]
    assert plugin["log_level"] == "debug"
    assert plugin["nodename"] == 'a "node"\\'
    assert (plugin["etcd_endpoints"], plugin["etcd_key_file"]) == ("http://e", "")


@pytest.mark.parametrize(
    ("template", "environment", "message"),
    [
        ("", {}, "is not JSON once it is filled in"),
        (TEMPLATE, {"CNI_MTU": "many"}, "is not JSON once it is filled in"),
        ("[" * 100_000, {}, "is not JSON once it is filled in"),
        ("[]", {}, 'has no list "plugins"'),
        ('{"name": "x", "type": "ocicat"}', {}, 'has no list "plugins"'),
        ('{"name": "x", "plugins": []}', {}, 'has no list "plugins"'),
        ('{"plugins": [{"type": "ocicat"}]}', {}, 'has no "name"'),
        ('{"name": "x", "plugins": [{}]}', {}, 'not every one of its "plugins" has a "type"'),
        ('{"name": "x", "plugins": [{"type": "../x"}]}', {}, 'has a "type"'),
        ('{"a": "__SERVICEACCOUNT_TOKEN__"}', {}, "__SERVICEACCOUNT_TOKEN__ is not a variable"),
    ],
)
def test_a_template_that_gives_no_list_is_refused(template, environment, message):
    with pytest.raises(Invalid, match=f"^template: .*{message}"):
        conflist.render(template, environment)


def test_runtimes_use_the_first_by_name():
    names = ["87-podman.conflist", "10-ocicat.conflist", "00-README", ".10-a.conflist.ocicat-new"]

    assert conflist.first(names) == "10-ocicat.conflist"
    assert conflist.first([*names, "10-calico.conflist"]) == "10-calico.conflist"
    assert conflist.first(["README"]) is None

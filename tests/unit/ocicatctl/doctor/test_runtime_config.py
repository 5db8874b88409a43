"""Where runtimes look, from the files and command lines that they really have."""

import pytest

from ocicatctl.doctor.runtime_config import containerd, crio, imports, option, podman

DEBIAN = """version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd/opt"
"""
VERSION_1 = '[plugins.cri.cni]\n  bin_dir = "/opt/bin"\n'
VERSION_3 = """version = 3
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/opt/cni/bin', '/usr/libexec/cni']
  conf_dir = '/etc/cni/other'
"""
PATH = "/etc/containerd/config.toml"


@pytest.mark.parametrize(
    ("text", "bin_dirs", "conf_dir"),
    [
        (VERSION_1, ("/opt/bin",), "/etc/cni/net.d"),
        (DEBIAN, ("/usr/lib/cni",), "/etc/cni/net.d"),
        (VERSION_3, ("/opt/cni/bin", "/usr/libexec/cni"), "/etc/cni/other"),
        ("", ("/opt/cni/bin",), "/etc/cni/net.d"),
    ],
)
def test_containerds_file_of_every_version_is_read(text, bin_dirs, conf_dir):
    found = containerd([(PATH, text)], is_running=True)

    assert (found.bin_dirs, found.conf_dir, found.uses_cni) == (bin_dirs, conf_dir, True)


def test_what_containerd_imports_counts_too():
    main = 'imports = ["/etc/containerd/conf.d/*.toml"]\n' + DEBIAN

    found = containerd(
        [(PATH, main), ("/etc/containerd/conf.d/x.toml", VERSION_3)], is_running=True
    )

    assert imports(main) == ("/etc/containerd/conf.d/*.toml",)
    assert found.conf_dir == "/etc/cni/other"


def test_the_file_that_a_package_ships_with_the_cri_plugin_off_is_seen():
    assert not containerd([(PATH, 'disabled_plugins = ["cri"]\n')], is_running=True).uses_cni


def test_a_file_that_is_not_toml_is_named():
    found = containerd([(PATH, "version = = 2")], is_running=False)

    assert found.mistake.startswith(f"{PATH}: is not TOML")


def test_cri_os_command_line_counts_more_than_its_last_file_and_that_more_than_the_first():
    first = ("/etc/crio/crio.conf", '[crio.network]\nplugin_dirs = ["/a/", "/b"]\n')
    last = ("/etc/crio/crio.conf.d/10.conf", '[crio.network]\nnetwork_dir = "/c/"\n')

    by_files = crio([first, last], ["crio"], is_running=True)
    by_line = crio([first, last], ["crio", "--cni-plugin-dir=/d,/e"], is_running=True)

    assert (by_files.bin_dirs, by_files.conf_dir) == (("/a", "/b"), "/c")
    assert by_line.bin_dirs == ("/d", "/e")


def test_podman_counts_only_with_the_backend_cni():
    own = '[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = ["/x"]\n'

    assert not podman([("/usr/share/containers/containers.conf", "[network]\n")]).uses_cni
    assert podman([("containers.conf", own)]).bin_dirs == ("/x",)
    assert podman([("containers.conf", own)]).uses_cni


def test_an_option_is_found_in_both_spellings():
    assert option(["containerd", "--config", "/x"], "-c", "--config") == "/x"
    assert option(["containerd", "--config=/x"], "-c", "--config") == "/x"
    assert option(["containerd", "-c"], "-c") == ""

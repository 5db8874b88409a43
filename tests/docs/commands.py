"""What becomes of each command on a page: it is run in a lab, or here stands why not.

A page that names a program which stands in neither table fails its test. Whoever writes such a page
adds the program: to ``RUN`` if a node of a lab has it, else to ``NOT_HERE``.
"""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import COMMENT, ROOT

# The programs that are run, on the first node of a lab.
RUN = frozenset(
    {"ocicatctl", "ip", "etcdctl", "birdc", "nft", "ping", "cat", "cp", "mkdir", "sed"}
    | {"awk", "cut", "diff", "echo", "grep", "head", "ls", "printf", "sort", "tail", "test", "wc"}
    | {"vi"}  # nothing, in a test
)

_HOST = "changes this host, of which a namespace is part"
_CLUSTER = "needs a Kubernetes cluster"

# Program -> why it is not run here.
NOT_HERE = {
    "make": "a target of the Makefile; that it exists is tested",
    "python": "tests and benchmarks take minutes",
    "python3": "tests and benchmarks take minutes",
    "pip": _HOST,
    "kubectl": _CLUSTER,
    "kubeadm": _CLUSTER,
    "kubelet": _CLUSTER,
    "kustomize": _CLUSTER,
    "helm": _CLUSTER,
    "clusterctl": _CLUSTER,
    "calicoctl": "Debian has no package of it",
    "systemctl": "no systemd runs in a namespace",
    "journalctl": "no systemd runs in a namespace",
    "systemd-analyze": "no systemd runs in a namespace",
    "networkctl": "no systemd runs in a namespace",
    "apt": _HOST,
    "apt-get": _HOST,
    "modprobe": _HOST,
    "sysctl": _HOST,
    "rm": _HOST,
    "mv": _HOST,
    "install": _HOST,
    "update-initramfs": _HOST,
    "reboot": _HOST,
    "podman": "building an image takes minutes",
    "buildah": "building an image takes minutes",
    "docker": "building an image takes minutes",
    "skopeo": "no registry can be reached",
    "mmdebstrap": "building an image takes minutes",
    "ctr": "needs a containerd that runs on this host",
    "nerdctl": "needs a containerd that runs on this host",
    "crictl": "needs a runtime that runs on this host",
    "vagrant": "needs virtual machines",
    "virsh": "needs virtual machines",
    "ssh": "there is no other host",
    "scp": "there is no other host",
    "curl": "no network",
    "wget": "no network",
    "git": "no network",
    "openssl": "a page's certificates are the operator's",
}

_TREES = "boot|dev|etc|home|host|lib|opt|proc|root|run|srv|sys|usr|var"

# Command -> why it is not run here, or where it is. The first that matches counts.
ELSEWHERE = {
    r"etcdctl (role|user|auth) ": "tests/contract/test_etcd_role.py, with an etcd of its own",
    r"ocicatctl lab demo": "tests/lab/test_lab.py",
    r"ocicatctl lab down": "the end of this test",
    r"ocicatctl upgrade": "needs a whole node: tests/faults/test_upgrade_host_local.py and others",
    r"--ip=10\.244\.1\.2|node--1-cni-4f0c9a5d2b-eth0": "what upgrade host-local took over",
    # Only the network is a namespace's: a page must not write into this host's files. What is
    # installed is installed in a directory.
    rf"(?<!--root)(?<!--bin-dir)[\s=>'\"](?!/run/bird/)/({_TREES})\b": _HOST,
    r"\$[{(]?\w": "what is in a variable is not known",
    r"--from-report=": "tests/unit/ocicatctl/test_release.py; reports of a leak are a minute old",
}

_BEFORE = frozenset(
    {"sudo", "do", "then", "else", "time", "exec", "!", "{", "(", "env", "if", "while", "until"}
)
_KEYWORDS = frozenset({"for", "done", "fi", "case", "esac", "}", ")", "cd", "export", "set"})
_OPERATORS = frozenset(";|&()\n")
_HEREDOC = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?.*?^\s*\1$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)


def programs(script: str) -> Iterator[str]:
    """The programs that a script calls; what a here-document holds is none."""
    text = COMMENT.sub("", _HEREDOC.sub("", script.replace("\\\n", " ")))
    lexer = shlex.shlex(text, posix=True, punctuation_chars="();|&<>\n")
    lexer.whitespace_split = True
    lexer.whitespace = " \t"
    lexer.commenters = ""
    begins = True
    for word in lexer:
        if word and set(word) <= _OPERATORS | set("<>"):
            begins = set(word) <= _OPERATORS
        elif begins and word not in _BEFORE and not _ASSIGNMENT.fullmatch(word):
            begins = False
            if word not in _KEYWORDS:
                yield re.sub(r"^(\.venv/bin/|(/usr)?/s?bin/)", "", word)


def why_not_here(command: str) -> str | None:
    """Why a command is not run, or ``None``: it is.

    Raises:
        KeyError: nobody has said whether one of its programs is.
    """
    found = [name for name in programs(command) if not name.startswith(("$", "/"))]
    if unknown := [name for name in found if name not in RUN and not _reason(name)]:
        raise KeyError(unknown[0])
    if reasons := [reason for name in found if (reason := _reason(name))]:
        return reasons[0]
    plain = COMMENT.sub("", command)
    return next((why for pattern, why in ELSEWHERE.items() if re.search(pattern, plain)), None)


def _reason(program: str) -> str | None:
    if "/" in program and (ROOT / program).is_file():
        return "a script of the tree; that it exists is tested"
    return NOT_HERE.get(program)


def missing_of_the_tree(command: str) -> list[str]:
    """What a command that is not run names of our tree, and is not there."""
    words = COMMENT.sub("", command.replace("\\\n", " ")).split()
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    missing = []
    if "make" in words:
        named = [b for a, b in itertools.pairwise(words) if a == "make"]
        missing += [f"make {name}" for name in named if name not in targets]
    tops = tuple(f"{path.name}/" for path in ROOT.iterdir() if path.is_dir())
    paths = [word.strip("'\"") for word in words if word.startswith(tops)]
    missing += [path for path in paths if not _is_there(path)]
    return missing


def _is_there(path: str) -> bool:
    plain = re.split(r"[*{$<]", path)[0]
    return (ROOT / plain).exists() or (plain != path and Path(ROOT / plain).parent.exists())

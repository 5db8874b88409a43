"""Drives one CNI executable as a runtime does: environment and stdin in, an outcome out."""

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

TIMEOUT_S = 60


def all_with_one(first: str, others: Sequence[str], values: Iterable[Any]) -> list[tuple[str, Any]]:
    """Parameters: every value with the first verb, and one of them with each of the others."""
    listed = list(values)
    return [(first, value) for value in listed] + [(verb, listed[0]) for verb in others]


@dataclass(frozen=True)
class Pod:
    """An attachment as a runtime names it: container id, path of the namespace, interface."""

    id: str
    netns: str
    ifname: str = "eth0"

    @property
    def namespace(self) -> str:
        """The name by which ip(8) knows the namespace."""
        return Path(self.netns).name

    def but(self, **other: str) -> "Pod":
        """The same attachment but for something."""
        return replace(self, **other)


@dataclass(frozen=True)
class Outcome:
    """How a call ended."""

    status: int
    stdout: str
    stderr: str
    is_ours: bool = False

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON object on stdout; anything beside it is an error."""
        document = json.loads(self.stdout)
        assert isinstance(document, dict), self.stdout
        return document

    @property
    def is_silent_success(self) -> bool:
        return (self.status, self.stdout) == (0, "")

    def assert_refused(self, code: int | None, *words: str, our_code: int | None = None) -> None:
        """The call failed with one error document; *words* are in its msg or details.

        Args:
            code: None, if the specification has none for it.
            our_code: what ours says where another plugin may say something else.
        """
        assert self.status != 0, self
        document = self.document
        assert document.keys() <= {"cniVersion", "code", "msg", "details"}, self
        expected = (our_code or code) if self.is_ours else code
        assert document["code"] == (expected or document["code"]), self
        assert isinstance(document["code"], int), self
        assert document["code"] > 0, self
        said = f"{document['msg']} {document.get('details', '')}"
        assert [word for word in words if word not in said] == [], self
        if self.is_ours:
            assert self.status == 1, self
            assert document["cniVersion"], self


@dataclass(frozen=True)
class Plugin:
    """An installed plugin on one node, with a network configuration that works."""

    executable: Path
    namespace: Path  # the node's network namespace
    conf: Mapping[str, Any]
    path: str  # CNI_PATH
    is_ours: bool

    def call(
        self,
        verb: str,
        pod: Pod | None = None,
        *,
        conf: Mapping[str, Any] | None = None,
        stdin: str | bytes | int | None = None,
        environment: Mapping[str, str | None] | None = None,
        wrapper: Sequence[str | Path] = (),
        before_exec: Callable[[], None] | None = None,
    ) -> Outcome:
        """Make one call, right in every respect unless an argument says otherwise.

        Args:
            conf: keys of the configuration that are different; None as a value removes one.
            stdin: instead of the configuration: what to send, or a descriptor to read from.
            environment: variables that are different; None as a value removes one.
            wrapper: a command that executes the plugin in its turn.
            before_exec: runs in the child (in the caller's namespace).
        """
        data = json.dumps(self.conf_with(conf)) if stdin is None else stdin
        process = self.start(
            self.variables(verb, pod, environment),
            stdin=data if isinstance(data, int) else subprocess.PIPE,
            wrapper=wrapper,
            before_exec=before_exec,
        )
        with process:
            text = None if isinstance(data, int) else data
            sent = text.encode() if isinstance(text, str) else text
            try:
                stdout, stderr = process.communicate(sent, timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Outcome(process.returncode, _text(stdout), _text(stderr), self.is_ours)

    def start(
        self,
        variables: Mapping[str, str],
        *,
        stdin: int = subprocess.PIPE,
        stdout: int = subprocess.PIPE,
        wrapper: Sequence[str | Path] = (),
        before_exec: Callable[[], None] | None = None,
    ) -> "subprocess.Popen[bytes]":
        """Start the executable on the node with exactly these variables."""
        return subprocess.Popen(
            ["nsenter", f"--net={self.namespace}", "--", *wrapper, self.executable],
            env=variables,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            preexec_fn=before_exec,
        )

    def variables(
        self, verb: str, pod: Pod | None, different: Mapping[str, str | None] | None = None
    ) -> dict[str, str]:
        """The environment of a call."""
        named = {"CNI_COMMAND": verb, "CNI_PATH": self.path}
        if pod:
            named |= {
                "CNI_CONTAINERID": pod.id,
                "CNI_NETNS": pod.netns,
                "CNI_IFNAME": pod.ifname,
            }
        merged = {"PATH": os.defpath, **named, **(different or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def conf_with(self, different: Mapping[str, Any] | None) -> dict[str, Any]:
        """The configuration with some keys different, or without those that are None."""
        merged = {**self.conf, **(different or {})}
        return {key: value for key, value in merged.items() if value is not None}


def _text(said: bytes | None) -> str:
    return (said or b"").decode(errors="surrogateescape")

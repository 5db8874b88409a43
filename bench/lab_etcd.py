"""Writes to a lab's etcd from outside its namespaces, with nothing started for a write.

Edge: etcd's JSON gateway, over a connection that was made inside.
"""

import json
import os
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from types import TracebackType
from typing import Self

from cni_plugin import netns
from datamodel.errors import Unavailable
from ocicatctl.lab.spec import ETCD_PORT, GATEWAY, LabSpec
from ocicatctl.lab.system import NETNS

TIMEOUT_S = 10.0


class LabEtcd:
    """One connection; use it in a ``with`` statement."""

    def __init__(self, lab: LabSpec) -> None:
        self._connection = HTTPConnection(str(GATEWAY.ip), ETCD_PORT, timeout=TIMEOUT_S)
        fd = os.open(NETNS / lab.fabric, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with netns.entered(fd):
                self._connection.connect()
        finally:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._connection.close()

    def put(self, values: Mapping[str, bytes]) -> None:
        """Write all of them in one transaction.

        Raises:
            Unavailable: etcd does not answer, or refuses.
        """
        puts = [
            {"requestPut": {"key": b64encode(k.encode()).decode(), "value": b64encode(v).decode()}}
            for k, v in values.items()
        ]
        try:
            self._connection.request("POST", "/v3/kv/txn", json.dumps({"success": puts}))
            answer = self._connection.getresponse()
            said = answer.read()
        except (OSError, HTTPException) as error:
            raise Unavailable(f"etcd of the lab: {error}") from error
        if answer.status != 200:
            raise Unavailable(f"etcd of the lab: {answer.status}: {said[:200]!r}")

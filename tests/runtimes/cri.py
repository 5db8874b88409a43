"""A kubelet as far as sandboxes are concerned: drives a runtime by the Container Runtime Interface.

Edge: gRPC, over the runtime's Unix socket.
"""

from collections.abc import Mapping
from pathlib import Path

import grpc

from tests.runtimes import cri_pb2 as pb
from tests.runtimes.cri_pb2_grpc import RuntimeServiceStub

TIMEOUT_S = 60.0


class Cri:
    """A client of one runtime."""

    def __init__(self, socket: Path, cgroup_parent: str) -> None:
        self._cgroup_parent = cgroup_parent
        # Go's server refuses the socket's path as an authority.
        options = [("grpc.default_authority", "localhost")]
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=options)
        self._stub = RuntimeServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def begin(
        self,
        name: str,
        ports: Mapping[int, int] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> grpc.Future:
        """Begin RunPodSandbox; the future's result has its id.

        Args:
            ports: of the host, to those of the pod.
        """
        config = pb.PodSandboxConfig(
            metadata=pb.PodSandboxMetadata(name=name, uid=name, namespace="default"),
            port_mappings=[
                pb.PortMapping(host_port=host, container_port=pod)
                for host, pod in (ports or {}).items()
            ],
            annotations=annotations,
            linux=pb.LinuxPodSandboxConfig(cgroup_parent=self._cgroup_parent),
        )
        return self._stub.RunPodSandbox.future(
            pb.RunPodSandboxRequest(config=config), timeout=TIMEOUT_S
        )

    def run(
        self,
        name: str,
        ports: Mapping[int, int] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        """Run a sandbox; return its id."""
        return self.begin(name, ports, annotations).result().pod_sandbox_id

    def address(self, sandbox: str) -> str:
        """What a kubelet would report as the pod's address."""
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox)
        return self._stub.PodSandboxStatus(request, timeout=TIMEOUT_S).status.network.ip

    def begin_stop(self, sandbox: str) -> grpc.Future:
        """Begin to take a sandbox off the network."""
        request = pb.StopPodSandboxRequest(pod_sandbox_id=sandbox)
        return self._stub.StopPodSandbox.future(request, timeout=TIMEOUT_S)

    def begin_remove(self, sandbox: str) -> grpc.Future:
        """Begin to forget a sandbox; one that runs is stopped before."""
        request = pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox)
        return self._stub.RemovePodSandbox.future(request, timeout=TIMEOUT_S)

    def remove(self, sandbox: str) -> None:
        """Stop and forget a sandbox, as a kubelet does."""
        self.begin_stop(sandbox).result()
        self.begin_remove(sandbox).result()

    def listing(self) -> list[pb.PodSandbox]:
        """All sandboxes, whatever their state."""
        answer = self._stub.ListPodSandbox(pb.ListPodSandboxRequest(), timeout=TIMEOUT_S)
        return list(answer.items)

    def sandboxes(self) -> list[str]:
        """The ids of all sandboxes, whatever their state."""
        return [sandbox.id for sandbox in self.listing()]

    def is_network_ready(self) -> bool:
        """Whether the runtime serves, and has found a network to put pods on."""
        try:
            answer = self._stub.Status(pb.StatusRequest(), timeout=TIMEOUT_S, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNKNOWN:
                return False  # "server is not initialized yet"
            raise
        return all(condition.status for condition in answer.status.conditions)

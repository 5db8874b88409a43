"""Reads from the Kubernetes API what an ADD has to know of its pod.

Edge: HTTPS, by ``kube_api``. Only an ADD asks; a DEL never needs the API.
"""

import time

from cni_plugin.pod_facts import PodFacts, pod_facts
from datamodel.attachment import Pod
from datamodel.errors import Invalid, OcicatError, Unavailable
from kube_api.client import ApiClient, Document, Refused

_LEAST_S = 0.01  # a second request is tried however late the first was answered

_REMEDIES = {
    401: "the CNI server's token or certificate is not valid, or not any more",
    403: 'give the CNI server\'s account the right to "get" "pods" and "namespaces"',
    404: "it was deleted, or has not been made yet, or this is another cluster's API",
}


class KubernetesPods:
    """The pods of a cluster, as its API knows them."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    def __str__(self) -> str:
        return str(self._api)

    def read(
        self, pod: Pod, timeout_s: float, *, is_first_link: bool, has_floating_ips: bool
    ) -> PodFacts:
        """Read a pod and its namespace.

        Args:
            pod: which one.
            timeout_s: for both together.
            is_first_link: as for ``pod_facts``.
            has_floating_ips: the same.

        Raises:
            Invalid: annotations are wrong; with every mistake.
            Unavailable: the pod cannot be read, for whatever reason. Without knowing what it asks
                for it must not get just any address, and the runtime will try again.
        """
        about = f"pod {pod.namespace}/{pod.name}"
        try:
            documents = _documents(self._api, pod, timeout_s)
        except OcicatError as error:
            remedy = _REMEDIES.get(error.status) if isinstance(error, Refused) else None
            what_to_do = f"; {remedy}" if remedy else ""
            raise Unavailable(f"{about}: cannot be read: {error}{what_to_do}") from error
        try:
            return pod_facts(
                *documents, is_first_link=is_first_link, has_floating_ips=has_floating_ips
            )
        except Invalid as error:
            raise Invalid(f"{about}: {error}") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"{self._api}: its answer is not a Pod and its Namespace: {error!r}"
            raise Unavailable(f"{about}: cannot be read: {reason}") from error


def _documents(api: ApiClient, pod: Pod, timeout_s: float) -> tuple[Document, Document]:
    end = time.monotonic() + timeout_s
    found = api.get("pods", pod.name, namespace=pod.namespace, timeout_s=timeout_s)
    left = max(_LEAST_S, end - time.monotonic())
    namespace = api.get("namespaces", pod.namespace, timeout_s=left)
    return (
        _checked(api, found, "Pod", pod.name),
        _checked(api, namespace, "Namespace", pod.namespace),
    )


def _checked(api: ApiClient, document: Document, kind: str, name: str) -> Document:
    metadata = document.get("metadata")
    is_it = isinstance(metadata, dict) and metadata.get("name") == name
    if document.get("kind") != kind or not is_it:
        raise Unavailable(f"{api}: its answer is not the {kind} {name}")
    return document

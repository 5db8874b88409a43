"""``ocicatctl ipam explain``: why an address is held, why it is not, and where the next comes from.

Edge: the command line and the clock. ``explaining.py`` reads, ``explain_address.py`` and
``explain_node.py`` reason.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from datamodel.attachment import Pod
from datamodel.block import Address
from datastore.store import Store
from ocicatctl import arguments
from ocicatctl.entries import raise_for
from ocicatctl.ipam.explain_address import address_text
from ocicatctl.ipam.explain_node import node_text
from ocicatctl.ipam.explaining import Explainer
from ocicatctl.store import with_store
from ocicatctl.structured import structured


def _labels(text: str) -> Mapping[str, str]:
    """``k=v,k=v``; for click's ``type``."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if wrong := [name for name, equals, _ in pairs if not (name.strip() and equals)]:
        raise click.BadParameter(f"{wrong[0]!r} is not KEY=VALUE")
    return {name.strip(): value.strip() for name, _, value in pairs}


@click.command(
    epilog="""\b
Examples:
  ocicatctl ipam explain 10.233.77.0
  ocicatctl ipam explain kube-system/dns
  ocicatctl ipam explain --node node-1
  ocicatctl ipam explain --node node-1 --pool blue --namespace-labels team=red -o json
"""
)
@click.argument("target", type=arguments.address_or_pod, required=False, metavar="[IP|POD|NS/POD]")
@click.option(
    "--node", "node", type=arguments.node, metavar="NODE", help="What this node would do."
)
@click.option(
    "--pool",
    "pools",
    multiple=True,
    metavar="POOL",
    help="With --node: as if this pool were asked for, by name or CIDR; repeatable.",
)
@click.option(
    "--namespace-labels",
    type=_labels,
    metavar="K=V,...",
    help="With --node: the labels of the pod's namespace.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(("text", "json", "yaml")),
    default="text",
    show_default=True,
)
def explain(
    target: Address | Pod | None,
    node: str | None,
    pools: tuple[str, ...],
    namespace_labels: Mapping[str, str] | None,
    output: str,
) -> None:
    """Say who holds an address, or why nobody does, and what its node does next.

    With --node: from where the node's next address would come, or why it gets none; in the words
    of the error that a pod would get.
    """
    if (target is None) == (node is None):
        raise click.UsageError("Either an address, a pod, or --node must be given.")
    if target is not None and (pools or namespace_labels is not None):
        raise click.UsageError("--pool and --namespace-labels go with --node.")

    async def look(store: Store) -> tuple[list[str], Any, list[str]]:
        explainer = Explainer(store, datetime.now(UTC))
        if isinstance(target, Pod):
            documents = await explainer.pod(target)
            pod = {"namespace": target.namespace, "pod": target.name, "addresses": documents}
            return [address_text(d) for d in documents], pod, explainer.mistakes
        if target is not None:
            document = await explainer.address(target)
            return [address_text(document)], document, explainer.mistakes
        families = await explainer.node(node or "", pools=pools, namespace_labels=namespace_labels)
        raise_for([family["mistake"] for family in families if "mistake" in family])
        return [node_text(d) for d in families], families, explainer.mistakes

    texts, document, mistakes = with_store(look)
    text = "\n".join(texts) if output == "text" else structured(document, output)
    click.echo(text, nl=False)
    raise_for(mistakes)

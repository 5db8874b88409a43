"""The story of one look at the cluster: what is gone, is it really, take it back.

What is gone ``judge.py`` says, out of copies that may be a moment old. Before anything is taken
Kubernetes is asked about just that once more; whatever it does not say clearly ends the attempt.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from datamodel.attachment import Pod
from datamodel.errors import Invalid, OcicatError, Unavailable
from datastore import codec, keys
from datastore.departed import Alive, Departed
from datastore.known import Known
from datastore.mirror import Mirror
from datastore.node_removal import take_back
from datastore.store import Store, settle
from datastore.taken import Taken
from kube_controllers.api import Api
from kube_controllers.cluster import Copy, cluster_of, node_of, pod_of
from kube_controllers.judge import (
    PODS_BOUND,
    Gone,
    Judgement,
    Key,
    Leak,
    Moment,
    Suspect,
    judge,
)
from kube_controllers.release import (
    Rest,
    decide_departure,
    decide_end,
    decide_leak,
    decide_return,
)
from kube_controllers.survey import StoredNode, survey

log = logging.getLogger(__name__)

MIN_PAUSE_S = 0.5  # between two looks, whatever happens
RETRY_S = 10.0  # after one that failed

NODE_GONE, POD_GONE = "node", "pod"  # why an address was freed: a label of a metric


@dataclass(frozen=True, slots=True)
class Pace:
    """How often it looks, and how long something must be gone."""

    period_s: float
    node_grace_s: float
    leak_grace_s: float


class _Unknown(Unavailable):
    """There is nothing to compare: wait for it."""


class Controller:
    """Takes back what belongs to nodes and pods that are gone."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        api: Api,
        pace: Pace,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._api = api
        self._pace = pace
        self._now = now
        self.nodes: Copy[str, bool] = Copy("nodes", node_of)
        self.pods: Copy[Pod, str] = Copy("pods", pod_of)
        self.suspects: dict[Key, Suspect] = {}
        self._restorations = 0
        self._wanted = asyncio.Event()
        self._told: frozenset[str] = frozenset()  # findings that the log has already
        self.judgement = Judgement()  # the last one
        self.trouble = "nothing has been looked at yet"  # why the last look failed; "": it did not
        self.looked_at_s: float | None = None  # the last look that did not fail
        self.freed: Counter[str] = Counter()  # addresses, by why
        self.nodes_removed = 0

    def node_lost(self) -> None:
        """Have it look soon: a node is gone."""
        self._wanted.set()

    def pod_lost(self) -> None:
        """Have it look soon if it waits for pods to go; else there is no hurry."""
        if self.judgement.held[PODS_BOUND]:
            self._wanted.set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
                pause_s = self._until_next()
            except _Unknown as error:
                self._fail(str(error))
                pause_s = 0.0
            except OcicatError as error:
                self._fail(str(error))
                pause_s = RETRY_S
            await asyncio.sleep(MIN_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wanted.wait()
            self._wanted.clear()

    def _until_next(self) -> float:
        ripe_s = self.judgement.ripe_s
        if ripe_s is None:
            return self._pace.period_s
        return max(0.0, min(self._pace.period_s, ripe_s - _clock_s()))

    async def look(self) -> None:
        """Compare, and take back what is gone.

        Raises:
            Unavailable: Kubernetes or etcd is not known for now; all grace periods begin anew.
        """
        now_s = _clock_s()
        cluster = cluster_of(self.nodes, self.pods, now_s)
        is_other = self._mirror.restorations != self._restorations
        self._restorations = self._mirror.restorations
        if cluster is None or not self._mirror.is_ready or is_other:
            self.suspects = {}
            self.judgement = Judgement()
            who = "etcd" if cluster else "Kubernetes"
            raise _Unknown(f"{who} is not known for now; nothing is freed")
        moment = Moment(now_s, self._pace.node_grace_s, self._pace.leak_grace_s)
        found = judge(cluster, survey(self._mirror.entries), self.suspects, moment)
        self.suspects = found.suspects
        self.judgement = found
        self._tell(found.findings)
        failures = [
            *[await self._tried(self._take_in(node)) for node in found.returned],
            *[await self._tried(self._remove(gone), gone.key) for gone in found.gone],
            *[await self._tried(self._free(leak), leak.key) for leak in found.leaks],
        ]
        if wrong := [failure for failure in failures if failure]:
            raise Unavailable("; ".join(wrong))
        self.trouble = ""
        self.looked_at_s = _clock_s()

    async def _tried(self, work: Awaitable[None], suspect: Key | None = None) -> str:
        """Do it; what goes wrong with one does not keep the others from it.

        Who turned out to live, or was taken back, is no suspect any more: if he still seems gone at
        the next look, his grace period begins anew.
        """
        try:
            await work
        except Alive as error:
            log.info("%s; nothing more of it is freed", error)
        except OcicatError as error:
            return str(error)
        if suspect:
            self.suspects.pop(suspect, None)
        return ""

    # ---- nodes ---------------------------------------------------------------------------------

    async def _remove(self, gone: Gone) -> None:
        """Take back a node: its resource first, so that its peers stop using its routes."""
        node, name = gone.node, gone.node.name
        if not await self._is_gone(node):
            raise Alive(f"node {name}: is in Kubernetes after all")
        known = Known()
        await settle(self._store, known, partial(decide_departure, node, known))
        if not await self._is_gone(node):  # it came back just now: whoever it is needs the resource
            await self._give_back(node)
            return
        log.info("node is gone node=%s kubernetes=%s", name, ",".join(node.kubernetes_names))
        departed = Departed(name, {}, self._now(), seen=gone.seen)
        told = partial(self._log, NODE_GONE, f"node {name} is gone")
        mistakes = await take_back(self._store, known, departed, told, log.info)
        if mistakes:
            raise Invalid(f"node {name}: {'; '.join(mistakes)}")
        known = Known()
        await settle(self._store, known, partial(decide_end, name, known))
        self.nodes_removed += 1
        log.info("node is taken back node=%s addresses=%d", name, len(gone.seen))

    async def _is_gone(self, node: StoredNode) -> bool:
        """Whether Kubernetes says so, of the node and of pods on it."""
        for name in node.kubernetes_names:
            if await self._api.get("nodes", name) is not None:
                return False
            if (await self._api.list_all("pods", f"spec.nodeName={name}")).items:
                return False
        return True

    async def _take_in(self, node: StoredNode) -> None:
        """Let be a node that is back, unless only our copy is behind."""
        if node.entry is not None or not await self._is_gone(node):
            await self._give_back(node)

    async def _give_back(self, node: StoredNode) -> None:
        known = Known()
        if await settle(self._store, known, partial(decide_return, node.name, known)):
            log.warning("node is back after all; its resource is there again node=%s", node.name)

    # ---- pods ----------------------------------------------------------------------------------

    async def _free(self, leak: Leak) -> None:
        """Free what a handle of a node that lives has leaked."""
        holding = leak.holding
        assert holding.pod is not None
        document = await self._api.get("pods", holding.pod.name, holding.pod.namespace)
        if document is not None and pod_of(document)[1] in ("", *leak.kubernetes_names):
            raise Alive(f"pod {holding.pod}: is in Kubernetes after all")
        config = (await self._store.read(keys.IPAM_CONFIG)).entries.get(keys.IPAM_CONFIG)
        cooldown_s = codec.decode_ipam_config(config.value if config else None).ip_cooldown_s
        known, rest = Known(), Rest(self._now(), cooldown_s)
        taken = await settle(self._store, known, partial(decide_leak, holding, known, rest))
        self._log(POD_GONE, leak.why, taken)

    # ---- what is told --------------------------------------------------------------------------

    def _log(self, kind: str, why: str, taken: Taken) -> None:
        self.freed[kind] += len(taken.addresses)
        for freed in taken.addresses:
            handle, pod = freed.handle_id or "-", freed.pod or "-"
            log.info("freed address=%s handle=%s pod=%s why=%r", freed.address, handle, pod, why)
        for what, names in (
            ("block", taken.blocks),
            ("block, left to those who use it", taken.disowned),
            ("resource", taken.resources),
        ):
            for name in names:
                log.info("freed %s=%s why=%r", what, name, why)

    def _tell(self, findings: list[str]) -> None:
        """Log what is new among the findings."""
        for finding in findings:
            if finding not in self._told:
                log.warning("%s", finding)
        self._told = frozenset(findings)

    def _fail(self, trouble: str) -> None:
        if trouble != self.trouble:
            is_usual = self.looked_at_s is None  # nothing is known at the start
            log.log(logging.INFO if is_usual else logging.WARNING, "look failed: %s", trouble)
        self.trouble = trouble


def _clock_s() -> float:
    return asyncio.get_running_loop().time()

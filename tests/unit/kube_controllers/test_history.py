"""For any history of a cluster, and of what its API tells of it: who lives keeps his address, and
what is gone is freed once the API tells the truth for long enough."""

import contextlib
from collections.abc import Mapping
from ipaddress import ip_network

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from datamodel.attachment import Pod
from datamodel.attribute import DELEGATED
from datamodel.errors import Unavailable
from datastore import keys
from datastore.known import Known
from datastore.store import Entry
from kube_api.answer import Event
from kube_controllers.cluster import Copy, cluster_of, node_of, pod_of
from kube_controllers.judge import Judgement, Moment, judge
from kube_controllers.release import Rest, decide_leak
from kube_controllers.survey import survey
from tests.ipam import NOW
from tests.leftovers import Cluster

NODE_GRACE_S, LEAK_GRACE_S = 60.0, 900.0
NODES = ("a", "b", "c")
PODS = ("web-0", "web-1", "db-0")
CIDRS = {name: ip_network(f"10.1.{i}.0/29") for i, name in enumerate(NODES)}

names, pods = st.sampled_from(NODES), st.sampled_from(PODS)
times = st.sampled_from([1.0, 30.0, 61.0, 170.0, 400.0, 901.0, 3600.0])
Truth = tuple[Mapping[str, bool], Mapping[str, str]]  # nodes, and their pods


def node_document(name: str, is_ready: bool) -> dict:
    conditions = [{"type": "Ready", "status": "True" if is_ready else "Unknown"}]
    return {"metadata": {"name": name}, "status": {"conditions": conditions}}


def pod_document(name: str, node: str) -> dict:
    return {"metadata": {"namespace": "default", "name": name}, "spec": {"nodeName": node}}


class History(RuleBasedStateMachine):
    """What is really there, what etcd holds, and what the controller has heard."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes: dict[str, bool] = dict.fromkeys(NODES, True)
        self.pods: dict[str, str] = {"keeper": "c"}
        self.stored = Cluster()
        for i, name in enumerate(NODES):
            self.stored.node(name, f"10.0.0.{i + 1}/24", kubernetes_name=name)
            self.stored.block(CIDRS[name], name)
        self.sandboxes = 0
        self.owners: dict[str, tuple[str, str]] = {}  # handle -> pod and node, of all that is held
        self.revisions: dict[str, tuple[bytes, int]] = {}
        self.revision = 0
        self.history: list[Truth] = []
        self.copies = (Copy("nodes", node_of), Copy("pods", pod_of))
        self.judgement = Judgement()
        self.now_s = 0.0
        self.happened()

    def happened(self) -> None:
        self.history.append((dict(self.nodes), dict(self.pods)))

    # ---- the cluster ---------------------------------------------------------------------------

    @rule(name=pods, node=names)
    def pod_starts(self, name: str, node: str) -> None:
        room = len(self.stored.blocks[CIDRS[node]].unallocated)
        if name not in self.pods and node in self.nodes and room:
            self.pods[name] = node
            self.sandboxes += 1
            handle = f"net.s{self.sandboxes}"
            facts = {"namespace": "default", "pod": name, "node": node, "type": DELEGATED}
            self.stored.hold(CIDRS[node], handle, **facts)
            self.owners[handle] = (name, node)
            self.happened()

    @rule(name=pods, is_released=st.booleans())
    def pod_goes(self, name: str, is_released: bool) -> None:
        node = self.pods.pop(name, None)
        if node is not None:
            for handle in [h for h, owner in self.owners.items() if owner == (name, node)]:
                if is_released:
                    self.release(handle)
            self.happened()

    def release(self, handle: str) -> None:
        _, node = self.owners.pop(handle)
        block, _ = self.stored.blocks[CIDRS[node]].release(handle, now=NOW)
        self.stored.blocks[CIDRS[node]] = block.next_write()
        del self.stored.handles[handle]

    @rule(name=names, is_ready=st.booleans())
    def node_is_there(self, name: str, is_ready: bool) -> None:
        self.nodes[name] = is_ready
        self.happened()

    @rule(name=names)
    def node_goes(self, name: str) -> None:
        self.nodes.pop(name, None)
        self.pods = {pod: node for pod, node in self.pods.items() if node != name}
        self.happened()

    # ---- what is heard of it -------------------------------------------------------------------

    @rule(
        age=st.integers(0, 5), is_empty=st.booleans(), which=st.sampled_from([(0,), (1,), (0, 1)])
    )
    def list_comes(self, age: int, is_empty: bool, which: tuple[int, ...]) -> None:
        """Of now, of an older state as it was then, or with nothing in it."""
        at = max(0, len(self.history) - 1 - age)
        nodes, pods = ({}, {}) if is_empty else self.history[at]
        documents = (
            [node_document(*each) for each in nodes.items()],
            [pod_document(*each) for each in pods.items()],
        )
        for i in which:
            with contextlib.suppress(Unavailable):  # too old
                self.copies[i].take_list(documents[i], str(1000 + at), self.now_s)

    @rule()
    def watch_tells(self) -> None:
        """All that has happened, if it has listed before."""
        for copy, truth, document in zip(
            self.copies, self.history[-1], (node_document, pod_document), strict=True
        ):
            if copy.version:
                here = {copy._read(document(*each))[0]: each for each in truth.items()}
                version = str(1000 + len(self.history) - 1)
                events = [Event("MODIFIED", document(*each), version) for each in here.values()]
                for key in copy.items.keys() - here.keys():
                    gone = pod_document(key.name, "") if isinstance(key, Pod) else None
                    gone = gone or node_document(str(key), False)
                    events.append(Event("DELETED", gone, version))
                copy.take_events([*events, Event("BOOKMARK", {}, version)], self.now_s)

    @rule(seconds=times)
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(
        tells=st.sampled_from(["truth", "nothing", "no nodes", "no pods", "no more", "the past"]),
        minutes=st.sampled_from([1, 3, 20]),
    )
    def while_passes(self, tells: str, minutes: int) -> None:
        """The API tells the same all the time, and the controller looks all the time."""
        past = len(self.history) - 1
        for _ in range(minutes):
            self.now_s += 60.0
            if tells == "truth":
                self.watch_tells()
            elif tells == "the past":
                self.list_comes(len(self.history) - past + 1, False, (0, 1))
            elif tells != "nothing":
                empty = {"no nodes": (0,), "no pods": (1,), "no more": (0, 1)}[tells]
                self.list_comes(0, False, tuple({0, 1}.difference(empty)))
                self.list_comes(0, True, empty)
            self.look()

    # ---- the controller ------------------------------------------------------------------------

    def entries(self) -> dict[str, Entry]:
        for key, value in self.stored.entries.items():
            if self.revisions.get(key, (b"", 0))[0] != value:
                self.revision += 1
                self.revisions[key] = value, self.revision
        return {
            key: Entry(key, value, self.revisions[key][1])
            for key, value in self.stored.entries.items()
        }

    @rule()
    def look(self) -> None:
        cluster = cluster_of(*self.copies, self.now_s)
        if cluster is None:
            self.judgement = Judgement()
            return
        entries = self.entries()
        moment = Moment(self.now_s, NODE_GRACE_S, LEAK_GRACE_S)
        found = judge(cluster, survey(entries), self.judgement.suspects, moment)
        self.judgement = found
        for gone in found.gone:
            if gone.node.name not in self.nodes:  # as it asks the API once more
                for holding in gone.node.holdings:
                    self.free(holding.handle_id)
        for leak in found.leaks:
            pod = leak.holding.pod
            assert pod is not None
            if self.pods.get(pod.name) != leak.holding.node:
                known = Known()
                wanted = [
                    keys.handle(leak.holding.handle_id),
                    *map(keys.block, leak.holding.blocks),
                ]
                known.learn(0, {key: entries.get(key) for key in wanted})
                known.learn(0, dict.fromkeys(known_endpoints(leak.holding)))
                taken = decide_leak(leak.holding, known, Rest(NOW, 0))
                assert [f.handle_id for f in taken.outcome.addresses] == [leak.holding.handle_id]
                self.free(leak.holding.handle_id)

    def free(self, handle: str) -> None:
        name, node = self.owners[handle]
        assert self.pods.get(name) != node or handle != self.newest(name, node), (
            f"{handle} of {name} on {node} was freed, and it lives"
        )
        self.release(handle)

    def newest(self, name: str, node: str) -> str:
        """The sandbox that a pod has now; those before it are leaks."""
        return max(
            (h for h, owner in self.owners.items() if owner == (name, node)),
            key=lambda h: int(h.rpartition("s")[2]),
        )

    @invariant()
    def who_lives_holds_his_address(self) -> None:
        for name, node in self.pods.items():
            assert name == "keeper" or (name, node) in self.owners.values()

    def teardown(self) -> None:
        """The API tells the truth for an hour."""
        self.nodes["c"] = True
        self.pods.setdefault("keeper", "c")
        self.happened()
        for _ in range(60):
            self.now_s += 60.0
            self.list_comes(0, False, (0, 1))
            self.look()
        left = {owner for owner in self.owners.values() if self.pods.get(owner[0]) != owner[1]}
        assert {node for _, node in left if self.nodes.get(node, True)} == set()


def known_endpoints(holding) -> list[str]:
    from kube_controllers.release import _endpoint_key

    key = _endpoint_key(holding)
    return [key] if key else []


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

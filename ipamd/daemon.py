"""The parts of one node's ipamd, put together.

No I/O by itself; ``__main__.py`` runs them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from datastore.mirror import Mirror
from datastore.store import Store
from ipamd.allocator import Allocator
from ipamd.claim import NameClaim
from ipamd.claimed_store import ClaimedStore
from ipamd.config import Config
from ipamd.facts import ranges_of
from ipamd.historian import History
from ipamd.metrics import MeteredStore, Metrics
from ipamd.reconciler import Pace, Reconciler
from ipamd.tunnel_keeper import TunnelKeeper


@dataclass(frozen=True, slots=True)
class Daemon:
    """What the service and the metrics look into."""

    node: str
    store: Store  # every change in it is bound to the claim
    claim: NameClaim
    mirror: Mirror
    allocator: Allocator
    reconciler: Reconciler
    tunnels: TunnelKeeper
    history: History
    metrics: Metrics

    @classmethod
    def of(cls, config: Config, store: Store, claim: NameClaim) -> "Daemon":
        """Put together what works on *store*."""
        metrics = Metrics()
        claimed = ClaimedStore(MeteredStore(store, metrics), claim)
        history = History(config.history_dir, config.history_bytes, config.node)
        mirror = Mirror(claimed, ranges_of(config.node), history.observe)
        allocator = Allocator(claimed, mirror, config.node, lambda: datetime.now(UTC), claim)
        pace = Pace(config.reconcile_period_s, config.leak_grace_s)
        reconciler = Reconciler(mirror, allocator, config.node, pace)
        tunnels = TunnelKeeper(mirror, allocator, config.node, reconciler.blocks)
        return cls(
            config.node, claimed, claim, mirror, allocator, reconciler, tunnels, history, metrics
        )

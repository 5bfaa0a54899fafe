"""Settings of the operator process. The command line fills them from flags and environment variables."""

from __future__ import annotations

from dataclasses import dataclass

from swiftop import names


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All that can be set; the defaults are those of the manifests."""

    namespaces: tuple[str, ...] = ()  # to watch; empty means the whole cluster
    operator_namespace: str = names.OPERATOR_NAMESPACE  # where the Lease is
    identity: str = ""  # of this replica in the Lease; empty makes one up
    leader_election: bool = True
    workers: int = 32  # at once: each mostly waits for the API server
    resync_seconds: float = 600.0
    port: int = 8080  # of /healthz and /metrics
    host: str = ""  # address of that page; empty means all, of IPv6 too: probes and Prometheus come from elsewhere
    drain_seconds: float = 1.0  # for the keys in work at SIGTERM: what is cut off, the successor does again
    progress_seconds: float = 15.0  # between two looks at one pod
    log_level: str = "info"
    log_json: bool = True

"""The figures of a node as Prometheus reads them: https://prometheus.io/docs/practices/naming/

Names begin with `holdfast_`, units are seconds and bytes, counters end in `_total`. Labels are bounded: games and
phases are those that the server was started with, reasons those of our own tables; no room, no player. One family at a
time is rendered, with other tasks in between, and the whole at most once in EVERY_S.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator

import attrs
import trio
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from cluster.lease import LEASE_TTL_S, MARGIN
from server.http.report import journal, state
from server.http.site import Site
from server.metrics import TICK_BUCKETS_S, rss_mb

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
EVERY_S = 0.5

COUNTED = {
    "ticks": ("ticks", "Phases of ticks made."),
    "ticks_overrun": ("tick_overruns", "Ticks that took longer than the whole tick period."),
    "ticks_skipped": ("ticks_skipped", "Ticks given up because the node was too far behind."),
    "frames_sent": ("frames_sent", "Frames sent to players."),
    "frames_dropped": ("frames_dropped", "Frames that the socket did not take."),
    "frames_too_large": ("frames_too_large", "Frames that did not fit into a datagram."),
    "inputs_applied": ("inputs_applied", "Inputs of players that ticks have applied."),
    "inputs_malformed": ("inputs_malformed", "Input packets that made no sense."),
    "datagrams_truncated": ("datagrams_truncated", "Datagrams longer than any of ours."),
    "links_too_slow": ("links_too_slow", "Control links closed because their peer did not read."),
    "sessions_opened": ("sessions_opened", "Sessions opened by a log-in."),
    "sessions_lost": ("sessions_lost", "Times that a session lost its connection."),
    "sessions_resumed": ("sessions_resumed", "Times that a session was taken up again."),
    "rooms_quarantined": ("rooms_quarantined", "Rooms closed because their game failed."),
    "rooms_rescued": ("rooms_rescued", "Rooms of dead nodes that have gone on here."),
    "results_retried": ("results_retried", "Match results that had to be offered again."),
}
"""Counter of `server.metrics.Metrics` → name and meaning."""


class _One:
    """A family, as something that is collected."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


async def render(site: Site) -> bytes:
    """All figures as text."""
    now = trio.current_time()
    kept = site.kept.get("figures")
    if kept is not None and now - kept[0] < EVERY_S:
        return bytes(kept[1])
    parts = []
    for family in families(site):
        parts.append(_text(family))
        await trio.lowlevel.checkpoint()
    text = b"".join(parts)
    site.kept["figures"] = now, text
    return text


def _text(family: Metric) -> bytes:
    registry: CollectorRegistry = _One(family)  # type: ignore[assignment]  # all that is asked of one is `collect`
    return generate_latest(registry)


def families(site: Site) -> Iterator[Metric]:
    """Family by family, each made when it is asked for."""
    metrics, tenure = site.metrics, site.tenure
    for field, (name, about) in COUNTED.items():
        yield _counter(name, about, getattr(metrics, field))
    yield _reasons("datagrams_dropped", "Datagrams dropped, by reason.", attrs.asdict(metrics.drops))
    yield _reasons("limits", "What was refused because it was too much, by what.", attrs.asdict(metrics.limits))
    yield _counter("tick_busy_seconds", "Time spent in ticks.", metrics.ticks_busy_s)
    yield _ticks(site)
    yield _rooms(site)
    yield _gauge("players", "Sessions on this node, connected or waited for.", len(site.sessions))
    yield _gauge("players_max", "Sessions that this node takes.", site.sessions.sessions_max)
    yield _gauge("watchers", "Who watches a room without a seat.", len(site.lobby.watchers))
    yield _state(site)
    left_s = max(0.0, tenure.lease.until - trio.current_time())
    yield _gauge("lease_age_seconds", "Since the lease was renewed.", LEASE_TTL_S * (1.0 - MARGIN) - left_s)
    yield _gauge("lease_left_seconds", "Until rooms stop if it is not renewed.", left_s)
    yield _counter("suspensions", "Times that this node lost touch with its store.", tenure.suspensions)
    yield _gauge("cluster_nodes", "Living nodes, as this one sees them.", len(tenure.present()))
    written = journal(site)
    yield _counter("journal_records", "Records begun.", written["position"])
    yield _gauge("journal_lag_records", "Records begun and not stored yet.", written["lag"])
    yield _counter("journal_waits", "Records that the store did not take at once.", written["waits"])
    yield _gauge("takeovers_known", "Takeovers of the cluster that are remembered.", len(site.timeline.takeovers))
    yield _gauge("http_connections", "HTTP connections now.", site.connections())
    yield from _process(site)


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(f"holdfast_{name}", about, value=value)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"holdfast_{name}", about, value=value)


def _reasons(name: str, about: str, counts: dict[str, int]) -> Metric:
    family = CounterMetricFamily(f"holdfast_{name}", about, labels=["reason"])
    for reason, count in counts.items():
        family.add_metric([reason], count)
    return family


def _ticks(site: Site) -> Metric:
    family = HistogramMetricFamily(
        "holdfast_tick_duration_seconds", "How long a phase's tick takes.", labels=["game", "phase"]
    )
    for (game, phase), figures in site.metrics.phases.items():
        buckets, total = [], 0
        for bound, count in zip([*map(str, TICK_BUCKETS_S), "+Inf"], figures.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric([game, str(phase)], buckets, figures.busy_s)
    return family


def _rooms(site: Site) -> Metric:
    family = GaugeMetricFamily("holdfast_rooms", "Rooms on this node.", labels=["game", "phase"])
    for name, host in site.lobby.hosts.items():
        for phase, stages in enumerate(host.rooms.phases):
            family.add_metric([name, str(phase)], sum(len(stage.batch) for stage in stages))
    return family


def _state(site: Site) -> Metric:
    family = GaugeMetricFamily("holdfast_state", "1 for the state that the node is in.", labels=["state"])
    for name in ("serving", "draining", "suspended"):
        family.add_metric([name], float(name == state(site)))
    return family


def _process(site: Site) -> Iterator[Metric]:
    """Under the names that every exporter has."""
    yield CounterMetricFamily("process_cpu_seconds", "Processor time used.", value=time.process_time())
    yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory.", value=rss_mb() * 1e6)
    yield GaugeMetricFamily("process_start_time_seconds", "When the node began, Unix time.", value=site.started_s)
    with contextlib.suppress(OSError):
        yield GaugeMetricFamily("process_open_fds", "Open files.", value=len(os.listdir("/proc/self/fd")))
    yield GaugeMetricFamily(
        "process_max_fds", "Files that may be open.", value=resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    )

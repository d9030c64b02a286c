"""The site: all that HTTP sees of its node, and the few things it may do to it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs

from cluster.journal import Journal
from cluster.model import Member
from cluster.store import Store
from netcode.errors import ProtocolError
from netcode.session import Session, SessionTable
from profiles import Profiles
from server.http.token import Token
from server.lobby import Lobby
from server.metrics import Metrics
from server.registry import Registry
from server.settings import Settings
from server.tenure import Tenure
from server.timeline import Timeline


@attrs.define(eq=False, kw_only=True)
class Site:
    """One node, as its HTTP handlers have it."""

    settings: Settings
    node: str
    front_port: int
    """Where players come in: any node's."""
    port: int
    """The node's own, for players."""
    http_port: int
    """The node's own, for HTTP."""
    secure: bool
    """HTTP goes over TLS."""
    token: Token
    metrics: Metrics
    sessions: SessionTable
    lobby: Lobby
    registry: Registry
    tenure: Tenure
    journal: Journal
    profiles: Profiles
    store: Store
    timeline: Timeline
    end: Callable[[Session, ProtocolError], None]
    """Ends a session."""
    leave: Callable[[], None]
    """Has the node give its rooms away and end."""
    connections: Callable[[], int] = lambda: 0
    """HTTP connections now."""
    started_s: float = attrs.field(factory=time.time)
    kept: dict[str, Any] = attrs.field(factory=dict)
    """What handlers keep for a moment, by handler."""

    @property
    def incarnation(self) -> str:
        """Which life of the node this is."""
        return self.tenure.incarnation

    def member(self, node: str) -> Member | None:
        """The living incarnation of a node."""
        return next((one for one in self.tenure.present() if one.node == node and not one.sealed), None)

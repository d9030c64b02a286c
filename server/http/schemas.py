"""The shapes of what the API takes and answers, as JSON Schema."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def shape(about: str = "", **properties: Schema) -> Schema:
    """An object that has all of these, and nothing else."""
    found = {
        "type": "object",
        "required": list(properties),
        "additionalProperties": False,
        "properties": properties,
    }
    return {**found, "description": about} if about else found


def items(schema: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": schema}


def maybe(schema: Schema) -> Schema:
    """The same, or nothing."""
    return {"anyOf": [schema, {"type": "null"}]}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
YES_NO: Schema = {"type": "boolean"}
SPREAD = shape("milliseconds", p50=NUMBER, p99=NUMBER, max=NUMBER)

ROOM_LINE = shape(
    room=TEXT,
    game=TEXT,
    epoch=COUNT,
    players=COUNT,
    seats=COUNT,
    tick=COUNT,
    tick_hz=COUNT,
    phase=COUNT,
    cost_us={**NUMBER, "description": "its share of its phase's tick, microseconds, mean of 5 s"},
    private=YES_NO,
    closing=YES_NO,
)
ROOM_OF_NODE = shape(node=TEXT, **ROOM_LINE["properties"])
PLAYER = shape(
    session=TEXT,
    account=TEXT,
    name=TEXT,
    node=TEXT,
    room={**TEXT, "description": "empty: in none"},
    seat={**WHOLE, "description": "-1: in none"},
    connected=YES_NO,
    age_s=NUMBER,
    silent_s=NUMBER,
)
REPORT = shape(
    "What a node alone knows.",
    node=TEXT,
    incarnation=TEXT,
    state={"type": "string", "enum": ["serving", "draining", "suspended"]},
    pid=COUNT,
    port={**COUNT, "description": "its own, for players"},
    http_port={**COUNT, "description": "its own, for HTTP"},
    at_s={**NUMBER, "description": "when this was true, Unix time"},
    uptime_s=NUMBER,
    players=COUNT,
    rooms=COUNT,
    lease=shape(held=YES_NO, left_ms=COUNT, age_ms=WHOLE, suspensions=COUNT),
    journal=shape("`lag`: records begun and not stored", position=COUNT, lag=COUNT, waits=COUNT),
    tick_late_ms=SPREAD,
    phases=items(
        shape(game=TEXT, phase=COUNT, tick_hz=COUNT, rooms=COUNT, budget_ms=NUMBER, tick_ms=SPREAD),
    ),
    counts={"type": "object", "additionalProperties": COUNT},
    ticks_busy_s=NUMBER,
    rss_mb=NUMBER,
    cpu_s=NUMBER,
    rooms_told={**items(ROOM_LINE), "description": "at most 250, fullest first"},
)
MEMBER = shape(
    "A living node: what its lease tells everybody, and its report (null where it did not answer).",
    node=TEXT,
    incarnation=TEXT,
    host=TEXT,
    port=COUNT,
    http_port=COUNT,
    draining=YES_NO,
    players=COUNT,
    rooms=COUNT,
    load={**NUMBER, "description": "share of its time spent in ticks"},
    report=maybe(REPORT),
)
MOVED = shape(room=TEXT, to=TEXT, epoch=COUNT, pause_ms=maybe(NUMBER))
TAKEOVER = shape(
    "How the rooms of a node went on elsewhere. Pauses: docs/operations.md says what is measured.",
    at_s=NUMBER,
    node=TEXT,
    incarnation=TEXT,
    how={"type": "string", "enum": ["died", "drained"]},
    count=COUNT,
    pause_ms=maybe(shape(p50=NUMBER, p99=NUMBER, max=NUMBER, known=COUNT)),
    rooms={**items(MOVED), "description": "at most 200"},
)
CLUSTER = shape(
    node={**TEXT, "description": "who has answered"},
    at_s=NUMBER,
    may_kill={**YES_NO, "description": "nodes may be killed, for a demonstration, by who asks from here"},
    players=COUNT,
    rooms=COUNT,
    nodes=items(MEMBER),
)
MAP = shape(
    "Where everybody is, in the game's own units; `low` and `high` are the corners that hold all of it.",
    low=items(WHOLE),
    high=items(WHOLE),
    places=items(shape(seat=COUNT, name=TEXT, x=WHOLE, y=WHOLE)),
    walls={
        **maybe(shape(tile=COUNT, rows=items(TEXT))),
        "description": "of the arena, where it was asked for: rows of square tiles, # is a wall",
    },
)
ROOM = shape(
    node=TEXT,
    **ROOM_LINE["properties"],
    options={"type": "object", "additionalProperties": WHOLE},
    chain=items(shape(epoch=COUNT, incarnation=TEXT)),
    roster=items(shape(seat=COUNT, name=TEXT, account=TEXT, connected=YES_NO, score=maybe(WHOLE))),
    map=maybe(MAP),
)
TARGETS = items(shape(targets=items(TEXT), labels=shape(node=TEXT)))
DONE = shape(done=YES_NO)
SERVER = shape(
    "What a page needs to begin: where players come in.",
    node=TEXT,
    protocol=COUNT,
    host={**TEXT, "description": "of the front door; empty: the page's own"},
    port={**COUNT, "description": "of the front door, TCP"},
    secure={**YES_NO, "description": "whether browsers use wss"},
    games=items(TEXT),
    may_kill=YES_NO,
)
LEADER = shape(rank=COUNT, account=TEXT, name=TEXT, value=WHOLE, matches=COUNT)

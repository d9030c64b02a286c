"""How the demo looks: a picture and its kills as a drawing for a terminal, or as a line of plain text.

Holdfast …                      who plays, what flows, a strip of the last half minute: a pause is a dent in it
╭ node-1 ╮ ╭ node-2 ╮ ╭ node-3 ╮
│ rooms  │ │ killed │ │ rooms  │   a room that has moved stands out for some seconds, with where it came from
╰────────╯ ╰────────╯ ╰────────╯
node-2 killed: 3 rooms moved …  what each kill has meant
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from holdfast.demo.kills import Kill, Kills
from holdfast.demo.picture import CELLS_MAX, HIGHLIGHT_S, Node, Picture, Room

NARROWEST = 26
"""Of a node's panel, in columns."""
WIDE = 40
"""Of a panel: from here on it says everything in full, and who leads in a room."""
WIDE_LINE = 110
"""Of the terminal: from here on a line has room for details."""
KILLS_SHOWN = 4
_BLOCKS = "▁▂▃▄▅▆▇█"
_COLOURS = {"starting": "yellow", "alive": "green", "killed": "red", "dead": "red"}


def draw(picture: Picture, kills: Kills, now: float, width: int, height: int) -> RenderableType:
    """Everything, in `height` - 1 lines where that is enough for all nodes."""
    nodes = picture.in_order()
    if not nodes:
        return Text("Holdfast starts", "bold cyan")
    beside = max(1, min(len(nodes), width // NARROWEST))
    rows = -(-len(nodes) // beside)
    head = [*_head(picture, len(nodes), now, width), _keys(picture, now, len(nodes))]
    tail = _tail(kills, now, width)
    free = (height - 1 - len(head) - len(tail)) // rows - 6
    most = max(len(picture.rooms_of(node.name)) for node in nodes)
    shown = max(1, min(free, max(most, -(-2 * len(picture.rooms) // (len(nodes) + 1)))))
    grid = Table.grid(expand=True)
    for _ in range(beside):
        grid.add_column(ratio=1)
    panels = [_panel(picture, node, now, width // beside, shown) for node in nodes]
    for start in range(0, len(panels), beside):
        grid.add_row(*panels[start : start + beside])
    return Group(*head, grid, *tail)


# -- above -------------------------------------------------------------------------------------------------------------


def _head(picture: Picture, nodes: int, now: float, width: int) -> list[RenderableType]:
    where = f"  {nodes} nodes behind {picture.address}" if nodes > 1 else f"  {picture.address}"
    title = Text.assemble(
        ("Holdfast", "bold cyan"), where if picture.address else f" starts: {_age(picture, now):.1f} s"
    )
    if picture.playing < picture.bots:
        title.append(f"   {picture.playing} of {picture.bots} bots play", "yellow")
    else:
        title.append(f"   {picture.bots} bots in {len(picture.rooms)} rooms at {picture.tick_hz} Hz")
    if picture.top and width >= WIDE_LINE:
        title.append(f"   best: {picture.top[0].name} {picture.top[0].score}", "dim")
    flows = Text("frames seen ", "dim")
    flows.append_text(_strip(picture, max(10, min(CELLS_MAX, width - 64))))
    flows.append(f"  {rates(picture)}")
    lines: list[RenderableType] = [_cut(title), _cut(flows)]
    if picture.page:
        page = Text.assemble("play and watch: ", (picture.page, f"bold cyan link {picture.page}"))
        page.no_wrap, page.overflow = True, "fold"
        lines.insert(1, page)
    return lines


def _age(picture: Picture, now: float) -> float:
    return now - min(node.since for node in picture.nodes.values())


def rates(picture: Picture) -> str:
    """What flows, per second."""
    frames, inputs, size = picture.flow.rates() or (0.0, 0.0, 0.0)
    return f"{frames:,.0f} frames/s  {inputs:,.0f} inputs/s  {size / 1000:,.0f} KB/s"


def _strip(picture: Picture, cells: int) -> Text:
    """Frames that were seen, a quarter of a second a cell."""
    rates_s = picture.flow.strip()[-cells:]
    full = picture.playing * picture.tick_hz or max([*rates_s, 1.0])
    text = Text(" " * (cells - len(rates_s)))
    for rate in rates_s:
        share = rate / full
        style = "green" if share > 0.8 else "yellow" if share > 0.4 else "red"
        text.append(_BLOCKS[min(len(_BLOCKS) - 1, int(share * len(_BLOCKS)))], style)
    return text


def _keys(picture: Picture, now: float, nodes: int) -> RenderableType:
    text = Text()
    if nodes > 1:
        text.append(" k ", "bold reverse").append(" kills a node   ")
        text.append(f" 1-{min(nodes, 9)} ", "bold reverse").append(" that one   ")
    text.append(" q ", "bold reverse").append(" ends")
    if picture.kill_at is not None:
        text.append(f"   one is killed by itself in {max(0.0, picture.kill_at - now):.0f} s", "yellow")
    if picture.note:
        text.append(f"   {picture.note}", "yellow")
    return _cut(text)


# -- the nodes ---------------------------------------------------------------------------------------------------------


def _panel(picture: Picture, node: Node, now: float, width: int, lines: int) -> RenderableType:
    rooms, colour = picture.rooms_of(node.name), _COLOURS[node.state]
    players = sum(room.players for room in rooms)
    epochs = sorted({room.epoch for room in rooms})
    span = (
        ""
        if not epochs or width < WIDE
        else f"epoch {epochs[0]}"
        if len(epochs) == 1
        else f"epochs {epochs[0]}-{epochs[-1]}"
    )
    facts = [
        *_facts(picture, node, now, width),
        _cut(Text.assemble((f"{_some(len(rooms), 'room')}  {_some(players, 'player')}", "bold"), f"  {span}")),
        _rooms(rooms, now, width, lines),
    ]
    title = Text.assemble((f" {node.name} ", "bold"), (f"{node.state} ", f"bold {colour}"))
    if node.state == "alive" and node.life > 1 and now - node.since < HIGHLIGHT_S:
        title.append("again ", "bold green")
    height = lines + 6
    return Panel(Group(*facts), title=title, title_align="left", border_style=colour, height=height, padding=(0, 1))


def _facts(picture: Picture, node: Node, now: float, width: int) -> list[Text]:
    """Two lines on a node."""
    since_s = now - node.since
    if node.state in ("killed", "dead"):
        how = "SIGKILL" if node.state == "killed" else "ended"
        again = "" if node.restart_at is None else f"starts again in {max(0.0, node.restart_at - now):.1f} s"
        return [_cut(Text(f"{how} {since_s:.1f} s ago", "bold red")), _cut(Text(again, "red"))]
    life = Text(f"life {node.life} " if node.life > 1 or width >= WIDE else "")
    if node.pid:
        life.append(f"pid {node.pid} ", "dim")
    if node.state == "starting":
        return [_cut(life), _cut(Text(f"starting for {since_s:.1f} s", "yellow"))]
    if node.gauge.rss_mb:
        life.append(f"{node.gauge.rss_mb:.0f} MB", "dim")
    budget_ms = 1000 / max(1, picture.tick_hz)
    cells = max(3, min(16, width - 36))
    used = min(cells, max(1, round(node.gauge.tick_ms / budget_ms * cells)))
    tick = Text.assemble("tick ", ("█" * used, "green"), ("·" * (cells - used), "dim"))
    tick.append(f" {node.gauge.tick_ms:.1f} of {budget_ms:.0f} ms")
    if width >= WIDE + 12:
        tick.append(f"  late p99 {node.gauge.late_ms:.1f}", "dim")
    return [_cut(life), _cut(tick)]


def _rooms(rooms: Sequence[Room], now: float, width: int, lines: int) -> RenderableType:
    """A line for each room; those that have moved first where not all have one."""
    if len(rooms) > lines:
        rooms = sorted(rooms, key=lambda room: (not room.moved(now), room.id))
    table = Table.grid(padding=(0, 1, 0, 0))
    for name in ("room", "epoch", "", "tick", ""):
        table.add_column(name, no_wrap=True, justify="right" if name == "tick" else "left")
    wide = width >= WIDE
    for room in rooms[: lines if len(rooms) <= lines else lines - 1]:
        moved = room.moved(now)
        style = "bold black on yellow" if not room.runs else "bold black on green" if moved else ""
        waits = f"{'waits ' if wide else ''}{now - room.heard_at:.1f} s"
        last = Text("")
        if moved:
            last = Text(f"◄ {room.came_from}" if wide else "◄", "bold green")
        elif room.score is not None and wide:
            last = Text(f"{room.leader} {room.score}", "dim")
        first = Text(room.id[:6], style), Text(f"{'epoch ' if wide else 'e'}{room.epoch}", style)
        table.add_row(*first, f"{room.players}p", Text(f"{room.tick:,}" if room.runs else waits, style), last)
    if len(rooms) > lines:
        table.add_row(Text(f"and {len(rooms) - lines + 1} more", "dim"))
    return table


# -- below -------------------------------------------------------------------------------------------------------------


def _tail(kills: Kills, now: float, width: int) -> list[RenderableType]:
    lines: list[RenderableType] = [_told(kill, now, width) for kill in kills.all[-KILLS_SHOWN:]]
    if len(kills.all) > 1:
        lines.append(_cut(Text(kills.summary(), "dim")))
    return lines


def _told(kill: Kill, now: float, width: int) -> Text:
    wide, colour = width >= WIDE_LINE, "green" if kill.settled else "yellow"
    ago = f"{now - kill.fault.at:4.0f} s ago  " if wide else ""
    return _cut(Text.assemble((ago, "dim"), ("● ", colour), (kill.told(homes=wide), f"bold {colour}")))


def _cut(text: Text) -> Text:
    """In one line, whatever the width."""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _some(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# -- without a terminal ------------------------------------------------------------------------------------------------


def status(picture: Picture) -> str:
    """One line."""
    nodes = picture.in_order()
    alive = [node for node in nodes if node.state == "alive"]
    tick_ms = max((node.gauge.tick_ms for node in alive), default=0.0)
    late_ms = max((node.gauge.late_ms for node in alive), default=0.0)
    where = f" on {picture.address}"
    if len(nodes) > 1:
        where = f" on {len(nodes)} nodes ({', '.join(_node(picture, node) for node in nodes)}) at {picture.address}"
    best = f"  best {picture.top[0].name} {picture.top[0].score}" if picture.top else ""
    return (
        f"{_some(picture.playing, 'bot')} in {_some(len(picture.rooms), 'room')}{where}  "
        f"tick {tick_ms:.1f} of {1000 / max(1, picture.tick_hz):.0f} ms, late p99 {late_ms:.1f} ms  "
        f"{rates(picture)}{best}"
    )


def _node(picture: Picture, node: Node) -> str:
    if node.state != "alive":
        return f"{node.name} {node.state}"
    rooms = picture.rooms_of(node.name)
    return f"{node.name} {_some(len(rooms), 'room')} {_some(sum(room.players for room in rooms), 'player')}"


def moved_line(room: Room) -> str:
    """One line: where a room has gone."""
    return f"room {room.id[:6]} goes on: {room.came_from} -> {room.node}, epoch {room.epoch}"

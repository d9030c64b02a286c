"""One connection of a session: its control channel and its datagrams, from the first word to the end.

    reach ─► enter: Hello, Login / Resume ─► Welcome ─► run ┬ control channel ─► messages, frames ─► player
                                                            ├ datagrams       ─► frames           ─► player
                                                            ├ input clock     ─► inputs by datagram, or over control
                                                            └ keep-alive      ─► probes, pings; silence ends it
             refused ─► ConnectionEnded            lost, refused ─► ConnectionEnded

All of it ends together, and a session goes on over another `Connection`. The decisions are those of the pure parts
(`control`, `realtime`, `play`, `requests`); this file moves bytes.
"""

from __future__ import annotations

from typing import Protocol

import trio

from netcode import messages
from netcode.control import PROTOCOL, ControlChannel, message_bytes, realtime_bytes
from netcode.errors import ErrorCode, LinkClosed, ProtocolError
from netcode.messages import Message
from netcode.play import Play
from netcode.realtime import KEEPALIVE_EVERY_S, PROBE_EVERY_S, ClientEnd
from netcode.requests import Requests
from netcode.resume import ConnectionEnded, Redirected
from netcode.seal import DatagramType, Suite
from netcode.udp import DatagramSocket
from netcode.weblink import Link

ENTER_S = 10.0
"""How long the first answer may take."""
PING_EVERY_S = 2.0
SILENT_S = 6.0
"""A control channel on which nothing came for so long, though there were pings to answer, is given up as lost."""
_INPUT = bytes([DatagramType.INPUT])


class Player(Protocol):
    """Whom a connection serves."""

    sending: bool
    """Whether new inputs are made."""

    def take(self, message: Message) -> None:
        """A message came. Raises ProtocolError when it is the server's fault."""

    def take_frame(self, data: bytes, size: int) -> None:
        """The plaintext of a frame came, in a packet of `size` bytes."""

    async def playing(self) -> Play:
        """Wait until there is a seat that inputs are made for."""


class Connection:
    """One control connection and the datagrams that belong to it."""

    def __init__(self, link: Link, transport: str) -> None:
        self.requests = Requests()
        self.end: ClientEnd
        """The client's end of the realtime channel, once entered."""
        self.udp: DatagramSocket | None = None
        self._link = link
        self._transport = transport
        self._channel = ControlChannel(server=False)
        self._heard_at = trio.current_time()
        self._unread: list[Message | bytes] = []

    @property
    def peer(self) -> tuple[str, int]:
        """The server's address and port."""
        return self._link.peer

    async def enter(self, request: messages.Login | messages.Resume) -> messages.Welcome:
        """Say who we are. Raises ConnectionEnded when the server refuses, or does not answer, and Redirected."""
        hello = messages.Hello(protocol=PROTOCOL, agent="holdfast python")
        self._link.write(message_bytes(hello) + message_bytes(request))
        with trio.move_on_after(ENTER_S):
            while True:
                try:
                    items = await self._receive()
                except ConnectionEnded as ended:
                    if ended.again:  # lost: that tells nothing of the session
                        raise ConnectionEnded.lost(f"{ended} before it had answered", ErrorCode.TIMED_OUT) from None
                    raise
                for number, item in enumerate(items, 1):
                    if isinstance(item, messages.Error):
                        raise ConnectionEnded.refused(item)
                    if isinstance(item, messages.Redirect):
                        raise Redirected(item)
                    if isinstance(item, messages.Welcome):
                        self._unread = items[number:]
                        self._open_realtime(item)
                        return item
        raise ConnectionEnded.lost(f"no answer to {request.kind} within {ENTER_S:g} s", ErrorCode.TIMED_OUT)

    async def run(self, player: Player) -> ConnectionEnded:
        """Serve the player until the connection is over; returns why."""
        ended: ConnectionEnded | None = None
        try:
            async with trio.open_nursery() as nursery:
                if self.udp is not None:
                    nursery.start_soon(self._read_datagrams, self.udp, player)
                nursery.start_soon(self._keep_alive)
                nursery.start_soon(self._input_clock, player)
                ended = await self._read_control(player)
                nursery.cancel_scope.cancel()
        finally:
            if self.udp is not None:
                self.udp.close()
            self._link.close()
        assert ended is not None
        return ended

    def say(self, message: Message) -> None:
        """Send a message."""
        self._link.write(message_bytes(message))

    def close(self) -> None:
        """End it at once."""
        self._link.close()

    async def aclose(self) -> None:
        """End it with a goodbye."""
        if self.udp is not None:
            self.udp.close()
        await self._link.aclose()

    # -- control channel ----------------------------------------------------------------------------------------------

    async def _receive(self) -> list[Message | bytes]:
        try:
            data = await self._link.receive()
        except LinkClosed as error:
            silent = trio.current_time() - self._heard_at > SILENT_S
            raise ConnectionEnded.lost(f"nothing was heard for {SILENT_S:g} s" if silent else str(error)) from None
        if not data:
            raise ConnectionEnded.lost("the server has closed the connection")
        self._heard_at = trio.current_time()
        try:
            return self._channel.receive_data(data)
        except ProtocolError as error:
            raise ConnectionEnded(error.code, str(error), again=False) from None

    async def _read_control(self, player: Player) -> ConnectionEnded:
        items, self._unread = self._unread, []
        while True:
            for item in items:
                if isinstance(item, bytes):
                    player.take_frame(item[1:], len(item))
                    continue
                if isinstance(item, messages.Error) and item.fatal:
                    return ConnectionEnded.refused(item)
                try:
                    player.take(item)
                    self.requests.answer(item)
                except ProtocolError as error:
                    return ConnectionEnded(error.code, str(error), again=False)
            try:
                items = await self._receive()
            except ConnectionEnded as ended:
                return ended

    # -- realtime channel ---------------------------------------------------------------------------------------------

    def _open_realtime(self, welcome: messages.Welcome) -> None:
        try:
            suite = Suite(welcome.suite)
        except ValueError:
            raise ConnectionEnded(
                ErrorCode.WRONG_VERSION, f"the server seals by {welcome.suite!r}, which is not known here", again=False
            ) from None
        self.end = ClientEnd(welcome.connection, welcome.key_up, welcome.key_down, suite)
        if self._transport == "udp" and welcome.udp_port:
            self.udp = DatagramSocket(self._link.peer[0], welcome.udp_port)

    async def _read_datagrams(self, udp: DatagramSocket, player: Player) -> None:
        while True:
            try:
                packet = await udp.receive()
            except trio.ClosedResourceError:
                return
            frame, reply = self.end.receive(packet, trio.current_time())
            if reply is not None:
                udp.send(reply)
            if frame is not None:
                player.take_frame(frame, len(packet))

    async def _keep_alive(self) -> None:
        pinged_at = float("-inf")
        while True:
            now = trio.current_time()
            packet = self.end.due(now) if self.udp is not None else None
            if packet is not None and self.udp is not None:
                self.udp.send(packet)
            if now - self._heard_at > SILENT_S:
                self._link.close()
            elif now - pinged_at >= PING_EVERY_S:
                pinged_at = now
                self.say(messages.Ping(time_us=int(now * 1e6)))
            await trio.sleep(PROBE_EVERY_S if self.udp is not None and not self.end.proven else KEEPALIVE_EVERY_S)

    async def _input_clock(self, player: Player) -> None:
        """Inputs when they are due; while none can be made, what is unacknowledged, once a tick."""
        while True:
            play = await player.playing()
            now, period_s = trio.current_time(), 1.0 / play.info.tick_hz
            making = player.sending and not play.window.full
            early_s = play.due_at - now if making else 0.0
            if early_s > 0.0:  # a frame may move it meanwhile
                await trio.sleep(min(early_s, period_s / 2.0))
                continue
            self._send_inputs(play, making, now)
            await trio.sleep(period_s / 2.0 if making else period_s)

    def _send_inputs(self, play: Play, making: bool, now: float) -> None:
        end, udp = self.end, self.udp
        datagram = udp is not None and end.usable(now)
        if udp is not None and not datagram and not end.blocked(now):
            return  # the path is on trial: let it have its second
        ack = end.acks.ack if datagram else (0, 0)
        packet = play.next_packet(ack, now) if making else play.repeat_packet(ack, now)
        if udp is not None and datagram:
            udp.send(end.seal_input(packet, now))
        else:
            self._link.write(realtime_bytes(_INPUT + packet))

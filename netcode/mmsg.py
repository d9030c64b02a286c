"""Batched datagram I/O: one system call for many packets where there is one, the same interface elsewhere.

`recvmmsg` and `sendmmsg` take an array of message headers. The headers are NumPy records made once and
reused, so a call fills in whole columns instead of building objects::

     take:     header[i] -> slot i of a fixed buffer            columns of it (`Received`), until the next call;
               +--------+--------+--------+--                   `receive` copies them out as `bytes`, to be kept
               | slot 0 | slot 1 | slot 2 |  ... `count` slots of `size` bytes
               +--------+--------+--------+--
     send:     header[i] -> its part of b"".join(packets), or   no slots, no copy a packet
               of a buffer that the caller has filled (`put`)
               +----+------+---+-----+--
               | p0 |  p1  |p2 |  p3 | ...
               +----+------+---+-----+--

A packet's address is a *token*: the raw bytes of its sockaddr (16 for IPv4, 28 for IPv6), equal for equal
addresses, hashable, and what `send` takes. `address_of` and `address_token` convert it to and from Python's
form.

UDP promises nothing, and so do we: a full socket buffer ends a send (the caller counts what is missing), and
an ICMP error that the kernel reports on a destination costs that one packet and never the others.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import itertools
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from netcode.packed import Packed, packed
from netcode.received import Received

Sockaddr = tuple[str, int] | tuple[str, int, int, int]
"""An address as Python's sockets have it: (host, port), for IPv6 with flow info and scope id behind."""

_V4 = struct.Struct("=H2s4s8x")
_V6 = struct.Struct("=H2s4s16sI")
_MSG_TRUNC = 0x20
_ASYNC_ERRORS = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNREFUSED",
        "ECONNRESET",
        "EHOSTUNREACH",
        "EHOSTDOWN",
        "ENETUNREACH",
        "ENETDOWN",
        "ENOPROTOOPT",
        "EPROTO",
    )
    if hasattr(errno, name)
)
"""What an earlier packet may have met on its way; reported once, on any later call, and then forgotten."""
_PACKET_ERRORS = _ASYNC_ERRORS | {
    errno.EMSGSIZE,
    errno.EINVAL,
    errno.EACCES,
    errno.EPERM,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
}
"""What may be wrong with one packet's destination or size; the next packet may well go out."""
_FULL_ERRORS = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM))
_RETRIES_MAX = 16
_SOL_UDP, _UDP_SEGMENT, _SEGMENTS_MAX, _SEGMENTED_MAX = 17, 103, 64, 65_000
"""Of Linux, which the socket module does not name; 64 datagrams and 64 KiB a message are its limits."""


class Batch(Protocol):
    """Receives and sends many datagrams at once on non-blocking sockets."""

    truncated: int
    """Datagrams dropped because they were longer than a slot."""

    def take(self, sock: socket.socket) -> Received:
        """What has arrived, at most `count` datagrams, as columns.

        Datagrams longer than `size` bytes are dropped and counted. Raises `OSError` only when the socket
        itself is unusable.
        """

    def receive(self, sock: socket.socket) -> list[tuple[bytes, bytes]]:
        """The same as (packet, address token), which may be kept."""

    def send(self, sock: socket.socket, packets: Sequence[bytes], addresses: Sequence[bytes] | None = None) -> int:
        """Send `packets[i]` to the token `addresses[i]`, or all to the peer of a connected socket; how many
        went out.

        Never blocks: when the socket's buffer is full the rest is dropped. A packet that cannot be sent to
        its destination is skipped alone. Raises `OSError` only when the socket itself is unusable.
        """

    def put(self, sock: socket.socket, packets: Packed, words: np.ndarray) -> int:
        """Send at most `count` packets to addresses as in `Received.words` (behind which there may be more columns);
        the same else."""

    def burst(self, sock: socket.socket, packets: Packed, words: np.ndarray) -> int:
        """The same as `put` for packets that stand one behind the other. Where all go to one address, neighbours of one
        size cost a fifth on Linux: the kernel gets them as one message, which it cuts."""


def make_batch(count: int = 1024, size: int = 1280) -> Batch:
    """The fastest batch that this platform has, for `count` datagrams a call of at most `size` bytes each.

    A system call for many has a fixed price: below about 8 datagrams a call `PortableBatch` is faster.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "recvmmsg") and hasattr(libc, "sendmmsg"):
            return DatagramBatch(count, size)
    return PortableBatch(count, size)


@functools.lru_cache(maxsize=4096)
def address_token(address: Sockaddr) -> bytes:
    """The token of an address whose host is a numeric IPv4 or IPv6 address; raises `OSError` for any other
    host."""
    host, port = address[0], address[1].to_bytes(2, "big")
    if ":" not in host:
        return _V4.pack(socket.AF_INET, port, socket.inet_pton(socket.AF_INET, host))
    flow, scope = address[2:] if len(address) == 4 else (0, 0)
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return _V6.pack(socket.AF_INET6, port, flow.to_bytes(4, "big"), packed, scope)


@functools.lru_cache(maxsize=4096)
def address_of(token: bytes) -> Sockaddr:
    """The address of a token, in the form that Python's sockets take."""
    if len(token) == _V4.size:
        _, port, packed = _V4.unpack(token)
        return socket.inet_ntop(socket.AF_INET, packed), int.from_bytes(port, "big")
    _, port, flow, packed, scope = _V6.unpack(token)
    host = socket.inet_ntop(socket.AF_INET6, packed)
    return host, int.from_bytes(port, "big"), int.from_bytes(flow, "big"), scope


# struct iovec, struct msghdr and struct mmsghdr as the C library lays them out.
_IOVEC = np.dtype([("base", np.uintp), ("size", np.uintp)], align=True)
_MSGHDR = np.dtype(
    [
        ("name", np.uintp),
        ("name_size", np.uint32),
        ("iov", np.uintp),
        ("iov_count", np.uintp),
        ("control", np.uintp),
        ("control_size", np.uintp),
        ("flags", np.int32),
    ],
    align=True,
)
_MMSGHDR = np.dtype([("header", _MSGHDR), ("size", np.uint32)], align=True)
# One slot holds a sockaddr_in or a sockaddr_in6; void fields become whole `bytes` in one pass.
_ADDRESS = np.dtype({"names": ["v4", "v6"], "formats": ["V16", "V28"], "offsets": [0, 0], "itemsize": 32})


class DatagramBatch:
    """`recvmmsg` and `sendmmsg` through ctypes (Linux)."""

    def __init__(self, count: int = 1024, size: int = 1280) -> None:
        """Room for `count` datagrams a call; received ones have at most `size` bytes, sent ones any size."""
        self.truncated = 0
        self._count = count
        libc = ctypes.CDLL(None, use_errno=True)
        self._recvmmsg = libc.recvmmsg
        self._recvmmsg.argtypes = [
            ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p
        ]  # fmt: skip
        self._sendmmsg = libc.sendmmsg
        self._sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]

        self._in = _Headers(count)
        self._in.name[:] = self._in.name_at
        self._in.name_size[:] = _ADDRESS.itemsize
        self._buffer = np.zeros((count, size), np.uint8)
        self._in.base[:] = self._buffer.ctypes.data + np.arange(count, dtype=np.uintp) * size
        self._in.size[:] = size
        self._out = _Headers(count)

    def take(self, sock: socket.socket) -> Received:
        """See `Batch.take`."""
        headers, count = self._in, 0
        for _ in range(_RETRIES_MAX):
            count = self._recvmmsg(sock.fileno(), headers.at, self._count, socket.MSG_DONTWAIT, None)
            if count >= 0:
                break
            error, count = ctypes.get_errno(), 0
            if error in _FULL_ERRORS:
                break
            if error not in _ASYNC_ERRORS and error != errno.EINTR:
                raise OSError(error, "recvmmsg failed")
        headers.name_size[:count] = _ADDRESS.itemsize
        sizes = headers.received[:count].astype(np.intp)
        names = np.ascontiguousarray(headers.names(sock.family)[:count])
        data, words = self._buffer[:count], names.view(np.uint32).reshape(count, names.dtype.itemsize // 4)
        if count and (cut := headers.flags[:count] & _MSG_TRUNC).any():
            self.truncated += int(np.count_nonzero(cut))
            data, sizes, words = data[cut == 0], sizes[cut == 0], words[cut == 0]
        return Received(data, sizes, words)

    def receive(self, sock: socket.socket) -> list[tuple[bytes, bytes]]:
        """See `Batch.receive`."""
        return self.take(sock).pairs()

    def send(self, sock: socket.socket, packets: Sequence[bytes], addresses: Sequence[bytes] | None = None) -> int:
        """See `Batch.send`."""
        _check_lengths(packets, addresses)
        sent = 0
        for start in range(0, len(packets), self._count):
            part = packets[start : start + self._count]
            names = None
            if addresses is not None:
                told = b"".join(addresses[start : start + len(part)])
                # Raises ValueError when the tokens are not all of this socket's family.
                names = np.frombuffer(told, self._out.names(sock.family).dtype)
            went, full = self._send_part(sock, packed(part), names)
            sent += went
            if full:
                break
        return sent

    def put(self, sock: socket.socket, packets: Packed, words: np.ndarray) -> int:
        """See `Batch.put`."""
        names = self._out.names(sock.family)
        width = names.dtype.itemsize // 4
        return self._send_part(sock, packets, np.ascontiguousarray(words[:, :width]).view(names.dtype)[:, 0])[0]

    def burst(self, sock: socket.socket, packets: Packed, words: np.ndarray) -> int:
        """See `Batch.burst`."""
        sizes = packets.sizes
        if len(packets) > self._count:
            raise ValueError(f"{len(packets)} packets in a burst of at most {self._count}")
        if len(packets) < 2 or (words != words[0]).any() or not sizes.all() or sizes.max() > _SEGMENTED_MAX:
            return self.put(sock, packets, words)
        to, data = (
            address_of(words[0].tobytes()[: self._out.names(sock.family).dtype.itemsize]),
            memoryview(packets.data.tobytes()),
        )
        edges = [0, *(np.flatnonzero(sizes[1:] != sizes[:-1]) + 1).tolist(), len(sizes)]
        for first, end in itertools.pairwise(edges):
            size, begin = int(sizes[first]), int(packets.begins[first])
            step = min(_SEGMENTS_MAX, _SEGMENTED_MAX // size)
            for at in range(first, end, step):
                part = data[begin + (at - first) * size : begin + (min(at + step, end) - first) * size]
                try:
                    sock.sendmsg([part], [(_SOL_UDP, _UDP_SEGMENT, size.to_bytes(2, sys.byteorder))], 0, to)
                except OSError:  # `put` knows what costs one packet, and what the rest
                    return at + self.put(sock, packets[at:], words[at:])
        return len(packets)

    def _send_part(self, sock: socket.socket, packets: Packed, names: np.ndarray | None) -> tuple[int, bool]:
        """Send at most `count` packets: how many went out, and whether the socket's buffer is full."""
        headers, count = self._out, len(packets)
        if names is None:
            headers.name[:count] = 0
            headers.name_size[:count] = 0
        else:
            headers.names(sock.family)[:count] = names
            headers.name[:count] = headers.name_at[:count]
            headers.name_size[:count] = names.dtype.itemsize
        headers.size[:count] = packets.sizes
        headers.base[:count] = packets.begins + packets.data.ctypes.data
        fd, done, skipped = sock.fileno(), 0, 0
        while done < count:
            went = self._sendmmsg(fd, headers.at + done * _MMSGHDR.itemsize, count - done, socket.MSG_DONTWAIT)
            if went > 0:
                done += went
                continue
            error = ctypes.get_errno()
            if error in _FULL_ERRORS:
                return done - skipped, True
            if error in _PACKET_ERRORS:
                done += 1
                skipped += 1
            elif error != errno.EINTR:
                raise OSError(error, "sendmmsg failed")
        return done - skipped, False


class _Headers:
    """An array of message headers as columns, each message with one iovec and one address slot."""

    def __init__(self, count: int) -> None:
        numbers = np.arange(count, dtype=np.uintp)
        messages, iov = np.zeros(count, _MMSGHDR), np.zeros(count, _IOVEC)
        addresses = np.zeros(count, _ADDRESS)
        header = messages["header"]
        header["iov"] = iov.ctypes.data + numbers * _IOVEC.itemsize
        header["iov_count"] = 1
        # Views of the three arrays, which they keep alive.
        self.at = messages.ctypes.data
        self.name, self.name_size, self.flags = header["name"], header["name_size"], header["flags"]
        self.received = messages["size"]
        self.base, self.size = iov["base"], iov["size"]
        self.name_at = addresses.ctypes.data + numbers * _ADDRESS.itemsize
        self._names = {socket.AF_INET: addresses["v4"], socket.AF_INET6: addresses["v6"]}

    def names(self, family: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        """The address slots as whole sockaddrs of this family."""
        return self._names[family]  # type: ignore[index]


class PortableBatch:
    """The same with one `recvfrom` or `sendto` a datagram, for every platform that Python runs on."""

    def __init__(self, count: int = 1024, size: int = 1280) -> None:
        """Room for `count` datagrams a call; received ones have at most `size` bytes, sent ones any size."""
        self.truncated = 0
        self._count = count
        self._size = size

    def take(self, sock: socket.socket) -> Received:
        """See `Batch.take`."""
        received = self.receive(sock)
        data = np.zeros((len(received), self._size), np.uint8)
        for row, (packet, _) in zip(data, received, strict=True):
            row[: len(packet)] = np.frombuffer(packet, np.uint8)
        words = np.frombuffer(b"".join(address for _, address in received), np.uint32)
        sizes = np.array([len(packet) for packet, _ in received], np.intp)
        return Received(data, sizes, words.reshape(len(received), len(words) // max(1, len(received))))

    def receive(self, sock: socket.socket) -> list[tuple[bytes, bytes]]:
        """See `Batch.receive`."""
        received: list[tuple[bytes, bytes]] = []
        retries = 0
        for _ in range(self._count):
            try:
                packet, address = sock.recvfrom(self._size + 1)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if error.errno == errno.EMSGSIZE:  # how Windows says that a datagram was cut
                    self.truncated += 1
                    continue
                retries += 1
                if error.errno not in _ASYNC_ERRORS or retries > _RETRIES_MAX:
                    raise
                continue
            if len(packet) > self._size:
                self.truncated += 1
            else:
                received.append((packet, address_token(address)))
        return received

    def send(self, sock: socket.socket, packets: Sequence[bytes], addresses: Sequence[bytes] | None = None) -> int:
        """See `Batch.send`."""
        _check_lengths(packets, addresses)
        sent = 0
        for index, packet in enumerate(packets):
            try:
                if addresses is None:
                    sock.send(packet)
                else:
                    sock.sendto(packet, address_of(addresses[index]))
                sent += 1
            except OSError as error:
                if error.errno in _FULL_ERRORS:
                    break
                if error.errno not in _PACKET_ERRORS:
                    raise
        return sent

    def put(self, sock: socket.socket, packets: Packed, words: np.ndarray) -> int:
        """See `Batch.put`."""
        width = 7 if sock.family == socket.AF_INET6 else 4
        return self.send(sock, packets.strings(), [address.tobytes() for address in words[:, :width]])

    burst = put


def _check_lengths(packets: Sequence[bytes], addresses: Sequence[bytes] | None) -> None:
    if addresses is not None and len(addresses) != len(packets):
        raise ValueError(f"{len(packets)} packets for {len(addresses)} addresses")

"""Frames between the simulated broker and its clients: a length of four bytes, then MessagePack. Only between processes of one machine."""

import socket
import struct
from contextlib import suppress
from typing import Any

import msgspec

from execpos.errors import UsageError

_LENGTH = struct.Struct(">I")
# The truth of a million fills is a few hundred megabytes; more than a gigabyte is no frame of ours.
FRAME_MAX = 1 << 30
_UNIX = "unix:"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def send(connection: socket.socket, thing: Any) -> None:
    """Send a frame. Blocks. Raises OSError."""
    body = _encode(thing)
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(connection: socket.socket, most: int = FRAME_MAX) -> Any:
    """Return the next frame, or None when the other side has left; a frame that is cut off, or no frame, raises OSError. Blocks."""
    head = _exactly(connection, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > most:
        raise OSError(f"a frame of {length} bytes")
    body = _exactly(connection, length)
    if body is None:
        raise OSError("cut off within a frame")
    try:
        return _decode(body)
    except msgspec.DecodeError as error:
        raise OSError(f"no frame: {error}") from error


def _exactly(connection: socket.socket, length: int) -> bytearray | None:
    found = bytearray(length)
    view, at = memoryview(found), 0
    while at < length:
        count = connection.recv_into(view[at:])
        if not count:
            if at:
                raise OSError("cut off within a frame")
            return None
        at += count
    return found


def hang_up(connection: socket.socket) -> None:
    """Close both directions, so that whoever waits on the socket wakes up."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _place(address: str) -> tuple[socket.AddressFamily, Any]:
    if address.startswith(_UNIX):
        return socket.AF_UNIX, address.removeprefix(_UNIX)
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if host not in _LOOPBACK or not port.isdigit():
        raise UsageError(
            f"the address {address!r} is not of this machine",
            hint="give 127.0.0.1:PORT (port 0 for a free one) or unix:/a/path; whoever reaches the simulated broker may ask it anything",
        )
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), (host, int(port))


def connect(address: str, timeout_s: float) -> socket.socket:
    """Return a connection to a server. Blocks. Raises OSError, or UsageError for an address that is none."""
    family, place = _place(address)
    connection = socket.socket(family)
    try:
        connection.settimeout(timeout_s)
        connection.connect(place)
    except OSError:
        connection.close()
        raise
    connection.settimeout(None)
    _at_once(connection)
    return connection


def listen(address: str) -> tuple[socket.socket, str]:
    """Return a listening socket, and the address that clients give. Raises OSError, or UsageError for an address of another machine."""
    family, place = _place(address)
    listener = socket.socket(family)
    try:
        if family != socket.AF_UNIX:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen()
    except OSError:
        listener.close()
        raise
    if family == socket.AF_UNIX:
        return listener, address
    host, port = listener.getsockname()[:2]
    return listener, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def accepted(connection: socket.socket) -> socket.socket:
    """Make an accepted connection ready."""
    connection.settimeout(None)
    _at_once(connection)
    return connection


def _at_once(connection: socket.socket) -> None:
    if connection.family != socket.AF_UNIX:
        # A small answer must not wait for a larger one.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

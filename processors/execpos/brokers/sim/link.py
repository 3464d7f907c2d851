"""Ways from `SimApi` to the simulated broker: in the same process, or over a loopback socket to `execpos sim serve`."""

import itertools
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from execpos.brokers.sim import wire
from execpos.brokers.sim.api import Link, Push
from execpos.brokers.sim.client import Client
from execpos.brokers.sim.errors import ERRORS, ShioajiConnectionError, ShioajiError, ShioajiTimeoutError
from execpos.brokers.sim.mailbox import Mailbox
from execpos.brokers.sim.venue import Venue

# Pushes that may wait for callbacks in the venue's process, and on a client's side of a socket; and how many are handed over at once.
PUSHES_MAX, _RECEIVED_MAX, _AT_ONCE = 200_000, 50_000, 512
# No answer takes longer than its timeout, a minute at most in practice; what does is a lost server.
_ANSWER_S = 120.0
_CONNECT_S = 10.0
_JOIN_S = 10.0


class _Deliverer:
    """One thread that hands pushes to the client, one at a time."""

    def __init__(self, mailbox: Mailbox, receive: Callable[[Push], None]) -> None:
        self._mailbox = mailbox
        self._receive = receive
        self.closing = False
        self._thread = threading.Thread(target=self._run, name="sim-callbacks", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while things := self._mailbox.take(_AT_ONCE):
            for thing in things:
                if self._mailbox.closed:
                    break
                self._receive(thing)
        if not self.closing:
            # The venue has let this client go.
            self._receive(("session_down", None, None))

    def join(self) -> None:
        """Wait for the last callback, unless this is it."""
        if threading.current_thread() is not self._thread:
            self._thread.join(_JOIN_S)


class LocalLink:
    """To a venue in this process; see `Link`.

    Args:
        venue: not owned.
    """

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._mailbox = Mailbox(PUSHES_MAX)
        self._client: Client | None = None
        self._deliverer: _Deliverer | None = None

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        if self._client is not None and self._mailbox.closed:
            raise ShioajiConnectionError("the link is closed")
        return self._venue.call(self._client, method, arguments)

    def open(self, receive: Callable[[Push], None]) -> None:
        self._client = self._venue.attach(self._mailbox)
        self._deliverer = _Deliverer(self._mailbox, receive)

    def settle(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was sent so far has been received; False if that takes longer."""
        return self._mailbox.settle(timeout_s)

    def close(self) -> None:
        if self._deliverer is not None:
            self._deliverer.closing = True
        if self._client is not None:
            self._venue.detach(self._client)
        self._mailbox.close()
        if self._deliverer is not None:
            self._deliverer.join()


class SocketLink:
    """To a server on this machine; see `Link`. Any thread may call, of which one is answered at a time.

    When the server is gone, calls raise ShioajiConnectionError, and the client hears that the session is down.

    Args:
        address: as the server prints it: `127.0.0.1:4711` or `unix:/a/path`.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._socket: socket.socket | None = None
        self._mailbox = Mailbox(_RECEIVED_MAX)
        self._deliverer: _Deliverer | None = None
        self._numbers = itertools.count(1)
        self._answers: dict[int, tuple[threading.Event, list[Any]]] = {}
        self._closed = False

    def open(self, receive: Callable[[Push], None]) -> None:
        self._connect()
        self._deliverer = _Deliverer(self._mailbox, receive)

    def call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        connection = self._connect()
        number = next(self._numbers)
        answer: tuple[threading.Event, list[Any]] = (threading.Event(), [])
        self._answers[number] = answer
        try:
            with self._sending:
                wire.send(connection, [number, method, dict(arguments)])
            if not answer[0].wait(_ANSWER_S):
                raise ShioajiTimeoutError(f"{method}: no answer within {_ANSWER_S:g} s")
        except OSError as error:
            raise ShioajiConnectionError(f"the simulated broker at {self._address} is gone: {error}") from error
        finally:
            self._answers.pop(number, None)
        if not answer[1]:
            raise ShioajiConnectionError(f"the simulated broker at {self._address} is gone")
        good, value = answer[1][0]
        if good:
            return value
        name, text = value
        raise ERRORS.get(name, ShioajiError)(text)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._socket is not None:
                wire.hang_up(self._socket)
        if self._deliverer is not None:
            self._deliverer.closing = True
        self._mailbox.close()
        if self._deliverer is not None:
            self._deliverer.join()

    def _connect(self) -> socket.socket:
        with self._lock:
            if self._closed:
                raise ShioajiConnectionError("the link is closed")
            if self._socket is None:
                try:
                    self._socket = wire.connect(self._address, _CONNECT_S)
                except OSError as error:
                    raise ShioajiConnectionError(f"no simulated broker at {self._address}: {error}") from error
                threading.Thread(target=self._read, args=(self._socket,), name="sim-link", daemon=True).start()
            return self._socket

    def _read(self, connection: socket.socket) -> None:
        try:
            while (things := wire.receive(connection)) is not None:
                pushes = []
                for thing in things:
                    if thing[0] == "answer":
                        self._answered(*thing[1:])
                    else:
                        pushes.append(thing)
                if pushes and self._deliverer is not None and not self._mailbox.put_all(pushes):
                    break
        except OSError:
            # A server that died in the middle of a frame is gone like any other.
            pass
        self._lost(connection)

    def _answered(self, number: int, *answer: Any) -> None:
        waiting = self._answers.get(number)
        if waiting is not None:
            waiting[1].append(answer)
            waiting[0].set()

    def _lost(self, connection: socket.socket) -> None:
        with self._lock:
            connection.close()
            if self._socket is connection:
                self._socket = None
            closed = self._closed
        for waiting, _ in tuple(self._answers.values()):
            waiting.set()
        if not closed:
            self._mailbox.put_all([("event", [0, 1, "simulated broker", "Session down error"], None), ("session_down", None, None)])


def open_link(address: str) -> Link:
    """Return a link to the server at an address; it connects with the first call."""
    return SocketLink(address)

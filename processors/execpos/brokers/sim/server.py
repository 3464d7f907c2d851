"""The simulated broker as a server: it outlives its clients, whatever becomes of them."""

import socket
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from execpos.brokers.sim import wire
from execpos.brokers.sim.client import Client
from execpos.brokers.sim.errors import ServerError, ShioajiError
from execpos.brokers.sim.link import PUSHES_MAX
from execpos.brokers.sim.mailbox import Mailbox
from execpos.brokers.sim.venue import Venue
from execpos.errors import DependencyError

# How often the listener looks whether it is to stop, seconds.
_LOOK_S = 0.2
_JOIN_S = 10.0
# Pushes in one frame, and the largest question: no argument is longer than a list of codes.
_AT_ONCE, _QUESTION_MAX = 512, 1 << 20


class Server:
    """Serves a venue on a socket of this machine: two threads a client, one that answers and one that sends.

    Args:
        venue: started and stopped by its owner.
        address: `127.0.0.1:0` for a free port, or `unix:/a/path`.

    Raises:
        UsageError: the address is not one of this machine.
        DependencyError: it cannot be listened on.
    """

    def __init__(self, venue: Venue, address: str = "127.0.0.1:0") -> None:
        self._venue = venue
        try:
            self._listener, self.address = wire.listen(address)
        except OSError as error:
            raise DependencyError(
                f"cannot listen on {address}: {error.strerror}", hint="is another simulated broker running there?"
            ) from error
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="sim-listen", daemon=True)

    def start(self) -> None:
        """Take clients from now on. Once."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more clients and hang up on those there are. A second call does nothing."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        self._listener.close()
        if self.address.startswith("unix:"):
            Path(self.address.removeprefix("unix:")).unlink(missing_ok=True)
        with self._lock:
            for connection in self._open:
                wire.hang_up(connection)

    def _accept(self) -> None:
        self._listener.settimeout(_LOOK_S)
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                # A client that left before it was taken; the listener itself is closed by `stop` alone.
                continue
            with self._lock:
                self._open.add(connection)
            wire.accepted(connection)
            mailbox = Mailbox(PUSHES_MAX, partial(wire.hang_up, connection))
            client = self._venue.attach(mailbox)
            threading.Thread(target=self._serve, args=(connection, client), name=f"sim-answers-{client.number}", daemon=True).start()

    def _serve(self, connection: socket.socket, client: Client) -> None:
        """Answer one client until it leaves, and send it what comes meanwhile."""
        sender = threading.Thread(target=self._send, args=(connection, client), name=f"sim-pushes-{client.number}", daemon=True)
        sender.start()
        with suppress(OSError):
            while (question := wire.receive(connection, _QUESTION_MAX)) is not None:
                if not client.mailbox.put(self._answered(client, question)):
                    break
        # A client that was killed leaves like one that said goodbye. Its closed mailbox wakes the sender.
        self._venue.detach(client)
        sender.join()
        with self._lock:
            self._open.discard(connection)
            connection.close()

    def _answered(self, client: Client, question: Any) -> tuple[Any, ...]:
        try:
            number, method, arguments = question
        except (TypeError, ValueError):
            return ("answer", 0, False, ("ValidationError", "422: a question is a number, a method and its arguments"))
        try:
            return ("answer", number, True, self._venue.call(client, str(method), arguments))
        except ShioajiError as error:
            return ("answer", number, False, (type(error).__name__, str(error)))
        except Exception as error:  # noqa: BLE001 (whatever one client asks, the others go on)
            return ("answer", number, False, (ServerError.__name__, f"500: {type(error).__name__}: {error}"))

    def _send(self, connection: socket.socket, client: Client) -> None:
        with suppress(OSError):
            while things := client.mailbox.take(_AT_ONCE):
                wire.send(connection, things)
        # Wakes the answering thread.
        self._venue.detach(client)

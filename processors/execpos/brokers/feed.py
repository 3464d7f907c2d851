"""The part that brokers without a wire share: a thread that delivers, and its end."""

import threading
from abc import ABC, abstractmethod

from execpos.brokers.protocol import OrderCallback
from execpos.errors import ExecposError, Quit

# A callback returns within microseconds; a thread that outlives this is stuck, and the process ends without it.
_JOIN_TIMEOUT_S = 10.0


class Feed(ABC):
    """Runs `_deliver` on a thread of its own and keeps what ended it. See `Broker` for the contracts of the methods."""

    def __init__(self, name: str) -> None:
        self._callback: OrderCallback | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._error: ExecposError | None = None

    @abstractmethod
    def _deliver(self, callback: OrderCallback) -> None:
        """Call `callback` for each report; return when none is left or `self._stopping` is set."""

    def set_order_callback(self, callback: OrderCallback) -> None:
        self._callback = callback

    def start(self) -> None:
        self._thread.start()

    def finished(self) -> bool:
        if self._error is not None:
            raise self._error
        return self._thread.ident is not None and not self._thread.is_alive()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_TIMEOUT_S)

    def _run(self) -> None:
        try:
            if self._callback is not None:
                self._deliver(self._callback)
        except ExecposError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001 (the thread's last words: `finished` hands them on)
            self._error = Quit(f"{self._thread.name} stopped: {type(error).__name__}: {error}", hint="this is a defect; please report it")

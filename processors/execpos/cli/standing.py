"""What `execpos positions` shows: every row of exec.positions with last prices and the last closes, of every env."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from execpos.client.book import Book, Position
from execpos.client.closes import Closes
from execpos.client.cuts import Cutter
from execpos.client.link import Day, Link, current_day
from execpos.codecs.avro import Decoder
from execpos.domain.events import Mark, Market, PositionSnapshot, PositionState
from execpos.errors import Park
from execpos.kafka.follow import Follower
from execpos.kafka.ports import Message


class Standing:
    """Positions as committed. One thread; `refresh` blocks for what it reads, the rest does not.

    Args:
        link: the installation.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._position = Decoder(PositionState, link.writers[PositionState])
        self._mark = Decoder(Mark, link.writers[Mark])
        self._closes = Closes(Cutter(link.writers), Decoder(PositionSnapshot, link.writers[PositionSnapshot]))
        self._book = Book(self._closes)
        since_ms = max(0, round((time.time() - link.ages.closes_within_s) * 1000))
        self._rows = Follower(link.cluster, [link.topic("positions"), link.topic("marks")])
        self._past = Follower(link.cluster, [link.topic("checkpoints")], since_ms=since_ms)

    def refresh(self) -> None:
        """Take in what was committed since the last call; a price or a close that cannot be read is left out.

        Raises:
            Park: a position cannot be read.
        """
        marks: dict[str, Message] = {}
        for message in self._rows.poll():
            key, value = (message.key() or b"").decode(), message.value()
            if message.topic() == self._link.topic("marks"):
                marks[key] = message
            elif value is None:
                self._book.forget(key)
            else:
                self._book.put(self._position(value))
        for key, message in marks.items():
            with suppress(Park, IndexError, ValueError):
                self._book.put_mark(key, self._mark(message.value() or b""))
        for message in self._past.poll():
            with suppress(Park, IndexError, ValueError):
                self._closes.take(message.value() or b"")

    def positions(self, wanted: Callable[[PositionState], bool]) -> Iterator[Position]:
        """Yield the rows that are wanted, flat ones too, sorted by key."""
        days: dict[Market, Day] = {}
        for state in sorted(filter(wanted, self._book.rows()), key=lambda state: state.position_key):
            market: Market = "F" if state.account.split("|", 2)[1] == "F" else "S"
            if market not in days:
                calendar = self._link.calendar
                days[market] = Day(self._book.newest_date(market)) if calendar is None else current_day(calendar, market)
            yield self._book.position(state, days[market])

    def close(self) -> None:
        """Let go. A second call does nothing."""
        self._rows.close()
        self._past.close()

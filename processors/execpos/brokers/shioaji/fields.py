"""Reads fields of the library's answers strictly: what is not as it must be is an error that names answer, row and field."""

import math
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from execpos.brokers.protocol import BrokerError
from execpos.domain.redact import mask

# Names and codes have a dozen characters; what is longer is something else.
_TEXT_MAX = 128
# A double holds every whole number up to here exactly, and nobody holds more shares.
_COUNT_MAX = 2**53
# Of a wrong value that much is shown.
_SHOWN = 40


class Row:
    """One row of an answer. Fields are attributes of the library's object.

    Args:
        answer: names the answer and the account in errors.
        number: which row.
        row: the library's object.
    """

    def __init__(self, answer: str, number: int, row: Any) -> None:
        self._where = f"{answer}, row {number}"
        self._row = row

    def raw(self, name: str) -> Any:
        """Return a field as it is."""
        try:
            return getattr(self._row, name)
        except AttributeError:
            raise self.wrong(f"{name} is missing in a {type(self._row).__name__}") from None

    def part(self, name: str) -> "Row":
        """Return a field that has fields."""
        part = Row("", 0, self.raw(name))
        part._where = f"{self._where}, {name}"
        return part

    def text(self, name: str, *, empty: bool = False) -> str:
        """Return a text, or the word of an enum."""
        value = word(self.raw(name))
        if type(value) is not str or len(value) > _TEXT_MAX or (not value and not empty):
            raise self._bad(name, value, "a text")
        return value

    def optional(self, name: str) -> str:
        """Return a text or the word of an enum; empty for None."""
        return "" if self.raw(name) is None else self.text(name, empty=True)

    def number(self, name: str) -> float:
        """Return a finite number, of whatever kind the library gives it."""
        value = self.raw(name)
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not math.isfinite(value):
            raise self._bad(name, value, "a finite number")
        return float(value)

    def count(self, name: str) -> int:
        """Return a whole number, not negative."""
        value = self.number(name)
        if value != int(value) or not 0 <= value <= _COUNT_MAX:
            raise self._bad(name, value, "a whole number, 0 or more")
        return int(value)

    def direction(self, name: str) -> Literal["Buy", "Sell"]:
        """Return Buy or Sell."""
        value = self.text(name)
        if value == "Buy":
            return "Buy"
        if value == "Sell":
            return "Sell"
        raise self._bad(name, value, "Buy or Sell")

    def day(self, name: str) -> str:
        """Return a date as YYYY-MM-DD, from a date or from text with or without separators."""
        value = self.raw(name)
        if isinstance(value, date):
            return f"{value:%Y-%m-%d}"
        digits = value.replace("-", "").replace("/", "") if type(value) is str else ""
        try:
            return date.fromisoformat(digits).isoformat() if len(digits) == len("YYYYMMDD") else self._no_day(name, value)
        except ValueError:
            return self._no_day(name, value)

    def _no_day(self, name: str, value: Any) -> str:
        raise self._bad(name, value, "a date")

    def _bad(self, name: str, value: Any, wanted: str) -> BrokerError:
        return self.wrong(f"{name} is {shown(value)}, not {wanted}")

    def wrong(self, what: str) -> BrokerError:
        """Return the error that this row does not hold together."""
        return BrokerError(f"{self._where}: {what}", kind="malformed", hint="nothing of this answer is used; it is asked again later")


def word(value: Any) -> Any:
    """Return the text of an enum's member, or the value itself. The library's enums claim to be text and are none."""
    return value.value if type(value) is not str and hasattr(value, "value") else value


def shown(value: Any) -> str:
    """Return a value for an error: short, and without id numbers."""
    if value is None or isinstance(value, bool | int | float | Decimal):
        return str(value)[:_SHOWN]
    if type(value) is str:
        return repr(mask(value)[:_SHOWN])
    return f"a {type(value).__name__}"


def rows(answer: str, found: Any) -> Iterator[Row]:
    """Yield the rows of an answer.

    Raises:
        BrokerError: it is no list, or says of itself that it is not complete.
    """
    status = word(getattr(found, "status", "Fetched"))
    if status != "Fetched":
        raise BrokerError(f"{answer}: the library says {shown(status)}, not Fetched", kind="malformed", hint="it is asked again later")
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise BrokerError(f"{answer}: {shown(found)}, not a list", kind="malformed", hint="it is asked again later")
    for number, row in enumerate(found):
        yield Row(answer, number, row)

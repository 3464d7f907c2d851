"""The numbers that the broker's side gives out: order numbers, order ids, exchange numbers and receipts."""

from random import Random
from typing import Final

from execpos.errors import ConfigError

# xxHash32's five primes, from its published specification.
_P1, _P2, _P3, _P4, _P5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393
_MASK: Final = 0xFFFFFFFF

_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BASE62 = _BASE36 + "abcdefghijklmnopqrstuvwxyz"

# Order numbers have six digits.
_SEQNO_FIRST, _SEQNO_END = 100_000, 1_000_000


def xxh32(data: bytes) -> int:
    """Return xxHash32 (seed 0) of fewer than 16 bytes: what makes an order id of an order number.

    Raises:
        ValueError: `data` is longer; an order number never is.
    """
    if len(data) >= 16:
        msg = f"xxh32 here takes fewer than 16 bytes, not {len(data)}"
        raise ValueError(msg)
    acc = _P5 + len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        acc = (acc + int.from_bytes(data[at : at + 4], "little") * _P3) & _MASK
        acc = ((acc << 17 | acc >> 15) * _P4) & _MASK
    for byte in data[whole:]:
        acc = (acc + byte * _P5) & _MASK
        acc = ((acc << 11 | acc >> 21) * _P1) & _MASK
    acc = ((acc ^ acc >> 15) * _P2) & _MASK
    acc = ((acc ^ acc >> 13) * _P3) & _MASK
    return acc ^ acc >> 16


def order_id(seqno: str) -> str:
    """Return the id of an order number: eight hex digits."""
    return f"{xxh32(seqno.encode()):08x}"


def _digits(number: int, alphabet: str, width: int) -> str:
    text = ""
    for _ in range(width):
        number, digit = divmod(number, len(alphabet))
        text = alphabet[digit] + text
    return text


class Numbers:
    """Counters of one day. They begin at a place that depends on seed and start, so that two runs seldom meet.

    `last` is the order number given out last, or the one before the first.
    """

    def __init__(self, rng: Random) -> None:
        # At least nine tenths of the numbers are left, whatever the place.
        self.last = rng.randrange(_SEQNO_FIRST, _SEQNO_FIRST + 90_000)
        self._ordno = rng.randrange(36**4, 30 * 36**4)
        self._stock_seq = rng.randrange(1_000_000)
        self._futures_seq = rng.randrange(10_000_000)
        self._futures_letter = rng.choice("abcdefghjk")

    def seqno(self) -> str:
        """Return the next order number; stocks and futures share the counter.

        Raises:
            ConfigError: the day has used them all.
        """
        self.last += 1
        if self.last >= _SEQNO_END:
            raise ConfigError("the simulated day has used all its six-digit order numbers", hint="run fewer events, or start a new day")
        return str(self.last)

    def ordno(self, *, futures: bool) -> str:
        """Return the next exchange order number: five characters, lower case for futures."""
        self._ordno += 1
        text = _digits(self._ordno, _BASE36, 5)
        return text.lower() if futures else text

    def exchange_seq(self, *, futures: bool) -> str:
        """Return the next report number of the exchange: six digits, or a letter and seven digits for futures."""
        if futures:
            self._futures_seq += 1
            return f"{self._futures_letter}{self._futures_seq % 10_000_000:07d}"
        self._stock_seq += 1
        return f"{self._stock_seq % 1_000_000:06d}"


class Receipts:
    """Receipt ids of one account: `v1:<kind>:<stream>:<reset>:<seq>`; orders and deals count apart."""

    def __init__(self, market: str, rng: Random) -> None:
        self._market = market
        self._rng = rng
        self._stream = _digits(rng.randrange(62**9), _BASE62, 9)
        self._reset = ""
        self._seq = {"O": 0, "D": 0}
        self.reset()

    def reset(self) -> None:
        """Begin anew: another reset token, counting from 1."""
        self._reset = "B" + _digits(self._rng.randrange(62**6), _BASE62, 6)
        self._seq = {"O": 0, "D": 0}

    def next(self, report: str) -> str:
        """Return the receipt of the next report; `report` is O for orders and D for deals."""
        self._seq[report] += 1
        return f"v1:{self._market}{report}:{self._stream}:{self._reset}:{self._seq[report]}"

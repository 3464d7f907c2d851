"""Exact numbers: integers of 10⁻⁶ inside, `Decimal` only at the edges, and no float past this module."""

from decimal import Decimal, InvalidOperation
from math import isfinite

from execpos.errors import Park

MICROS = 1_000_000

# The largest magnitude that a `long` of 10⁻⁶ carries through Avro and ClickHouse's Decimal(18, 6).
MAX_MICROS = 999_999_999_999_999_999

# Below this the product with 10⁶ keeps every one of a double's 15 exact decimal digits.
_EXACT_FLOAT = 1e9

# Prices come again and again, and looking one up costs a tenth of proving it; beyond this many the memo starts anew.
_KNOWN_LIMIT = 65_536
_KNOWN: dict[float, int] = {}


def micros(value: float, where: str) -> int:
    """Return a number of the broker in 10⁻⁶, read by its shortest decimal form.

    Raises:
        Park: not finite, more than six decimals, or too large (reason `bad_number`); `where` names the field.
    """
    known = _KNOWN.get(value)
    if known is not None:
        return known
    if isinstance(value, int):
        scaled = value * MICROS
    else:
        if not isfinite(value):
            raise Park("bad_number", f"{where} is {value}, not a finite number")
        # Beyond the range of exact products, which may overflow too, zero stands for "not tried".
        scaled = round(value * MICROS) if -_EXACT_FLOAT < value < _EXACT_FLOAT else 0
        # The nearest double to scaled/10⁶ being `value` itself proves that the shortest decimal form of `value` is scaled/10⁶.
        if scaled / MICROS != value:
            exact = Decimal(repr(value)) * MICROS
            if exact != exact.to_integral_value():
                raise Park("bad_number", f"{where} is {value!r}: more than six decimals")
            scaled = int(exact)
    if not -MAX_MICROS <= scaled <= MAX_MICROS:
        raise Park("bad_number", f"{where} is {value!r}: beyond 10^12")
    if len(_KNOWN) >= _KNOWN_LIMIT:
        _KNOWN.clear()
    _KNOWN[value] = scaled
    return scaled


def whole(value: float, where: str) -> int:
    """Return a count of the broker as an integer.

    Raises:
        Park: not finite, not whole, or negative (reason `bad_number`); `where` names the field.
    """
    if isinstance(value, float):
        if not isfinite(value) or not value.is_integer():
            raise Park("bad_number", f"{where} is {value}, not a whole number")
        value = int(Decimal(repr(value)))
    if not 0 <= value <= MAX_MICROS:
        raise Park("bad_number", f"{where} is {value}: negative or too large")
    return value


def divide_half_even(numerator: int, denominator: int) -> int:
    """Return numerator / denominator rounded to the nearest integer, ties to even; `denominator` > 0."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    if twice > denominator or (twice == denominator and quotient & 1):
        return quotient + 1
    return quotient


def text(value_micros: int) -> str:
    """Return an amount as the shortest exact decimal: 1872500000 -> '1872.5'."""
    sign = "-" if value_micros < 0 else ""
    units, rest = divmod(abs(value_micros), MICROS)
    return f"{sign}{units}.{rest:06d}".rstrip("0").rstrip(".") if rest else f"{sign}{units}"


def grouped(value_micros: int) -> str:
    """Return an amount for people: as `text`, with thousands separators."""
    units, point, rest = text(abs(value_micros)).partition(".")
    return f"{'-' if value_micros < 0 else ''}{int(units):,}{point}{rest}"


def parse(amount: str, where: str) -> int:
    """Return a decimal text in 10⁻⁶; the inverse of `text`.

    Raises:
        Park: no number, or more than six decimals (reason `bad_number`); `where` names the field.
    """
    try:
        exact = Decimal(amount) * MICROS
    except InvalidOperation as error:
        raise Park("bad_number", f"{where} is {amount!r}, not a decimal number") from error
    if not exact.is_finite() or exact != exact.to_integral_value():
        raise Park("bad_number", f"{where} is {amount!r}: not finite or more than six decimals")
    return int(exact)

"""What the simulated library hands out: words that behave like its enums, mappings that are no dicts, rows with attributes.

Callers see the same habits as with Shioaji 1.7.9: an enum has `value` and `name` and equals its text but is no `str`; a report is a
read-only wrapper with `get`, `keys`, `items`, `[]`, and so are its parts; rows have attributes, `[]`, `keys` and `dict()`.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

_STATE_NAMES = {"SORDER": "StockOrder", "SDEAL": "StockDeal", "FORDER": "FuturesOrder", "FDEAL": "FuturesDeal"}


class Word:
    """A member of one of the library's enums. Equal to its text and to itself; not a string, not JSON."""

    __slots__ = ("_kind", "name", "value")

    def __init__(self, kind: str, value: str, name: str = "") -> None:
        self._kind = kind
        self.value = value
        self.name = name or value

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Word):
            return (self._kind, self.value) == (other._kind, other.value)
        return other in (self.value, self.name)

    def __hash__(self) -> int:
        return hash(self.value)

    def __str__(self) -> str:
        return f"{self._kind}.{self.name}"

    __repr__ = __str__


STATES = {value: Word("OrderState", value, name) for value, name in _STATE_NAMES.items()}


class Event:
    """A report as the library hands it to a callback: like a dict, and none. Made anew at each access to a part, as there."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __getitem__(self, key: str) -> Any:
        return _wrapped(self._fields[key])

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field, or `default`."""
        return _wrapped(self._fields.get(key, default))

    def keys(self) -> list[str]:
        """Return the names of the fields."""
        return list(self._fields)

    def values(self) -> list[Any]:
        """Return the fields."""
        return [_wrapped(value) for value in self._fields.values()]

    def items(self) -> list[tuple[str, Any]]:
        """Return names and fields."""
        return [(key, _wrapped(value)) for key, value in self._fields.items()]

    def __contains__(self, key: object) -> bool:
        return key in self._fields

    def __len__(self) -> int:
        return len(self._fields)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._fields))

    def __repr__(self) -> str:
        return repr(self._fields)


def _wrapped(value: Any) -> Any:
    return Event(value) if isinstance(value, dict) else value


class Row:
    """A read-only answer of the library: a position, a trade, a contract… Fields are attributes, and can be asked for by name."""

    def __init__(self, kind: str, fields: Mapping[str, Any]) -> None:
        self.__dict__.update(fields)
        self._kind = kind

    def __getattr__(self, name: str) -> Any:
        # Only for what is not there; it also tells type checkers that any field may be.
        raise AttributeError(f"{self.__dict__.get('_kind', 'Row')} has no field {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name != "_kind":
            raise AttributeError(f"{self._kind} is read-only")
        self.__dict__[name] = value

    def keys(self) -> list[str]:
        """Return the names of the fields."""
        return [name for name in self.__dict__ if name != "_kind"]

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, key: object) -> bool:
        return key in self.keys()

    def __len__(self) -> int:
        return len(self.keys())

    def dict(self) -> dict[str, Any]:
        """Return the fields; enum objects stay what they are."""
        return {name: getattr(self, name) for name in self.keys()}

    def __repr__(self) -> str:
        return f"{self._kind}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.keys())})"


class Parted(Row):
    """An answer whose fields are made when each is first asked for, and stay.

    Args:
        kind: name of its type in the library.
        makers: what makes each field, in the order of the fields.
    """

    def __init__(self, kind: str, makers: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__(kind, {})
        self.__dict__["_makers"] = makers

    def __getattr__(self, name: str) -> Any:
        make = self.__dict__["_makers"].get(name)
        if make is None:
            return super().__getattr__(name)
        made = self.__dict__[name] = make()
        return made

    def keys(self) -> list[str]:
        return list(self.__dict__["_makers"])


class Account(Row):
    """An account of the login, with the personal data that every reader has to keep to himself (made up, in a simulator)."""

    def __init__(self, account_type: str, person_id: str, broker_id: str, account_id: str, *, signed: bool, username: str) -> None:
        name = {"S": "Stock", "F": "Future"}[account_type]
        super().__init__(
            "StockAccount" if account_type == "S" else "FutureAccount",
            {
                "account_type": Word("AccountType", account_type, name),
                "person_id": person_id,
                "broker_id": broker_id,
                "account_id": account_id,
                "signed": signed,
                "username": username,
            },
        )


# Fields of answers that are enums in the library.
_WORDS = {
    "direction": "Action",
    "action": "Action",
    "cond": "StockOrderCond",
    "order_cond": "StockOrderCond",
    "order_lot": "StockOrderLot",
    "time_in_force": "TimeInForce",
    "order_type": "OrderType",
    "price_type": "PriceType",
    "octype": "FuturesOCType",
    "trade_type": "TradeType",
    "security_type": "SecurityType",
    "exchange": "Exchange",
    "fetch_status": "FetchStatus",
    "tick_type": "TickType",
    "change_type": "ChangeType",
}


# As there, a member of an enum is one object.
_word = lru_cache(maxsize=4096)(Word)


def row(kind: str, fields: Mapping[str, Any]) -> Row:
    """Return an answer as the library gives it: its words are enums. `fetch_status` becomes the property `status` of the answer."""
    made = dict(fields)
    for name in _WORDS.keys() & made.keys():
        if isinstance(made[name], str):
            made[name] = _word(_WORDS[name], made[name])
    if "fetch_status" in made:
        made["status"] = made.pop("fetch_status")
    return Row(kind, made)

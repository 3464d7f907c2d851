"""Takes personal data out of a broker's report, by a list of what may pass.

What stands on the list passes. What does not is kept as far as it cannot be personal: names of fields, numbers, truth values, null; its
text is replaced by its length. Fields that hold persons or secrets are emptied wherever they stand. A national or resident id number, and
what has the form of a certificate, a token or a key, is masked in whatever text it stands. The report is also made plain here: what the
broker's library wraps becomes dictionaries, lists, text and numbers.

Pure, and it never raises, whatever it is given.
"""

import re
import unicodedata
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

# Deeper or larger than any report: the real ones have 3 levels and about 40 values. What lies beyond is cut and said so.
DEPTH_MAX: Final = 8
VALUES_MAX: Final = 20_000

# json and int() refuse longer ones; no broker's number has more than 19 digits.
_INT_BITS_MAX: Final = 256

_SCALARS: Final = frozenset({str, int, float, bool, bytes, bytearray})

MASK: Final = "[redacted id]"

_DEAL = """event_id trade_id seqno ordno exchange_seq broker_id account_id action code full_code order_cond order_lot price quantity web_id
    custom_field ts subaccount security_type delivery_month strike_price option_right market_type combo"""
_ORDER = """id seqno ordno account action price quantity order_type time_in_force price_type order_cond order_lot custom_field market_type
    oc_type subaccount combo"""
_CONTRACT = "exchange code security_type symbol name currency delivery_month full_code delivery_date strike_price option_right"

# Where a field stands -> the fields that may pass there.
_KNOWN: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset([*_DEAL.split(), "operation", "order", "status", "contract"]),
    "operation": frozenset({"op_type", "op_code", "op_msg"}),
    "order": frozenset(_ORDER.split()),
    "order.account": frozenset({"account_type", "broker_id", "account_id", "signed"}),
    "status": frozenset({"id", "exchange_ts", "modified_price", "cancel_quantity", "order_quantity", "web_id"}),
    "contract": frozenset(_CONTRACT.split()),
}

# Compared without case, underscores and hyphens.
_SENSITIVE_NAMES = """personid username userid realname holdername nationalid idno idnumber identity residentid arcno passportno birthday
    address email phone mobile ca capath capasswd capassword cacontent certificate signature sign passwd password pwd pin secret secretkey
    apikey privatekey token accesstoken refreshtoken authorization cookie"""
_SENSITIVE: Final = frozenset(_SENSITIVE_NAMES.split())

# A letter, a letter or digit, eight digits; also in full-width forms. Overlapping finds count, hence the look-ahead.
_ID_SHAPE: Final = re.compile("(?=([A-Za-zＡ-Ｚａ-ｚ][A-Da-dＡ-Ｄａ-ｄ0-9０-９][0-9０-９]{8}))")  # noqa: RUF001 (full-width on purpose)
# Most texts are short or have no such run of digits, and this finds out soonest.
_ID_LENGTH: Final = 10
_ID_DIGITS: Final = re.compile("[0-9０-９]{8}")  # noqa: RUF001 (full-width on purpose)
# Certificates, signatures, tokens and keys are long runs of base64 or hexadecimal digits; a broker's ids have 28 characters at most.
_BLOB_LENGTH: Final = 40
_BLOB: Final = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}")
# Place of a letter in this text + 10 is its number in the check sum.
_ID_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVXYWZIO"


def _is_id(text: str) -> bool:
    """Return whether ten characters of the right shape are a national or resident id number, by their check digit."""
    text = unicodedata.normalize("NFKC", text).upper()
    first = _ID_LETTERS.index(text[0]) + 10
    second = int(text[1]) if text[1].isdigit() else (_ID_LETTERS.index(text[1]) + 10) % 10
    digits = [first // 10, first % 10, second, *map(int, text[2:])]
    weights = (1, 9, 8, 7, 6, 5, 4, 3, 2, 1, 1)
    return sum(map(int.__mul__, digits, weights)) % 10 == 0


def mask(text: str) -> str:
    """Return `text` with every national and resident id number in it masked, and every key, token or certificate."""
    if len(text) < _ID_LENGTH:
        return text
    if len(text) >= _BLOB_LENGTH:
        text = _BLOB.sub(MASK, text)
    if _ID_DIGITS.search(text) is None:
        return text
    found = [match.start() for match in _ID_SHAPE.finditer(text) if _is_id(match.group(1))]
    if not found:
        return text
    parts, at = [], 0
    for start in found:
        if start >= at:
            parts += [text[at:start], MASK]
        at = start + _ID_LENGTH
    return "".join([*parts, text[at:]])


class _Walk:
    """One report being redacted: what was found, and how much may still come."""

    def __init__(self) -> None:
        self.unknown: dict[str, None] = {}
        self._left = VALUES_MAX

    def mapping(self, value: Any, path: str, depth: int, *, known: bool) -> dict[str, Any] | str:
        """Return a mapping or a wrapper of one, redacted; a marker if it does not let itself be read."""
        try:
            pairs = value.items() if hasattr(value, "items") else ((key, value[key]) for key in value.keys())  # noqa: SIM118 (a wrapper need not iterate)
            items = list(islice(pairs, VALUES_MAX + 1))
        except Exception as error:  # noqa: BLE001 (a foreign object may raise anything)
            return f"[unreadable {type(value).__name__}: {type(error).__name__}]"
        allowed = _KNOWN.get(path, frozenset()) if known else frozenset()
        made: dict[str, Any] = {}
        for raw_key, item in items:
            self._left -= 1
            if self._left < 0:
                made["[truncated]"] = True
                break
            # The field that everything is about, in one step: known, and a number or a short text.
            if type(raw_key) is str and raw_key in allowed:
                kind = type(item)
                if kind is float or (kind is str and len(item) < _ID_LENGTH):
                    made[raw_key] = item
                else:
                    made[raw_key] = self.value(item, f"{path}.{raw_key}" if path else raw_key, depth + 1, known=True)
                continue
            key = mask(raw_key) if type(raw_key) is str else str(self.value(raw_key, path, DEPTH_MAX, known=True))
            if key.lower().replace("_", "").replace("-", "") in _SENSITIVE:
                made[key] = ""
                continue
            where = f"{path}.{key}" if path else key
            self.unknown[where] = None
            made[key] = self.value(item, where, depth + 1, known=False)
        return made

    def value(self, value: Any, path: str, depth: int, *, known: bool) -> Any:
        """Return any value, redacted and plain."""
        kind = type(value)
        if kind is str:
            return mask(value) if known else f"[redacted {len(value)} chars]"
        if kind is float or kind is bool or value is None:
            return value
        if kind is int:
            return value if value.bit_length() <= _INT_BITS_MAX else f"[int of {value.bit_length()} bits]"
        if kind in {bytes, bytearray}:
            return f"[redacted {len(value)} bytes]"
        try:
            return self._other(value, path, depth, known=known)
        except Exception as error:  # noqa: BLE001 (a foreign object may raise anything)
            return f"[unreadable {kind.__name__}: {type(error).__name__}]"

    def _other(self, value: Any, path: str, depth: int, *, known: bool) -> Any:
        kind = type(value)
        if depth > DEPTH_MAX:
            return f"[too deep: {kind.__name__}]"
        # The broker's enums claim to be text, so their value is asked for first.
        if hasattr(value, "value") and not hasattr(value, "items"):
            return self.value(value.value, path, depth + 1, known=known)
        if hasattr(value, "items") or hasattr(value, "keys"):
            return self.mapping(value, path, depth, known=known)
        if isinstance(value, list | tuple | set | frozenset):
            made = []
            for item in value:
                self._left -= 1
                if self._left < 0:
                    made.append("[truncated]")
                    break
                made.append(self.value(item, path, depth + 1, known=known))
            return made
        for plain, convert in ((str, str.__str__), (int, int.__index__), (float, float.__float__)):
            if issubclass(kind, plain):
                return self.value(convert(value), path, depth + 1, known=known)
        return f"[{kind.__name__}]"


def redact(payload: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a report without personal data, and the dotted names of its fields that nobody knows yet.

    Never raises and does not block. The same report gives the same result, its fields in the same order. Floats stay as they are, NaN too.

    Args:
        payload: a mapping, or the broker library's wrapper of one; anything else gives one field, `[payload]`, that says what it was.
    """
    walk = _Walk()
    made = None if type(payload) in _SCALARS else walk.value(payload, "", 0, known=True)
    return (made if type(made) is dict else {"[payload]": f"[{type(payload).__name__}]"}), tuple(walk.unknown)

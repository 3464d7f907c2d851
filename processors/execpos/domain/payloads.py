"""The broker's payloads as they come: which fields are read, which of them must be there, and how long they may be."""

from typing import Annotated, Any, TypeVar

import msgspec

from execpos.domain import limits
from execpos.errors import Park

T = TypeVar("T")
Number = int | float
# What is longer is refused by the decoder, at no cost for what is not. Then words are cut and the payload is read once more; see `limits`.
Name = Annotated[str, msgspec.Meta(max_length=limits.NAME_CHARS_MAX)]
Receipt = Annotated[str, msgspec.Meta(max_length=limits.ID_CHARS_MAX)]
Word = Annotated[str, msgspec.Meta(max_length=limits.WORD_CHARS_MAX)]
Message = Annotated[str, msgspec.Meta(max_length=limits.MESSAGE_CHARS_MAX)]


class _Operation(msgspec.Struct, gc=False):
    op_type: Word
    op_code: Word
    op_msg: Message | None = None


class _Account(msgspec.Struct, gc=False):
    broker_id: Name
    account_id: Name
    account_type: Word | None = None


class _Order(msgspec.Struct, gc=False):
    account: _Account
    action: str
    price: Number
    quantity: Number
    id: Name | None = None
    seqno: Name | None = None
    ordno: Word | None = None
    order_type: Word | None = None
    time_in_force: Word | None = None
    price_type: Word | None = None
    order_cond: Word | None = None
    order_lot: Word | None = None
    oc_type: Word | None = None
    custom_field: Word | None = None
    combo: bool | None = None


class _Status(msgspec.Struct, gc=False):
    exchange_ts: Number
    id: Name | None = None
    modified_price: Number | None = None
    cancel_quantity: Number | None = None
    order_quantity: Number | None = None


class _Contract(msgspec.Struct, gc=False):
    code: Name
    full_code: Name | None = None
    security_type: Word | None = None


class OrderPayload(msgspec.Struct, gc=False):
    """An SORDER or FORDER."""

    operation: _Operation
    order: _Order
    status: _Status
    contract: _Contract
    event_id: Receipt | None = None


class DealPayload(msgspec.Struct, gc=False):
    """An SDEAL or FDEAL."""

    trade_id: Name
    exchange_seq: Name
    broker_id: Name
    account_id: Name
    action: str
    code: Name
    price: Number
    quantity: Number
    ts: Number
    event_id: Receipt | None = None
    seqno: Name | None = None
    ordno: Word | None = None
    full_code: Name | None = None
    security_type: Word | None = None
    order_cond: Word | None = None
    order_lot: Word | None = None
    custom_field: Word | None = None
    combo: bool | None = None


ORDERS = msgspec.json.Decoder(OrderPayload)
DEALS = msgspec.json.Decoder(DealPayload)


# How the bridge sends a report that is too large to travel: its length and hash alone.
_OVERSIZED = b'{"oversized":'


def read(decoder: msgspec.json.Decoder[T], payload: bytes, what: str) -> T:
    """Return a payload as its structure.

    Raises:
        Park: only its hash came (`oversized`), or it is no such payload (`bad_payload`).
    """
    try:
        return decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if payload.startswith(_OVERSIZED):
            raise Park("oversized", f"{what}: larger than bridge.max_payload_bytes, so only its length and hash came") from None
        return _with_words_cut(decoder, payload, what)


# Free text, wherever it stands in a payload, and its longest.
_WORDS = {
    **dict.fromkeys(("op_type", "op_code", "ordno", "order_type", "time_in_force", "price_type", "order_cond"), limits.WORD_CHARS_MAX),
    **dict.fromkeys(("order_lot", "oc_type", "custom_field", "security_type", "account_type"), limits.WORD_CHARS_MAX),
    "op_msg": limits.MESSAGE_CHARS_MAX,
}


def _with_words_cut(decoder: msgspec.json.Decoder[T], payload: bytes, what: str) -> T:
    """Read a payload that the decoder refused once more, with its free text cut, which may be all that was wrong."""
    try:
        return msgspec.convert(_words_cut(msgspec.json.decode(payload)), decoder.type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Park("bad_payload", f"{what}: {error}") from error


def _words_cut(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        name: limits.cut(item, _WORDS[name]) if isinstance(item, str) and name in _WORDS else _words_cut(item)
        for name, item in value.items()
    }


class DealHint(msgspec.Struct, gc=False):
    """What can be read of a deal that is otherwise broken: enough to know which key it would have moved."""

    code: Name | None = None
    full_code: Name | None = None
    order_cond: Word | None = None


_decode_hint = msgspec.json.Decoder(DealHint).decode


def hint(payload: bytes) -> DealHint:
    """Return what can be read of a broken deal; all fields None when nothing can."""
    try:
        return _decode_hint(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return DealHint()

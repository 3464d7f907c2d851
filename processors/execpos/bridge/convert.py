"""From a report as the broker gave it to a RawExecEvent: plain, redacted, numbered."""

import hashlib
import json
from functools import lru_cache
from typing import Any

import orjson

from execpos.bridge.capture import Captured, CaughtUp, OwnRecord
from execpos.domain.events import Market, RawExecEvent
from execpos.domain.ids import account_key
from execpos.domain.private import PrivateWords
from execpos.domain.redact import mask, redact
from execpos.domain.vocabulary import CALLBACK_KINDS, CATCHUP, CONTROL_KINDS

# The largest payload that travels: topic exec.raw allows it with its frame, and dead letters allow 64 KiB more.
PAYLOAD_BYTES_MAX = 256 * 1024

# Longer than anything a broker has sent; a longer text is no id, and its place is in the payload alone.
_ID_LENGTH_MAX = 256
_KIND_LENGTH_MAX = 40

# Unknown names are for people to read; a flood of them would say nothing more.
_UNKNOWN_NAMES_MAX = 1000

# For what orjson does not write. Made once: `json.dumps` with settings makes one for each call.
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=True)


def payload_bytes(plain: dict[str, Any]) -> bytes:
    """Return a redacted report as JSON: fields in the broker's order, numbers in their shortest form, NaN as it came. Never raises.

    Half a surrogate pair, which UTF-8 cannot hold, is written as its JSON escape.
    """
    # A tenth of the time of `json`, 5 µs a report. It writes NaN as null and refuses half pairs and numbers of more than 64 bits.
    try:
        made = orjson.dumps(plain)
    except (orjson.JSONEncodeError, RecursionError):
        made = b"null"
    if b"null" not in made:
        return made
    return _JSON.encode(plain).encode("utf-8", "backslashreplace")


def kind_of(state: Any) -> str:
    """Return SORDER, SDEAL, FORDER, FDEAL, or what else the broker said, as text. Never raises.

    A word that only the bridge itself may use comes back in brackets, so that no broker can put a marker into the stream.
    """
    value = state
    if type(state) is not str:
        try:
            value = getattr(state, "value", None)
        except Exception:  # noqa: BLE001 (a foreign object may raise anything)
            value = None
    if type(value) is not str:
        return f"[{type(state).__name__}]"[:_KIND_LENGTH_MAX]
    if value in CONTROL_KINDS or value.startswith(CATCHUP):
        return f"[{value}]"[:_KIND_LENGTH_MAX]
    return value if value in CALLBACK_KINDS else _storable(mask(value[: 4 * _KIND_LENGTH_MAX])[:_KIND_LENGTH_MAX])


def _storable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _text(holder: object, field: str) -> str:
    """Return a text field that can be an id, or empty."""
    value = holder.get(field) if isinstance(holder, dict) else None
    return _storable(value) if isinstance(value, str) and len(value) <= _ID_LENGTH_MAX else ""


# A login has a few accounts; the bound only keeps a flood of wrong ones from filling memory.
_account_key = lru_cache(maxsize=4096)(account_key)


def account_of(env: str, kind: str, plain: dict[str, Any]) -> str:
    """Return the account key of a redacted report; both numbers are empty when it does not say whose it is."""
    order = plain.get("order")
    holder = order.get("account") if isinstance(order, dict) else plain
    broker_id, account_id = _text(holder, "broker_id"), _text(holder, "account_id")
    if not broker_id or not account_id:
        broker_id = account_id = ""
    market: Market = "F" if kind.removeprefix(CATCHUP).startswith("F") else "S"
    return _account_key(env, market, broker_id, account_id)


def plain_report(event: Any, private: PrivateWords) -> tuple[dict[str, Any], tuple[str, ...], bytes]:
    """Return a report redacted, the names of its unknown fields, and the payload that it becomes. Never raises."""
    plain, unknown = redact(event)
    payload = payload_bytes(plain)
    if private.may_be_in(payload):
        plain, unknown = private.plain(plain), tuple(map(private.text, unknown))
        payload = payload_bytes(plain)
    return plain, unknown, payload


class Converter:
    """Makes records of what was captured, with consecutive numbers from 1. One thread; does not block.

    Args:
        env: production, simulation or replay.
        bridge_id: name of this bridge.
        bridge_epoch: incarnation of this bridge; higher than any it had before.
        sdk_version: version of the broker's library.
        payload_bytes_max: a larger report travels as its length and hash.
        first_seq: number of the first record.
        private: words of the login's persons.
    """

    def __init__(
        self,
        env: str,
        bridge_id: str,
        bridge_epoch: int,
        sdk_version: str,
        *,
        payload_bytes_max: int = PAYLOAD_BYTES_MAX,
        first_seq: int = 1,
        private: PrivateWords | None = None,
    ) -> None:
        self._private = private or PrivateWords()
        self._env = env
        self._payload_bytes_max = payload_bytes_max
        self._bridge_id = bridge_id
        self._bridge_epoch = bridge_epoch
        self._sdk_version = sdk_version
        self._seq = first_seq - 1
        self.callbacks = 0
        """Reports of the broker, those that were asked for included."""
        self.oversized = 0
        self.unknown: dict[str, int] = {}
        """Dotted names of fields that are on no list, and how often each came."""

    def __call__(self, captured: Captured) -> RawExecEvent:
        """Return the record. Never raises: what cannot be read is said in the payload."""
        wall_ns, monotonic_ns, state, event = captured
        if isinstance(event, OwnRecord):
            kind, account, payload, receipt, marker_id = str(state), event.account, event.payload, "", event.marker_id
        else:
            kind, account, payload, receipt = self._readable(state, event)
            marker_id = ""
        self._seq += 1
        return RawExecEvent(
            env=self._env,
            account=account,
            kind=kind,
            payload=payload,
            broker_event_id=receipt,
            bridge_id=self._bridge_id,
            bridge_epoch=self._bridge_epoch,
            bridge_seq=self._seq,
            ingest_ts=wall_ns // 1000,
            ingest_monotonic_ns=monotonic_ns,
            marker_id=marker_id,
            sdk_version=self._sdk_version,
        )

    def _readable(self, state: Any, event: Any) -> tuple[str, str, bytes, str]:
        """Return kind, account, payload and receipt, whatever comes."""
        self.callbacks += 1
        if isinstance(event, CaughtUp):
            kind, event = f"{CATCHUP}{self._private.text(kind_of(state.removeprefix(CATCHUP)))}", event.report
        else:
            kind = self._private.text(kind_of(state))
        try:
            return self._report(kind, event)
        except Exception as error:  # noqa: BLE001 (the last net: a report that nobody foresaw must not end the thread of all reports)
            said = payload_bytes({"unconvertible": {"type": type(event).__name__, "error": type(error).__name__}})
            return kind, account_of(self._env, kind, {}), said, ""

    def _report(self, kind: str, event: Any) -> tuple[str, str, bytes, str]:
        plain, unknown, payload = plain_report(event, self._private)
        for name in unknown:
            if name in self.unknown or len(self.unknown) < _UNKNOWN_NAMES_MAX:
                self.unknown[name] = self.unknown.get(name, 0) + 1
        if len(payload) > self._payload_bytes_max:
            self.oversized += 1
            digest = hashlib.sha256(payload).hexdigest()
            payload = payload_bytes({"oversized": {"sha256": digest, "bytes": len(payload)}})
        return kind, account_of(self._env, kind, plain), payload, _text(plain, "event_id")

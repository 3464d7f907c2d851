"""What an error of the library means: one table, by the names of its classes and the number that the server gave.

The classes are known by name, so that the library needs no import and the simulator's own classes mean the same.
"""

import re
from typing import Literal, NamedTuple

Kind = Literal["suspended", "budget", "session", "timeout", "refused", "malformed", "unsupported", "failed"]


class Meaning(NamedTuple):
    """Why a call failed; whether the link may be dead: several such in a row end the session; whether the token was refused."""

    kind: Kind
    link: bool = False
    hint: str = ""
    token: bool = False


_SUSPENDED = Meaning("suspended", hint="wait; the broker lets nothing through. If its text asks for a newer version, update shioaji")
_SESSION = Meaning("session", hint="the bridge logs in again by itself")
_TOKEN = _SESSION._replace(token=True)
_TIMEOUT = Meaning("timeout", link=True, hint="it is asked again later")
_LINK = Meaning("failed", link=True, hint="it is asked again later")
_REFUSED = Meaning("refused", hint="see the broker's text")
_MALFORMED = Meaning("malformed", hint="if it stays so, the library and the server do not fit each other")
_UNSUPPORTED = Meaning("unsupported", hint="the library does not have this call: update shioaji")
_CONNECTIONS = Meaning("failed", hint="five connections a person are allowed: close another program of this login")
_CLOCK = Meaning("refused", hint="set the clock of this machine (NTP): it may differ by half a minute at most")
_RATE = Meaning("suspended", hint="too many calls; nothing is asked for a while")

# What the server said, where the text says it; stronger than the class, because a ServerError may be any of these.
_BY_STATUS = {
    400: _REFUSED,
    401: _TOKEN,
    403: _REFUSED,
    406: _CLOCK,
    408: _TIMEOUT,
    422: _REFUSED,
    429: _RATE,
    451: _CONNECTIONS,
    500: _LINK,
    502: _LINK,
    503: _SUSPENDED,
    504: _TIMEOUT,
}

# Names of classes, the most special first: the first one that the error is, decides.
_BY_CLASS = (
    ("SystemMaintenance", _SUSPENDED),
    ("TokenError", _TOKEN),
    ("AccountNotSignError", Meaning("refused", hint="sign the agreement of this account at the broker's")),
    ("AccountNotProvideError", Meaning("refused", hint="the login has no such account any more: restart the bridge")),
    ("AuthError", _SESSION),
    ("MarketDataQueryUsageLimitError", Meaning("refused", hint="the day's data volume is used up")),
    ("MarketDataQueryTimeoutError", _TIMEOUT),
    ("ShioajiTimeoutError", _TIMEOUT),
    ("ShioajiConnectionError", _LINK),
    ("ResponseRecvError", _LINK),
    ("ResponseError", _MALFORMED),
    ("ValidationError", _REFUSED),
    ("BadRequestError", _REFUSED),
    ("ShioajiPermissionError", Meaning("refused", hint="the library cannot write its folder: check SJ_HOME_PATH")),
    ("SubscribeError", _REFUSED),
    ("UnsubscribeError", _REFUSED),
    ("ShioajiTypeError", _UNSUPPORTED),
    ("ShioajiValueError", _REFUSED),
    ("TimeoutError", _TIMEOUT),
    ("ConnectionError", _LINK),
    ("NotImplementedError", _UNSUPPORTED),
    ("AttributeError", _UNSUPPORTED),
    ("TypeError", _UNSUPPORTED),
)

# `StatusCode: 503, Detail: …`, `status_code: 503`, `503 Service Unavailable`, `… (503)`.
_STATUS = re.compile(r"(?:status[_ ]?code\D{0,4}|^|\()(\d{3})(?=$|[\s,;:)\]}])", re.IGNORECASE)

# Half a screen; the broker's texts are one line.
TEXT_MAX = 300


def status_of(text: str) -> int:
    """Return the number of the server's answer in a text of the library; 0 without one."""
    found = _STATUS.search(text)
    return int(found.group(1)) if found else 0


def classify(error: BaseException) -> Meaning:
    """Return what an error of the library means. Never raises; what is on no list is `failed`."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 (a foreign object may raise anything)
        text = ""
    names = {each.__name__ for each in type(error).__mro__}
    by_class = next((meaning for name, meaning in _BY_CLASS if name in names), None)
    # The number decides where the class says little; elsewhere a number in the text may mean anything.
    by_status = _BY_STATUS.get(status_of(text))
    if by_status is not None and (by_class is None or by_class is _REFUSED or by_class is _MALFORMED):
        return by_status
    return by_class or by_status or Meaning("failed")

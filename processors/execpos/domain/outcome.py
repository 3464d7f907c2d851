"""What became of a record."""

from typing import Literal

import msgspec

from execpos.domain import limits
from execpos.errors import Park

Class = Literal["order", "fill", "duplicate", "conflict", "parked", "dead_letter", "control"]


class Outcome(msgspec.Struct, frozen=True):
    """What became of a record: its one class, and for a record that did not become state the reason, detail and marked key."""

    disposition: Class
    reason: str = ""
    detail: str = ""
    position_key: str = ""


ORDER, FILL, DUPLICATE, CONTROL = (Outcome(name) for name in ("order", "fill", "duplicate", "control"))


def parked(park: Park, position_key: str) -> Outcome:
    """Return the outcome of a record that could not become state; what the error quotes of it is cut to a sensible length."""
    return Outcome(_CLASS[park.disposition], park.reason, limits.cut(park.what, limits.DETAIL_CHARS_MAX), position_key)


_CLASS: dict[str, Class] = {"dead_letter": "dead_letter", "parked": "parked", "conflict": "conflict"}

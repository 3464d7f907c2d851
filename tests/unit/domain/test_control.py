"""Releases of latched states: one operator's record for several sources of one scope."""

import pytest

from execpos.domain import control
from execpos.domain.events import TradingControl


def record(source: str, control_id: str, releases: str = "", state: str = "HALTED", *, latched: bool = True) -> TradingControl:
    return TradingControl("*", source, state, control_id, "", "", latched=latched, releases=releases, evidence={}, ts=0)


@pytest.mark.parametrize(
    ("releases", "state"),
    [
        ("", "HALTED"),
        ("r-1", "HALTED"),
        ("a-1", "HALTED"),
        ("r-1 a-1", "ACTIVE"),
        ("a-1  r-1 x", "ACTIVE"),
        ("r-1a-1", "HALTED"),
        ("r", "HALTED"),
    ],
)
def test_every_latched_source_has_to_be_named(releases: str, state: str) -> None:
    operator = record("operator", "o-1", releases, "ACTIVE", latched=False)
    records = {"*": {"reconciler": record("reconciler", "r-1"), "auditor": record("auditor", "a-1"), "operator": operator}}
    assert control.effective(records, ("*",)).state == state


def test_a_source_may_go_on_once_it_is_among_those_released() -> None:
    before, after = record("reconciler", "r-1"), record("reconciler", "r-2", state="ACTIVE", latched=False)
    assert control.may_follow(after, before, record("operator", "o-1", "a-1 r-1", "ACTIVE"))
    assert not control.may_follow(after, before, record("operator", "o-1", "a-1", "ACTIVE"))


def test_nothing_releases_itself_what_is_not_latched_or_what_has_no_name() -> None:
    own = record("operator", "o-1", "o-1")
    assert control.stands(own, {"operator": own})
    assert control.stands(record("reconciler", "r-1", latched=False), {"operator": record("operator", "o", "r-1")})
    assert control.stands(record("reconciler", ""), {"operator": record("operator", "o")})

"""The bridge of a login on the in-memory twin: what it does at the start, while it runs, and at the end."""

from collections import Counter
from pathlib import Path

from bridge_world import KEY, ScriptedBroker, World, made, running, wait_for


def test_a_login_is_started_in_the_order_that_loses_nothing(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    broker.records = [("SDEAL", broker.deal(1))]
    with running(made(world, broker, tmp_path)):
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        broker.send(2)
        wait_for("the deal", lambda: [r for r in world.raw() if r.kind == "SDEAL"])

    asked = [call for call in broker.calls if call not in {"maintain", "cache_health", "budget"}]
    first = ["connect", "accounts", "set_order_callback", "set_connection_callback", "set_quote_callback", "start", "update_status"]
    assert asked[: len(first)] == first
    assert asked[-1] == "stop"
    records = world.raw()
    assert [r.bridge_seq for r in records] == list(range(1, len(records) + 1))
    assert records[0].kind == records[-1].kind == "BEAT"
    counts = Counter(r.kind for r in records)
    assert (counts["SDEAL"], counts["CATCHUP_SDEAL"]) == (1, 1)
    assert {r.account for r in records} == {KEY}


def test_heartbeats_begin_with_the_claim_and_end_closed(tmp_path: Path) -> None:
    world, broker = World(), ScriptedBroker()
    with running(made(world, broker, tmp_path)):
        wait_for("beats", lambda: len(world.heartbeats()) > 5)

    beats = world.heartbeats()
    kinds = [beat.kind for beat in beats]
    assert kinds[0] == "CLAIM"
    assert kinds[-1] == "CLOSED"
    assert set(kinds[1:-1]) == {"BEAT"}
    assert beats[-1].session == "closed"
    assert {(beat.bridge_id, beat.incarnation, beat.claim_id) for beat in beats} == {("b", 1, beats[0].claim_id)}
    assert beats[-2].remaining_accounting == 20
    assert beats[-2].open_gaps == 0
    assert beats[-2].last_catchup_ts > 0

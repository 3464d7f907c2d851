"""Working orders: sums that are kept up to date equal sums that are made anew, whatever comes in whatever order."""

from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from client_world import fill, order
from execpos.client.working import Orders

ORDERS = ("a", "b", "c")
events = st.lists(
    st.one_of(
        st.tuples(
            st.just("order"),
            st.sampled_from(ORDERS),
            st.integers(1, 6),
            st.sampled_from(["OPEN", "OPEN", "CANCELLED", "REJECTED", "UNKNOWN"]),
            st.integers(0, 400),
        ),
        st.tuples(st.just("fill"), st.sampled_from(ORDERS), st.integers(0, 1200), st.just(""), st.just(0)),
    ),
    max_size=40,
)


@given(events)
def test_sums_equal_what_the_open_orders_add_up_to(history: list[tuple[str, str, int, str, int]]) -> None:
    orders = Orders(lambda event: "cash" if event.order_cond == "Cash" else "*")
    for at, (kind, name, number, reported, cancelled) in enumerate(history):
        strategy, side = ("alpha", "BUY") if name != "b" else ("beta", "SELL")
        more: dict[str, Any] = {"strategy_id": strategy, "side": side, "source_offset": at, "order_cond": "Cash" if name != "c" else "?"}
        if kind == "order":
            orders.put_order(order(name, revision=number, reported=reported, cancelled=cancelled, **more))
        else:
            more.pop("order_cond")
            orders.put_fill(fill(at, name, cum=number, **more))
    expected: dict[tuple[str, str], int] = defaultdict(int)
    for one in orders.orders():
        assert one.leaves == max(0, one.event.quantity - one.event.cancelled - one.cum_filled) > 0
        assert one.event.reported == "OPEN"
        for strategy in (one.event.strategy_id, "*"):
            expected[strategy, one.event.side] += one.leaves
    account = order("a").account
    for strategy in ("alpha", "beta", "*"):
        working = orders.working(account, "2330", "cash", strategy)
        assert (working.buy, working.sell) == (expected[strategy, "BUY"], expected[strategy, "SELL"])

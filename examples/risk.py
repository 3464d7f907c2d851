"""Asks the gate about an order in every symbol of an account, and prints the answers.

    python examples/risk.py simulation|S|9A95|1234567

While the reconciler is silent, or is still comparing after a start, everything is denied: `--unwatched` shows what the limits alone say.
"""

import sys
import time

from execpos import PositionView, RiskGate
from execpos.client.limits import Limits, table
from execpos.domain.ids import NET, WHOLE_ACCOUNT
from execpos.domain.money import MICROS
from execpos.telemetry import log

LIMITS = table(
    Limits(net_quantity=200_000, net_notional=50_000_000 * MICROS),
    strategies={"alpha": Limits(strategy_quantity=200_000, order_notional=5_000_000 * MICROS)},
)


def main() -> None:
    """Ask for each position once, and end."""
    log.configure("WARNING")
    unwatched = "--unwatched" in sys.argv
    accounts = [word for word in sys.argv[1:] if not word.startswith("--")]
    with PositionView.open() as view:
        view.wait_ready()
        gate = RiskGate(view, LIMITS, () if unwatched else None)
        deadline_s = time.monotonic() + 10
        while time.monotonic() < deadline_s and not all(view.freshness(account).fresh for account in view.accounts()):
            time.sleep(0.1)
        for position in view.positions(strategy_id=NET):
            state = position.state
            if state.symbol == WHOLE_ACCOUNT or (accounts and state.account not in accounts):
                continue
            price = position.average_price if position.mark is None else position.mark.price
            decision = gate.check(state.account, "alpha", state.symbol, state.book, "BUY", 1_000, price)
            answer = "allowed" if decision.allowed else "; ".join(f"{denial.reason} ({denial.detail})" for denial in decision.denials)
            print(f"{state.account} {state.symbol:<10} {state.book:<10} {position.quantity:>8,} {answer}", flush=True)


if __name__ == "__main__":
    main()

"""A thousand days of polling, requests, lost sessions, suspensions and kills, watched by a checker that shares no code with the budget.

The broker's side counts each call at a moment of its own choice between the call's beginning and its end. It holds the published limits
over any span, and the stricter share that is used; it notes a login inside of a suspension that it has imposed.
"""

import random
from collections import Counter, deque
from datetime import date
from types import SimpleNamespace
from typing import Any

from execpos.brokers.protocol import BrokerError
from shioaji_fake import Rig, Word

DAYS = 1_000
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

# As the broker publishes them; methods of no published group are counted in each that they may belong to.
GROUPS = {"accounting": (25, 5), "orders": (250, 10), "data": (50, 10)}
GROUPS_OF = {
    "list_positions": ("accounting",),
    "list_position_detail": ("accounting",),
    "list_profit_loss": ("accounting",),
    "update_status": ("orders",),
    "subscribe_trade": ("orders",),
    "order_deal_records": ("orders", "accounting"),
    "subscribe": ("data",),
    "unsubscribe": ("data",),
}
SHARE = 0.8


class Checker:
    """The broker's counting, and the suspensions that it imposes out of the blue."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.windows: dict[str, deque[int]] = {name: deque() for name in GROUPS}
        self.logins: deque[int] = deque()
        self.most: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.suspended_until_us = 0
        self.offences: list[str] = []

    def count(self, method: str, start_us: int, end_us: int) -> None:
        at_us = self.chance.randint(start_us, end_us)
        self.calls[method] += 1
        if start_us < self.suspended_until_us:
            self.offences.append(f"{method} at {start_us} inside of a suspension until {self.suspended_until_us}")
        for group in GROUPS_OF.get(method, ()):
            calls, span_s = GROUPS[group]
            self._slide(group, self.windows[group], at_us, span_s * SECOND_US, calls)
        if method == "login":
            self._slide("logins", self.logins, at_us, DAY_US, 1_000)

    def _slide(self, group: str, window: deque[int], at_us: int, span_us: int, calls: int) -> None:
        while window and window[0] < at_us - span_us:
            window.popleft()
        window.append(at_us)
        self.most[group] = max(self.most[group], len(window))
        if len(window) > calls * SHARE:
            self.offences.append(f"{len(window)} calls of {group} within {span_us / 1e6:.0f} s before {at_us}")


def position(number: int) -> Any:
    row = {
        "id": number,
        "code": f"{2300 + number}",
        "direction": Word("Buy"),
        "quantity": 1000,
        "price": 1.0,
        "last_price": 1.0,
        "pnl": 0.0,
    }
    return SimpleNamespace(**(row | {"yd_quantity": 0, "cond": Word("Cash")}))


class World:
    """A bridge's day, compressed to its bursts; in between, time passes."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.rig = Rig()
        self.checker = Checker(self.chance)
        self.rig.desk.latency = lambda _: self.chance.choice((0.002, 0.02, 0.02, 0.3, 4.0 if self.chance.random() < 0.02 else 0.05))
        self.rig.desk.answers["list_positions"] = [position(n) for n in range(3)]
        self.rig.up()
        self.seen = 0
        self.refused: Counter[str] = Counter()
        self.restarts = 0
        self.suspensions = 0

    def settle(self) -> None:
        """Hand what was asked since the last time to the checker."""
        for call in self.rig.desk.calls[self.seen :]:
            if call.method not in {"logout", "list_trades", "trade_cache_health"}:
                self.checker.count(call.method, call.start_us, call.end_us)
        self.rig.desk.calls.clear()
        self.rig.desk.clients = self.rig.desk.clients[-1:]
        self.rig.told.clear()
        self.seen = 0

    def ask(self, question: Any) -> None:
        try:
            question()
        except BrokerError as error:
            self.refused[error.kind] += 1

    def poll(self) -> None:
        broker = self.rig.broker
        for account in broker.accounts():
            self.ask(lambda account=account: broker.update_status(account))
            self.ask(lambda account=account: broker.order_deal_records(account))
            self.ask(lambda account=account: broker.positions(account))

    def people(self) -> None:
        """Somebody asks for everything, as fast as he can."""
        broker = self.rig.broker
        account = broker.accounts()[0]
        for _ in range(self.chance.randint(5, 60)):
            kind = self.chance.random()
            if kind < 0.6:
                self.ask(lambda: broker.positions(account))
            elif kind < 0.8:
                self.ask(lambda: broker.position_lots(account, 0))
            else:
                self.ask(lambda: broker.profit_loss(account, date(2026, 5, 1), date(2026, 5, 2)))

    def storm(self) -> None:
        """Many refreshes at once."""
        broker = self.rig.broker
        account = broker.accounts()[0]
        usual, self.rig.desk.latency = self.rig.desk.latency, lambda _: self.chance.choice((0.001, 0.01))
        for _ in range(self.chance.randint(150, 420)):
            self.ask(lambda: broker.update_status(account))
        self.rig.desk.latency = usual

    def lose(self) -> None:
        """The session falls, some times in a row."""
        for _ in range(self.chance.randint(1, 5)):
            if self.rig.desk.client.on_session_down is not None:
                self.rig.desk.client.on_session_down()
            self.rig.run(self.chance.choice((1, 5, 60)), step_s=self.chance.choice((0.5, 5)))
            self.poll()

    def kill(self) -> None:
        """The process is killed in the middle of it and started at once; the supervisor does so until it is up."""
        self.settle()
        for _ in range(self.chance.randint(1, 3)):
            self.restarts += 1
            self.rig.broker = self.rig.make()
            if self.chance.random() < 0.5:
                self.rig.clock.sleep(self.chance.choice((0.2, 2, 20)))
            self.connect()
            self.people()

    def connect(self) -> None:
        while True:
            try:
                self.rig.up()
            except BrokerError as error:
                self.refused[error.kind] += 1
                self.rig.clock.sleep(5)
                if error.kind == "failed":
                    self.rig.broker = self.rig.make()
            else:
                return

    def suspend(self) -> None:
        """The broker shuts us out, in one of its two forms; a restart in the middle is as likely as not."""
        desk = self.rig.desk
        good = dict(desk.answers)
        name = self.chance.choice(("SystemMaintenance", "TokenError"))
        self.suspensions += 1

        def shut_out(**_: Any) -> Exception:
            # For a minute from the first refusal; what is asked meanwhile would prolong it, and the checker notes it.
            if self.checker.suspended_until_us <= desk.clock.now_us:
                self.settle()
                self.checker.suspended_until_us = desk.clock.now_us + 60 * SECOND_US
            made: type[Exception] = type(name, (Exception,), {})
            return made("out")

        desk.answers.update(dict.fromkeys(("list_positions", "update_status", "order_deal_records"), shut_out))
        self.poll()
        desk.answers.update(good)
        self.people()
        if self.chance.random() < 0.5:
            self.rig.broker = self.rig.make()
            self.restarts += 1
            self.connect()
        for _ in range(6):
            self.rig.run(20, step_s=1)
            self.poll()

    def day(self) -> None:
        ends_us = self.rig.clock.now_us + DAY_US
        events = [self.poll] * 14 + [self.people] * 3
        for event, chance in ((self.storm, 0.25), (self.lose, 0.5), (self.kill, 0.3), (self.suspend, 0.2)):
            if self.chance.random() < chance:
                events.append(event)
        self.chance.shuffle(events)
        for n, event in enumerate(events):
            event()
            self.settle()
            # To the next burst in steps of many seconds; a bridge would look each second.
            left_s = max(1.0, (ends_us - self.rig.clock.now_us) / SECOND_US / (len(events) - n))
            for _ in range(6):
                self.rig.run(left_s / 6, step_s=left_s / 6)
        self.settle()


def test_a_thousand_days_never_exceed_a_limit_and_no_login_falls_into_a_suspension() -> None:
    world = World(seed=20_260_519)
    began_us = world.rig.clock.now_us
    for _ in range(DAYS):
        world.day()

    checker = world.checker
    assert checker.offences == []
    assert world.rig.clock.now_us - began_us > 0.99 * DAYS * DAY_US
    # What was tried was enough to be refused, and to reach the limits that are used.
    assert checker.most["accounting"] == 20
    assert checker.most["orders"] == 200
    assert 3 <= checker.most["logins"] <= 800
    assert world.suspensions > 100
    assert world.restarts > 300
    assert checker.calls["login"] > 2_000
    assert sum(checker.calls.values()) > 200_000
    assert world.refused["suspended"] > 100
    assert world.rig.broker.session == "up"


def test_the_checker_finds_what_it_is_for() -> None:
    checker = Checker(random.Random(1))
    for n in range(20):
        checker.count("list_positions", n, n)
    assert checker.offences == []
    checker.count("order_deal_records", 5 * SECOND_US, 5 * SECOND_US)
    checker.suspended_until_us = 10 * SECOND_US
    checker.count("login", 9 * SECOND_US, 11 * SECOND_US)

    assert len(checker.offences) == 2

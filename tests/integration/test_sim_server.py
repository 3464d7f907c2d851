"""The simulated broker as a process of its own: it outlives its clients, whatever becomes of them."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from execpos.brokers.sim import wire
from execpos.brokers.sim.api import SimApi
from execpos.brokers.sim.errors import AuthError, ShioajiConnectionError, ValidationError
from execpos.brokers.sim.facts import rows_of
from execpos.brokers.sim.link import open_link
from execpos.brokers.sim.scenario import parse
from execpos.brokers.sim.server import Server
from execpos.brokers.sim.venue import Venue
from execpos.errors import UsageError

pytestmark = pytest.mark.stack

DEADLINE_S = 60.0
COMMAND = (sys.executable, "-W", "error", "-c", "from execpos.cli.sim import sim; sim()", "serve")
# Says how many reports it has heard; never leaves by itself.
CLIENT = """
import sys, threading
from execpos.brokers.sim.api import SimApi
from execpos.brokers.sim.link import open_link
api = SimApi(open_link(sys.argv[1]))
count = 0
def heard(state, event):
    global count
    count += 1
    if count == 200:
        print("heard", flush=True)
api.login("key", "secret", subscribe_trade=False)
api.set_order_callback(heard)
for account in api.list_accounts():
    api.subscribe_trade(account)
threading.Event().wait()
"""


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def scenario(**fields: Any) -> Any:
    return parse({"seed": 3, "rate": 1000, "pace": 1, "sessions": [{"start": "2026-05-21T09:00", "seconds": 3600}]} | fields, str)


@pytest.fixture(params=["tcp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    venue = Venue(scenario())
    made = Server(venue, "127.0.0.1:0" if request.param == "tcp" else f"unix:{tmp_path / 'broker'}")
    venue.start()
    made.start()
    yield made
    made.stop()
    venue.stop()
    assert venue.error is None


def connected(server: Server) -> int:
    return len(server._venue.clients())


def test_a_client_may_be_killed_at_any_moment(server: Server) -> None:
    for number in range(4):
        child = subprocess.Popen([sys.executable, "-c", CLIENT, server.address], stdout=subprocess.PIPE)
        assert child.stdout is not None
        if number:
            assert child.stdout.readline() == b"heard\n"
        else:
            eventually(lambda: connected(server) == 1)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        eventually(lambda: connected(server) == 0)

    api = SimApi(open_link(server.address))
    heard: list[str] = []
    accounts = api.login("key", "secret", subscribe_trade=False)
    api.set_order_callback(lambda _, event: heard.append(event["event_id"]))
    for account in accounts:
        api.subscribe_trade(account)
    eventually(lambda: len(heard) > 100)
    truth = api.sim_truth()
    assert truth["counts"]["lost"] > 0
    lost = {fault["event_id"] for fault in truth["faults"] if fault["kind"] == "lost"}
    assert lost <= {event["event_id"] for account in accounts for _, event in api.order_deal_records(account)}
    assert rows_of(truth)
    api.sim_close()
    eventually(lambda: connected(server) == 0)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\x00",
        b"\x00\x00\x00\x10half of it",
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
        struct.pack(">I", 5) + b"\x93\x01\xa1x\xc0",
        struct.pack(">I", 1) + b"\x2a",
    ],
)
def test_frames_that_are_none_end_one_client_and_no_other(server: Server, sent: bytes) -> None:
    good = open_link(server.address)
    assert good.call("sim_finished", {}) is False
    bad = wire.connect(server.address, 10)
    eventually(lambda: connected(server) == 2)
    bad.sendall(sent)
    bad.close()
    eventually(lambda: connected(server) == 1)

    assert good.call("sim_finished", {}) is False
    good.close()


def test_errors_of_the_library_come_over_the_wire(server: Server) -> None:
    api = SimApi(open_link(server.address))
    with pytest.raises(AuthError):
        api.login("", "secret")
    api.login("key", "secret")
    with pytest.raises(ValidationError, match="no such method"):
        api._ask("place_order")
    with pytest.raises(ValidationError, match="lacks"):
        api._ask("list_positions")
    api.sim_close()
    with pytest.raises(ShioajiConnectionError):
        api.list_positions()


def test_several_threads_may_call_and_callbacks_too(server: Server) -> None:
    api = SimApi(open_link(server.address))
    answers: list[Any] = []
    api.login("key", "secret", subscribe_trade=False)
    # A call within a callback holds up the next callback, and nothing else.
    api.set_order_callback(lambda *_: answers.append(api.usage().connections) if len(answers) < 5 else None)
    for account in api.list_accounts():
        api.subscribe_trade(account)
    threads = [threading.Thread(target=lambda: [api.order_deal_records() for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive()
    eventually(lambda: len(answers) >= 5)
    api.sim_close()

    assert answers[0] == 1


def test_a_client_hears_that_the_server_is_gone() -> None:
    venue = Venue(scenario())
    server = Server(venue)
    venue.start()
    server.start()
    api = SimApi(open_link(server.address))
    down = threading.Event()
    api.login("key", "secret")
    api.set_session_down_callback(down.set)
    server.stop()
    venue.stop()

    assert down.wait(DEADLINE_S)
    with pytest.raises(ShioajiConnectionError):
        api.list_positions()
    with pytest.raises(ShioajiConnectionError):
        api.login("key", "secret")
    api.sim_close()


def test_a_client_that_reads_nothing_is_let_go_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execpos.brokers.sim.server.PUSHES_MAX", 2_000)
    monkeypatch.setattr("execpos.brokers.sim.venue._WAITING_MAX", 1_000_000)
    venue = Venue(scenario(pace=0, rate=10_000, sessions=[{"start": "2026-05-21T09:00", "events": 60_000}]))
    server = Server(venue)
    venue.start()
    server.start()
    deaf = wire.connect(server.address, 10)
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    login = {"api_key": "key", "secret_key": "secret", "subscribe_trade": True, "force_refresh": False}
    wire.send(deaf, [1, "login", login])

    eventually(lambda: venue.finished)
    assert [fault["kind"] for fault in venue.truth()["faults"] if fault["kind"] == "slow_client"] == ["slow_client"]
    assert not venue.clients()
    deaf.close()
    server.stop()
    venue.stop()


def test_an_address_of_another_machine_is_refused() -> None:
    for address in ("0.0.0.0:0", "example.org:80", "127.0.0.1", "127.0.0.1:x"):
        with pytest.raises(UsageError, match="not of this machine"):
            Server(Venue(scenario()), address)


def test_serve_prints_its_address_and_ends_on_sigterm_with_the_truth(tmp_path: Path) -> None:
    config = tmp_path / "day.yaml"
    config.write_text("rate: 1000\npace: 0\nsessions: [{start: 2026-05-21T09:00, events: 2000}]\n")
    truth = tmp_path / "truth.json"
    arguments = [*COMMAND, "--scenario", str(config), "--seed", "9", "--truth", str(truth), "--json"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env={**os.environ}) as child:
        assert child.stdout is not None
        printed = json.loads(child.stdout.readline())
        api = SimApi(open_link(printed["address"]))
        heard: list[Any] = []
        api.login("key", "secret", subscribe_trade=False)
        api.set_order_callback(lambda *report: heard.append(report))
        for account in api.list_accounts():
            api.subscribe_trade(account)
        eventually(api.sim_finished)
        found = api.sim_truth()
        eventually(lambda: len(heard) == found["counts"]["callbacks"])
        api.sim_close()
        child.terminate()
        assert child.wait(DEADLINE_S) == 0

    assert printed["seed"] == found["seed"] == 9
    assert json.loads(truth.read_text()) == found

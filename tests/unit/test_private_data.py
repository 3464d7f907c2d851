"""What belongs to a person or is a secret is in nothing that leaves the bridge's memory, wherever a report has it."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import structlog

from bridge_world import ScriptedBroker, made, running, wait_for
from callback_samples import LINES
from execpos.telemetry import log
from pipeline_world import FullWorld

# Made up. The number has a valid check digit; the certificate has the form of one.
PERSON, USER = "A123456789", "王小明"
CERTIFICATE = base64.b64encode(bytes(range(7, 150))).decode()
SECRETS = {"person_id": PERSON, "username": USER, "ca": CERTIFICATE}


def leaves(payload: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in payload.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name)


def with_value(payload: Any, path: tuple[str, ...], value: Any) -> Any:
    name, *rest = path
    return {**payload, name: with_value(payload[name], tuple(rest), value) if rest else value}


def planted(payload: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a report with each secret in the place of each field, inside its text, and beside it under its own and another name."""
    for path in leaves(payload):
        for name, secret in SECRETS.items():
            yield with_value(payload, path, secret)
            yield with_value(payload, path, f"客戶{secret}額度不足")
            yield with_value(payload, path, {name: secret, "other": [secret, {secret: secret}]})
            yield with_value(payload, (*path[:-1], name), secret)
            yield with_value(payload, (*path[:-1], "unheard_of"), secret)
            yield with_value(payload, (*path[:-1], secret), 1)


def forms(secret: str) -> list[bytes]:
    """Return a secret as it may stand in bytes: plain, as JSON escapes, reversed encodings not among them."""
    return [secret.encode(), json.dumps(secret)[1:-1].encode(), secret.encode("utf-16-le"), base64.b64encode(secret.encode())]


def found_in(data: bytes) -> list[str]:
    # A part of a certificate is one too.
    parts = {**SECRETS, "part of ca": CERTIFICATE[40:80]}
    return [name for name, secret in parts.items() if any(form in data for form in forms(secret))]


def everything(world: FullWorld, folder: Path, logs: str) -> dict[str, bytes]:
    """Return all that has left memory, by where it is."""
    kept = {"log": logs.encode(), "metrics": prometheus_client.generate_latest()}
    for topic, made_topic in world.broker.topics.items():
        records = [message for log in made_topic.logs for message in log.committed(0, log.high)]
        kept[topic] = b"\0".join(field or b"" for message in records for field in (message.key(), message.value()))
    for path in folder.rglob("*"):
        if path.is_file():
            kept[f"file {path.name}"] = path.name.encode() + path.read_bytes()
    return kept


class Person(ScriptedBroker):
    """A login whose owner the library names, as the real one does."""

    def private_words(self) -> tuple[str, ...]:
        return (PERSON, USER)


@pytest.fixture
def _logging_of_its_own() -> Iterator[None]:
    yield
    # The test lets it write to the stream that it captures.
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging_of_its_own")
@pytest.mark.parametrize("kinds", ["callbacks", "records"])
def test_nothing_of_a_person_leaves_memory_wherever_a_report_has_it(kinds: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log.configure(json=True)
    world, broker = FullWorld(), Person()
    reports = [(line["kind"], payload) for line in LINES for payload in planted(line["payload"])]
    assert len(reports) > 5_000
    if kinds == "records":
        broker.records = reports
    with running(made(world, broker, tmp_path)) as run:
        wait_for("the baseline", lambda: broker.called("order_deal_records"))
        if kinds == "callbacks":
            for kind, payload in reports:
                broker.report(kind, payload)
            broker.report(f"SDEAL{USER}", {})
            broker.report(PERSON, USER)
        wait_for("all reports", lambda: run.bridge.report().acknowledged >= len(reports) * 0.9)
    world.settle()

    # Records of the same content after redaction are put once.
    assert len([record for record in world.raw() if record.kind.endswith(("ORDER", "DEAL"))]) >= len(reports) * 0.9
    assert len(world.dead_letters()) > 1_000
    kept = everything(world, tmp_path, "".join(capfd.readouterr()))
    filled = {name for name, data in kept.items() if data}
    assert filled >= {"log", "metrics", "t.exec.raw.v1", "t.exec.dead-letters.v1", "t.exec.heartbeats.v1"}
    assert "unknown_fields_found" in kept["log"].decode()
    assert {name: found_in(data) for name, data in kept.items() if found_in(data)} == {}

"""Schemas against the real registry: ids that survive a restart, and a registry that is not there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka.schema_registry import Schema

from execpos.cli.main import cli
from execpos.codecs import avro
from execpos.codecs.avro import Decoder, Encoder
from execpos.codecs.registry import Registry
from execpos.domain.events import FillEvent, Intent
from execpos.errors import ContractError, DependencyError
from execpos.local.registry import Registry as Server

pytestmark = pytest.mark.stack

INTENT = Intent("i-1", "simulation|S|9A95|1234567", "momentum-1", "2026-05-21D", "348d1c6a", "", {"why": "測試"}, 1779331286650000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("registry"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def client(server: Server) -> Iterator[Registry]:
    made = Registry(server.url)
    yield made
    made.close()


def test_registered_schemas_have_ids_that_are_checked_by_content(client: Registry) -> None:
    done = client.register("one.")
    ids = client.ids("one.")

    assert all(each.new for each in done)
    assert ids.keys() == set(avro.RECORDS)
    assert {each.record: each.schema_id for each in done} == {record.__name__: number for record, number in ids.items()}
    assert len(set(ids.values())) == len(ids)
    assert not any(each.new for each in client.register("one."))


def test_bytes_written_with_an_id_are_read_by_what_the_registry_says_it_is(client: Registry) -> None:
    client.register("two.")
    number = client.ids("two.")[Intent]
    subject = "two.exec.intents.v1-value"

    value = Encoder(Intent, number)(INTENT)

    assert Decoder(Intent, client.writers(subject))(value) == INTENT


def test_a_registry_without_our_schemas_is_a_contract_error(client: Registry) -> None:
    with pytest.raises(ContractError, match="does not hold our schema"):
        client.ids("nobody.")


def test_a_reworded_schema_registered_by_another_version_is_still_ours(client: Registry) -> None:
    schema = json.loads(avro.schema_text(FillEvent))
    schema["doc"] = "reworded"
    older = client._client.register_schema("three.exec.fills.v1-value", _schema(json.dumps(schema)))
    client.register("three.")

    assert client.ids("three.")[FillEvent] == older


def test_a_released_schema_is_guarded_by_the_registry_too(client: Registry) -> None:
    client.register("four.", enforce=True)
    schema = json.loads(avro.schema_text(FillEvent))
    schema["fields"].append({"name": "more", "type": "string"})

    refused = client._call(lambda: client._client.test_compatibility("four.exec.fills.v1-value", _schema(json.dumps(schema))))

    assert refused is False


def test_the_commands_register_and_check(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECPOS_REGISTRY__URL", server.url)
    monkeypatch.setenv("EXECPOS_KAFKA__PREFIX", "cli.")
    run = CliRunner()

    before = run.invoke(cli, ["schemas", "check", "--json"])
    done = run.invoke(cli, ["schemas", "register", "--json"])
    after = run.invoke(cli, ["schemas", "check", "--json"])

    assert isinstance(before.exception, ContractError)
    shown = json.loads(done.stdout)["schemas"]
    assert {each["record"] for each in shown} == {record.__name__ for record in avro.RECORDS}
    assert {each["subject"] for each in shown if each["record"] == "RawExecEvent"} == {"cli.exec.raw.v1-value"}
    assert json.loads(after.stdout)["ok"] is True


def test_a_registry_that_is_not_there_is_a_dependency_error() -> None:
    client = Registry("http://127.0.0.1:9/apis/ccompat/v7", 1)

    with pytest.raises(DependencyError) as caught:
        client.ids("")

    assert "http://127.0.0.1:9/" in caught.value.what
    client.close()


def test_ids_are_the_same_after_a_restart(tmp_path: Path) -> None:
    first = Server(tmp_path / "data")
    first.start()
    try:
        client = Registry(first.url)
        client.register("")
        before = client.ids("")
        client.close()
    finally:
        first.stop()
    second = Server(tmp_path / "data")
    second.start()
    try:
        client = Registry(second.url)
        assert client.ids("") == before
        client.close()
    finally:
        second.stop()


def _schema(text: str) -> Schema:
    return Schema(text, "AVRO")

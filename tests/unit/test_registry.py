"""The registry's side of the schemas, against a registry in memory."""

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema
from confluent_kafka.schema_registry.error import SchemaRegistryError

from execpos.codecs import avro, registry
from execpos.domain.events import FillEvent, PositionSnapshot, RawExecEvent
from execpos.errors import ContractError, DependencyError

TOPICS = {"exec.raw.v1": "RawExecEvent", "exec.fills.v1": "FillEvent"}


class InMemory:
    """As much of the client as execpos uses. `failure` is raised by every call."""

    def __init__(self) -> None:
        self.subjects: dict[str, list[tuple[int, str]]] = {}
        self.levels: dict[str, str] = {}
        self.failure: Exception | None = None
        self.closed = False

    def _subject(self, name: str) -> list[tuple[int, str]]:
        if self.failure:
            raise self.failure
        if name not in self.subjects:
            raise SchemaRegistryError(404, 40401, "no such subject")
        return self.subjects[name]

    def get_versions(self, name: str) -> list[int]:
        return list(range(1, len(self._subject(name)) + 1))

    def get_version(self, name: str, number: int) -> Any:
        schema_id, text = self._subject(name)[number - 1]
        return SimpleNamespace(schema_id=schema_id, schema=Schema(text, "AVRO"))

    def register_schema(self, name: str, schema: Schema) -> int:
        made = 1 + sum(map(len, self.subjects.values()))
        self.subjects.setdefault(name, []).append((made, str(schema.schema_str)))
        return made

    def set_compatibility(self, name: str, level: str) -> str:
        self.levels[name] = level
        return level

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def memory() -> InMemory:
    return InMemory()


@pytest.fixture
def ours(memory: InMemory, monkeypatch: pytest.MonkeyPatch) -> Iterator[registry.Registry]:
    monkeypatch.setattr(registry, "_topic_records", lambda: TOPICS)
    made = registry.Registry("http://user:hunter2@127.0.0.1:1/apis", 1)
    made.close()
    made._client = memory  # type: ignore[assignment]
    yield made
    made.close()
    assert memory.closed


def test_a_subject_is_the_topic_with_prefix_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_topic_records", lambda: TOPICS)

    found = registry.subjects("dev.")

    assert [(s.name, s.topic, s.record) for s in found] == [
        ("dev.exec.raw.v1-value", "exec.raw.v1", RawExecEvent),
        ("dev.exec.fills.v1-value", "exec.fills.v1", FillEvent),
    ]


def test_a_topic_with_a_record_that_has_no_schema_breaks_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_topic_records", lambda: {"exec.x.v1": "Nothing"})

    with pytest.raises(ContractError, match="there is no such record"):
        registry.subjects("")


def test_the_contract_of_topics_names_every_record_once_and_snapshots_twice() -> None:
    # A checkpoint is a snapshot that is kept for longer.
    named = sorted([*(record.__name__ for record in avro.RECORDS), PositionSnapshot.__name__])
    assert sorted(s.record.__name__ for s in registry.subjects("")) == named


def test_registering_twice_changes_nothing(ours: registry.Registry, memory: InMemory) -> None:
    first = ours.register("dev.")
    second = ours.register("dev.")

    assert [(each.subject, each.schema_id, each.new) for each in first] == [
        ("dev.exec.raw.v1-value", 1, True),
        ("dev.exec.fills.v1-value", 2, True),
    ]
    assert [(each.schema_id, each.new) for each in second] == [(1, False), (2, False)]
    assert {name: len(versions) for name, versions in memory.subjects.items()} == {"dev.exec.raw.v1-value": 1, "dev.exec.fills.v1-value": 1}
    assert memory.levels == {}


def test_from_the_first_release_on_the_registry_enforces_too(ours: registry.Registry, memory: InMemory) -> None:
    ours.register("", enforce=True)

    assert memory.levels == {"exec.raw.v1-value": "FULL_TRANSITIVE", "exec.fills.v1-value": "FULL_TRANSITIVE"}


def test_ids_are_those_of_our_own_schemas_also_among_other_versions(ours: registry.Registry, memory: InMemory) -> None:
    older = json.dumps({"type": "record", "name": "FillEvent", "fields": []})
    memory.subjects["exec.fills.v1-value"] = [(7, older)]
    ours.register("")
    memory.subjects["exec.fills.v1-value"].append((99, older))

    found = ours.ids("")

    assert found[FillEvent] not in {7, 99}
    assert list(ours.writers("exec.fills.v1-value")) == [7, found[FillEvent], 99]


def test_docs_namespaces_and_layout_do_not_make_another_schema(ours: registry.Registry, memory: InMemory) -> None:
    schema = json.loads(avro.schema_text(FillEvent))
    for field in schema["fields"]:
        field["doc"] = "reworded"
        if isinstance(field["type"], str):
            field["type"] = {"type": field["type"]}
    memory.subjects["exec.fills.v1-value"] = [(5, json.dumps(schema, indent=2, sort_keys=True))]
    ours.register("")

    assert ours.ids("")[FillEvent] == 5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"timestamp-micros"', '"timestamp-millis"'),
        ('"digest", "type": "bytes"', '"digest", "type": "string"'),
        ('["BUY", "SELL"]', '["SELL", "BUY"]'),
    ],
)
def test_another_meaning_is_another_schema(old: str, new: str) -> None:
    text = avro.schema_text(FillEvent)

    assert old in text
    assert registry.fingerprint(text) != registry.fingerprint(text.replace(old, new))


def test_a_registry_that_lost_or_mixed_up_its_data_is_a_contract_error(ours: registry.Registry, memory: InMemory) -> None:
    with pytest.raises(ContractError, match="does not hold our schema of dev"):
        ours.ids("dev.")
    ours.register("")
    memory.subjects["exec.raw.v1-value"], memory.subjects["exec.fills.v1-value"] = (
        memory.subjects["exec.fills.v1-value"],
        memory.subjects["exec.raw.v1-value"],
    )

    with pytest.raises(ContractError) as caught:
        ours.ids("")
    assert caught.value.exit_code == 5
    assert "schemas register" in caught.value.hint


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionRefusedError("refused"),
        SchemaRegistryError(503, 50003, "busy"),
        SchemaRegistryError(401, 401, "who"),
        ValueError("no JSON"),
    ],
)
def test_a_registry_that_does_not_answer_is_a_dependency_error_without_secrets(
    ours: registry.Registry, memory: InMemory, failure: Exception
) -> None:
    memory.failure = failure

    for call in (lambda: ours.ids(""), lambda: ours.register(""), lambda: ours.writers("x")):
        with pytest.raises(DependencyError) as caught:
            call()
        assert caught.value.exit_code == 4
        assert "hunter2" not in str(caught.value)


def test_a_schema_that_the_registry_refuses_is_a_contract_error(ours: registry.Registry, memory: InMemory) -> None:
    memory.failure = SchemaRegistryError(409, 409, "incompatible")

    with pytest.raises(ContractError, match="incompatible"):
        ours.register("")


def test_a_record_of_two_topics_is_read_by_the_versions_of_both(
    ours: registry.Registry, memory: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_topic_records", lambda: {"exec.fills.v1": "FillEvent", "exec.kept.v1": "FillEvent"})
    older = json.dumps({"type": "record", "name": "FillEvent", "fields": []})
    memory.subjects["exec.fills.v1-value"] = [(7, older)]
    memory.subjects["exec.kept.v1-value"] = [(8, older)]
    ours.register("")

    found = ours.schemas("")

    assert {7, 8, found.ids[FillEvent]} <= found.writers[FillEvent].keys()


def test_a_subject_that_is_not_there_has_no_writers(ours: registry.Registry) -> None:
    assert ours.writers("exec.nothing.v1-value") == {}

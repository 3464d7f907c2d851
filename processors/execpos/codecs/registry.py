"""The schema registry as execpos uses it: subjects by topic, ids of our own schemas, and every version ever written.

A running component never registers; `execpos schemas register` does, before first use. At start each id is checked against our own text,
because a registry that lost its data gives other schemas the same ids, and kept bytes then decode wrongly without an error.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any, NamedTuple, TypeVar

import msgspec
import orjson
import yaml
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from execpos import resources
from execpos.codecs import avro
from execpos.errors import ContractError, DependencyError

T = TypeVar("T")

# The interface answers 404 for a subject or version that is not there.
_NOT_FOUND = 404
# Incompatible with an earlier version, or no valid schema.
_REFUSALS = frozenset({400, 409, 422})
# Writing schemas is rare and by hand; a reader waits for a restarting registry about so long.
_RETRIES = 2
# Questions at a time: one behind the other, the subjects took 0.7 s of every start.
_AT_A_TIME = 8


class Subject(NamedTuple):
    """A topic's value schema: its name in the registry, the topic without prefix, and the record class."""

    name: str
    topic: str
    record: type[msgspec.Struct]


class Registered(NamedTuple):
    """What `register` did for one subject."""

    subject: str
    record: str
    schema_id: int
    new: bool


class Schemas(msgspec.Struct, frozen=True):
    """What the registry says of our records: the id of each class, and the text of every version by its id."""

    ids: Mapping[type[msgspec.Struct], int]
    writers: Mapping[type[msgspec.Struct], Mapping[int, str]]


def subjects(prefix: str) -> tuple[Subject, ...]:
    """Return every subject, from the key `record` of each topic in `contracts/topics.yaml`.

    Raises:
        ContractError: the contract names a record that has no schema.
    """
    records = {record.__name__: record for record in avro.RECORDS}
    found = []
    for topic, name in _topic_records().items():
        if name not in records:
            raise ContractError(f"contracts/topics.yaml: topic {topic} holds {name!r}, and there is no such record", topic=topic)
        found.append(Subject(f"{prefix}{topic}-value", topic, records[name]))
    return tuple(found)


@cache
def _topic_records() -> Mapping[str, str]:
    topics: dict[str, dict[str, Any]] = yaml.safe_load(resources.text("contracts", "topics.yaml"))["topics"]
    # A topic without a record belongs to a component that is not there yet.
    return {name: str(topic["record"]) for name, topic in topics.items() if topic["record"]}


def fingerprint(text: str) -> str:
    """Return a digest over what decides how bytes are read and understood: all of a schema but docs, order of keys and white space."""
    return hashlib.sha256(orjson.dumps(_essence(orjson.loads(text)), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _essence(node: Any) -> Any:
    if isinstance(node, dict):
        kept = {key: _essence(value) for key, value in node.items() if key not in {"doc", "namespace", "aliases"}}
        # {"type": "string"} is "string"; a registry may write either.
        return kept["type"] if kept.keys() == {"type"} else kept
    if isinstance(node, list):
        return [_essence(item) for item in node]
    return node.rsplit(".", 1)[-1] if isinstance(node, str) and node.startswith("execpos.") else node


class Registry:
    """One registry. Each method blocks on the network, may be called again, and gives up after `timeout_s` and two more tries.

    Args:
        url: base of Confluent's interface.
        timeout_s: longest wait for one answer.
    """

    def __init__(self, url: str, timeout_s: float = 10) -> None:
        self._url = re.sub(r"//[^/@]*@", "//", url)
        self._client = SchemaRegistryClient({"url": url, "timeout": timeout_s, "max.retries": _RETRIES})

    def close(self) -> None:
        """Let go of the connections. May be called twice."""
        self._client.close()

    def register(self, prefix: str, *, enforce: bool = False) -> list[Registered]:
        """Register our schema of every topic; one that is there already, docs apart, is left as it is.

        Args:
            prefix: of the topics.
            enforce: let the registry itself refuse incompatible versions from now on (FULL_TRANSITIVE).

        Raises:
            DependencyError: no registry there.
            ContractError: the registry refuses a schema.
        """
        done = []
        for subject in subjects(prefix):
            text = avro.schema_text(subject.record)
            known = _own_id(self.writers(subject.name), text)
            if enforce:
                self._call(partial(self._client.set_compatibility, subject.name, "FULL_TRANSITIVE"))
            made = known or self._call(partial(self._client.register_schema, subject.name, Schema(text, "AVRO")))
            if made is None:
                raise ContractError(f"the registry at {self._url} did not take {subject.name}", subject=subject.name)
            done.append(Registered(subject.name, subject.record.__name__, made, known is None))
        return done

    def ids(self, prefix: str) -> dict[type[msgspec.Struct], int]:
        """Return record class -> id of our schema, checked by content.

        Raises:
            DependencyError: no registry there.
            ContractError: a subject does not hold our schema.
        """
        wanted = subjects(prefix)
        return self._ids(wanted, self._all_writers(wanted))

    def _all_writers(self, wanted: Sequence[Subject]) -> dict[str, dict[int, str]]:
        names = [subject.name for subject in wanted]
        with ThreadPoolExecutor(_AT_A_TIME, "registry") as pool:
            return dict(zip(names, pool.map(self.writers, names), strict=True))

    def _ids(self, wanted: Sequence[Subject], writers: Mapping[str, Mapping[int, str]]) -> dict[type[msgspec.Struct], int]:
        found: dict[type[msgspec.Struct], int] = {}
        missing = []
        for subject in wanted:
            schema_id = _own_id(writers[subject.name], avro.schema_text(subject.record))
            if schema_id is None:
                missing.append(subject.name)
            else:
                found[subject.record] = schema_id
        if missing:
            raise ContractError(
                f"the registry at {self._url} does not hold our schema of {', '.join(missing)}",
                hint="run `execpos schemas register`; if it was registered before, the registry has lost or mixed up its data",
                subjects=missing,
            )
        return found

    def schemas(self, prefix: str) -> Schemas:
        """Return ids and versions of all our records; of one that is in several topics, the versions of all of them.

        Raises:
            DependencyError: no registry there.
            ContractError: a subject does not hold our schema.
        """
        wanted = subjects(prefix)
        of_subject = self._all_writers(wanted)
        writers: dict[type[msgspec.Struct], dict[int, str]] = {}
        for subject in wanted:
            writers.setdefault(subject.record, {}).update(of_subject[subject.name])
        return Schemas(self._ids(wanted, of_subject), writers)

    def writers(self, subject: str) -> dict[int, str]:
        """Return id -> text of every version of a subject, oldest first; nothing when there is no such subject.

        Raises:
            DependencyError: no registry there.
        """
        versions = self._call(partial(self._client.get_versions, subject)) or []
        found: dict[int, str] = {}
        for version in sorted(versions):
            known = self._call(partial(self._client.get_version, subject, version))
            if known is not None and known.schema.schema_str is not None and known.schema_id is not None:
                found[known.schema_id] = known.schema.schema_str
        return found

    def _call(self, request: Callable[[], T]) -> T | None:
        """Return the answer, or None when what was asked for is not there."""
        try:
            return request()
        except SchemaRegistryError as error:
            status = error.http_status_code
            if status == _NOT_FOUND:
                return None
            if status in _REFUSALS:
                raise ContractError(f"the registry at {self._url} refuses: {error}", status=status) from error
            raise self._unreachable(error) from error
        except Exception as error:  # the client lets its HTTP library's errors through, and which library that is differs by version
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> DependencyError:
        return DependencyError(
            f"the schema registry at {self._url} does not answer as one: {type(error).__name__}: {error}",
            hint="start it (`execpos up`), or set EXECPOS_REGISTRY__URL",
        )


def _own_id(writers: Mapping[int, str], text: str) -> int | None:
    """Return the newest id whose schema is ours, docs apart."""
    own = fingerprint(text)
    return next((schema_id for schema_id, known in reversed(list(writers.items())) if fingerprint(known) == own), None)

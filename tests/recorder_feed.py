"""Topics with records in them for the tests of the recorder: made-up, but with every column filled and exact sums known."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, get_args, get_type_hints

import msgspec
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from execpos.codecs import avro
from execpos.domain import events
from execpos.recorder.options import Options
from execpos.recorder.tables import TABLES, Table

PARTITIONS = 2
# For liveness only; a loaded machine may need minutes where a quiet one needs seconds.
DEADLINE_S = 120.0
# 2026-05-21 01:00:00 UTC.
T0_US = 1_779_325_200_000_000
_DAY = 20_594


def record(kind: type[msgspec.Struct], i: int, **fields: object) -> Any:
    """Return record number `i` of a class, with every field told apart from its neighbours; `fields` replace some."""
    made = {name: _value(name, hint, i) for name, hint in get_type_hints(kind).items()}
    return kind(**{**made, **fields})


def _value(name: str, hint: Any, i: int) -> Any:  # noqa: C901, PLR0911, PLR0912 (a table of cases)
    if name.endswith("_ts") or name in {"ts", "record_timestamp"}:
        return T0_US + i * 1_000_001 + len(name)
    if name == "trading_date":
        return _DAY + i % 3
    if hint is bool:
        return i % 2 == 0
    if hint is bytes:
        return bytes([0, 255, i % 256, 39, 92]) + name.encode()
    if hint is int:
        return i * 1000 + len(name) if "partition" not in name else i % 7
    if hint is str:
        return f"{name}-{i}-台積電"
    if hint == dict[str, str]:
        return {f"b-{i}": name, "a": "台積電"} if i % 3 else {}
    if hint == tuple[str, ...]:
        return (f"{name}-{i}", "it's") if i % 2 else ()
    if hint == tuple[int, ...]:
        return (i, -i, 1 << 40)
    if hint in {tuple[events.CorrectionEntry, ...], tuple[events.DiscrepancyStep, ...]}:
        inner = get_args(hint)[0]
        return (record(inner, i), record(inner, i + 1)) if i % 2 else ()
    if hint == tuple[events.Lot, ...]:
        return (events.Lot(i + 1, 612_500_001 * (i + 1), "f|1"), events.Lot(2, -7, "f'\\2"))
    if hint == tuple[events.InputPosition, ...]:
        return (events.InputPosition("exec.raw.v1", "id", i),)
    if hint == tuple[events.PositionBase, ...]:
        return (record(events.PositionBase, i),) if i % 2 else ()
    return {"market": "S", "side": "BUY" if i % 2 else "SELL"}[name]


def make_topics(options: Options) -> None:
    """Create the topics, two partitions each."""
    admin = AdminClient({"bootstrap.servers": options.bootstrap_servers})
    wanted = [
        NewTopic(
            options.topic(table.topic),
            num_partitions=PARTITIONS,
            replication_factor=1,
            config={"cleanup.policy": "compact" if table.latest_by_key else "delete"},
        )
        for table in TABLES
    ]
    for made in admin.create_topics(wanted).values():
        made.result(30)
    # The controller has made them; the broker that is asked next hears of it a moment later.
    names = {topic.topic for topic in wanted}
    assert until(lambda: names <= admin.list_topics(timeout=30).topics.keys())


def register(options: Options, table: Table) -> int:
    """Register the table's schema and return its id."""
    request = urllib.request.Request(
        f"{options.registry_url}/subjects/{options.topic(table.topic)}-value/versions",
        data=json.dumps({"schema": avro.schema_text(table.record)}).encode(),
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return int(json.load(reply)["id"])


class Feed:
    """A transactional producer of framed records."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._encoders = {table.name: avro.Encoder(table.record, register(options, table)) for table in TABLES}
        self._producer = Producer(
            {
                "bootstrap.servers": options.bootstrap_servers,
                "transactional.id": f"{options.prefix}feed",
                "partitioner": "murmur2_random",
            }
        )
        self._producer.init_transactions(30)

    def send(self, table: Table, records: Iterable[msgspec.Struct], *, abort: bool = False) -> None:
        """Write the records of one table in one transaction."""
        encode = self._encoders[table.name]
        self.send_bytes(table, [(_key(each), encode(each)) for each in records], abort=abort)

    def send_bytes(self, table: Table, values: Sequence[tuple[str, bytes | None]], *, abort: bool = False) -> None:
        """Write raw values in one transaction, and commit or abort it."""
        self._producer.begin_transaction()
        for key, value in values:
            self._producer.produce(self._options.topic(table.topic), key=key, value=value)
        if abort:
            self._producer.flush(30)
            self._producer.abort_transaction(30)
        else:
            self._producer.commit_transaction(30)


def _key(value: msgspec.Struct) -> str:
    return str(getattr(value, "position_key", "") or getattr(value, "account", "") or getattr(value, "scope", ""))


def until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> bool:
    """Ask until the answer is yes, or the time is over."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


class RegistryFront:
    """Stands before the registry and hands requests on, or says, while it is `away`, that it has no such thing.

    (An answer of 503 would do the same to ClickHouse, after three seconds of trying for each record.)
    """

    def __init__(self, behind: str) -> None:
        self.away = False
        front = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if front.away:
                    self.send_error(404)
                    return
                try:
                    with urllib.request.urlopen(behind + self.path, timeout=30) as reply:
                        body = reply.read()
                except urllib.error.HTTPError as error:
                    self.send_error(error.code)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (named by http.server)
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

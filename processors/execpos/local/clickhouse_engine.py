"""One chdb engine behind requests that know nothing of each other, as ClickHouse's HTTP interface has them.

Each request gets a connection of its own to the one engine (half a millisecond) and takes its settings with it when it ends; several run at
the same moment. Only this process may open the data: a second one fails.
"""

import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import chdb
import msgspec

from execpos.local import clickhouse_native, clickhouse_statement

# More at once only share the cores; the engine itself splits a query over them.
_PARALLEL = 8
# The engine's own text, "Code: 60. DB::Exception: ...", behind whatever the binding put before it.
_CODE = re.compile(r"Code: (\d+)\.")
# SHUTDOWN_WAS_CALLED... in name only: the engine answers so to each CREATE of a Kafka table, which exists and reads nevertheless.
_KAFKA_TABLE_MADE = 49
_SETTING = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# librdkafka's settings can be given in a file only. An idle fetch waits 250 ms (data that comes ends it at once, and a shorter wait only
# costs the broker CPU), topics that are created later are found within 2 s instead of 300, and a killed reader is back at once because its
# place in the group has its own name; who does not come back counts as gone after 10 s.
_CONFIG = """<clickhouse>
  <kafka>
    <fetch_wait_max_ms>250</fetch_wait_max_ms>
    <topic_metadata_refresh_interval_ms>2000</topic_metadata_refresh_interval_ms>
    <session_timeout_ms>10000</session_timeout_ms>
    <group_instance_id>execpos-embedded</group_instance_id>
  </kafka>
</clickhouse>
"""


class EngineError(Exception):
    """The engine refused a statement; `code` is ClickHouse's, 0 when the text names none."""

    def __init__(self, text: str) -> None:
        found = _CODE.search(text)
        self.code = int(found[1]) if found else 0
        super().__init__(text[found.start() :].strip() if found else text.strip())


class Request(msgspec.Struct, frozen=True):
    """One statement with everything that comes with it."""

    sql: bytes
    database: str = ""
    format: str = "TabSeparated"
    settings: Mapping[str, str] = {}
    params: Mapping[str, str] = {}
    readonly: bool = False
    protocol_version: int = 0


class Reply(msgspec.Struct, frozen=True):
    """What the engine answered."""

    body: bytes
    format: str
    read_rows: int = 0
    written_rows: int = 0
    elapsed_s: float = 0.0


class Engine:
    """The engine on one data folder. Thread-safe.

    Args:
        data: folder of its own; made when missing.
    """

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        config = data / "engine.xml"
        config.write_text(_CONFIG, encoding="utf-8")
        self._path = str(data / "store")
        # Holds the engine open between requests.
        self._root = chdb.connect(f"{self._path}?config-file={config}")
        self._slots = threading.BoundedSemaphore(_PARALLEL)
        self.version = self._root.query("SELECT version()", "TabSeparatedRaw").bytes().decode().strip()

    def run(self, request: Request) -> Reply:
        """Run one statement to its end and return its whole answer. Blocks for a free place and for the statement.

        Raises:
            EngineError: the engine refused it.
        """
        with self._slots:
            connection = chdb.connect(self._path)
            try:
                return self._run(connection, request)
            except (RuntimeError, chdb.ChdbError) as error:
                raise EngineError(str(error)) from error
            finally:
                connection.close()

    def _run(self, connection: Any, request: Request) -> Reply:
        if request.database:
            connection.query(f"USE {_quoted_name(request.database)}")
        settings = {**request.settings, **({"readonly": "2"} if request.readonly else {})}
        if settings:
            connection.query("SET " + ", ".join(f"{_setting(name)} = {_quoted_text(value)}" for name, value in settings.items()))
        insert = clickhouse_statement.insert_with_rows(request.sql)
        if insert is not None:
            return _insert(connection, insert, request.sql)
        answer_format = clickhouse_statement.output_format(request.sql, request.format)
        try:
            result = connection.query(_text(request.sql), request.format, params=dict(request.params))
        except chdb.ChdbError as error:
            if not _made_anyway(connection, request.sql, EngineError(str(error))):
                raise
            return Reply(b"", answer_format)
        body = result.bytes() or b""
        if answer_format == "Native" and request.protocol_version >= clickhouse_native.FRAMED_FROM:
            body = _framed(body)
        return Reply(body, answer_format, result.rows_read(), result.rows_written(), result.elapsed())

    def close(self) -> None:
        """Stop the readers and close the data; running statements are cut off."""
        self._root.close()


def _framed(body: bytes) -> bytes:
    try:
        return clickhouse_native.framed(body)
    except clickhouse_native.UnknownLayoutError as error:
        raise EngineError(f"Code: 48. DB::Exception: the embedded server cannot frame the type {error}. (NOT_IMPLEMENTED)") from error


def _insert(connection: Any, insert: clickhouse_statement.Insert, sql: bytes) -> Reply:
    with connection.send_insert(_text(insert.statement), insert.format) as stream:
        stream.append(sql[insert.rows_at :])
        result = stream.finish()
    return Reply(b"", insert.format, written_rows=result.rows_written, elapsed_s=result.elapsed)


def _made_anyway(connection: Any, sql: bytes, error: EngineError) -> bool:
    table = clickhouse_statement.created_table(sql)
    if error.code != _KAFKA_TABLE_MADE or table is None:
        return False
    return bool(connection.query(f"EXISTS TABLE {table}", "TabSeparatedRaw").bytes().strip() == b"1")


def _text(sql: bytes) -> str:
    try:
        return sql.decode()
    except UnicodeDecodeError as error:
        raise EngineError(f"Code: 62. DB::Exception: The statement is not UTF-8 at byte {error.start}. (SYNTAX_ERROR)") from error


def _setting(name: str) -> str:
    if not _SETTING.fullmatch(name):
        raise EngineError(f"Code: 115. DB::Exception: {name!r} is no name of a setting. (UNKNOWN_SETTING)")
    return name


def _quoted_text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _quoted_name(value: str) -> str:
    return "`" + value.replace("\\", "\\\\").replace("`", "\\`") + "`"

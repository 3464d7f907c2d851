"""The embedded ClickHouse as its clients see it: clickhouse-connect, curl, and what Grafana's plugin sends."""

import gzip
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from execpos.errors import DependencyError
from execpos.local.clickhouse import ClickHouse

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    with ClickHouse(tmp_path_factory.mktemp("clickhouse")) as started:
        yield started


@pytest.fixture
def client(server: ClickHouse) -> Iterator[Client]:
    made = clickhouse_connect.get_client(dsn=server.dsn)
    yield made
    made.close()


def get(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    request = urllib.request.Request(url, data=body, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.read(), dict(reply.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read(), dict(error.headers)


def test_a_plain_get_and_post_answer_as_curl_expects(server: ClickHouse) -> None:
    assert get(f"{server.url}/ping")[:2] == (200, b"Ok.\n")
    assert get(f"{server.url}/?query={quote('SELECT 1, timezone()')}")[:2] == (200, b"1\tUTC\n")
    assert get(server.url, b"SELECT 2")[:2] == (200, b"2\n")
    assert get(f"{server.url}/?query={quote('SELECT number FROM numbers(2) FORMAT JSONEachRow')}")[1] == b'{"number":0}\n{"number":1}\n'
    assert get(f"{server.url}/?default_format=CSV&database=system", b"SELECT dummy, currentDatabase() FROM one")[1] == b'0,"system"\n'


def test_settings_parameters_and_format_come_from_the_url(server: ClickHouse) -> None:
    status, body, headers = get(
        f"{server.url}/?max_threads=1&param_x=4&default_format=JSONCompactEachRow", b"SELECT {x:UInt8} + 1, getSetting('max_threads')"
    )

    assert (status, body, headers["X-ClickHouse-Format"]) == (200, b"[5, 1]\n", "JSONCompactEachRow")
    # Nothing of it stays for the next request.
    assert get(server.url, b"SELECT getSetting('max_threads') = 1 AND currentDatabase() = 'system'")[1] == b"0\n"


def test_errors_carry_clickhouse_s_code_and_text(server: ClickHouse) -> None:
    status, body, headers = get(server.url, b"SELECT * FROM nowhere")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "60")
    assert body.startswith(b"Code: 60. DB::Exception: ")

    assert get(server.url, b"SELEC")[0] == 400
    assert get(f"{server.url}/?no_such_setting=1", b"SELECT 1")[2]["X-ClickHouse-Exception-Code"] == "115"
    assert get(f"{server.url}/?query={quote('CREATE TABLE x (a Int8) ENGINE = Memory')}")[2]["X-ClickHouse-Exception-Code"] == "164"
    assert get(server.url, b"INSERT INTO nowhere FORMAT CSV\n1\n")[2]["X-ClickHouse-Exception-Code"] == "60"
    assert get(server.url, b"SELECT 1", Content_Encoding="rot13")[0] == 415


def test_a_garbled_request_is_answered_and_the_server_goes_on(server: ClickHouse) -> None:
    assert get(server.url, b"\xff\xfe")[2]["X-ClickHouse-Exception-Code"] == "62"
    assert get(server.url, b"not gzip", Content_Encoding="gzip")[0] == 400
    assert get(f"{server.url}/?x-y=1", b"SELECT 1")[2]["X-ClickHouse-Exception-Code"] == "115"
    assert get(server.url, b"SELECT 1", Content_Type="multipart/form-data; boundary=nothing")[0] in {200, 400}
    assert get(server.url, b"SELECT 1")[1] == b"1\n"


def test_clickhouse_connect_reads_and_writes_every_type_we_use(client: Client) -> None:
    client.command(
        "CREATE OR REPLACE TABLE kinds (i Int64, l LowCardinality(String), d Decimal(18, 6), t DateTime64(6, 'UTC'), "
        "e Enum8('BUY' = 1, 'SELL' = 2), b Bool, n Array(Tuple(q Int64, c Decimal(18, 6))), u UInt128) ENGINE = MergeTree ORDER BY i"
    )
    now = datetime(2026, 5, 21, 1, 2, 3, 456_789, tzinfo=UTC)
    rows = [
        [1, "台積電", Decimal("612.500001"), now, "BUY", True, [(1, Decimal("-0.000001"))], 2**100],
        [-2, "", Decimal("-999999999999.999999"), now, "SELL", False, [], 0],
    ]

    assert client.insert("kinds", rows).written_rows == 2

    found = client.query("SELECT i, l, d, t, e, b, n.q, n.c, u FROM kinds ORDER BY i DESC").result_rows
    assert [(*row[:3], row[3].replace(tzinfo=UTC), *row[4:]) for row in found] == [
        (*row[:6], [each[0] for each in row[6]], [each[1] for each in row[6]], row[7])  # type: ignore[attr-defined]  # a list of tuples
        for row in rows
    ]


@pytest.mark.parametrize("compress", [False, "gzip", "lz4", "zstd"])
def test_inserts_arrive_whole_under_every_compression(server: ClickHouse, compress: bool | str) -> None:  # noqa: FBT001 (the driver's own)
    client = clickhouse_connect.get_client(dsn=server.dsn, compress=compress)
    client.command("CREATE OR REPLACE TABLE many (i UInt32, s String) ENGINE = Memory")
    client.insert("many", [[i, "x" * (i % 50)] for i in range(50_000)], column_names=["i", "s"])

    assert client.query("SELECT count(), sum(i), sum(length(s)) FROM many").result_rows == [(50_000, 1_249_975_000, 1_225_000)]
    client.close()


def test_rows_behind_an_insert_arrive_from_url_or_body_in_any_format(server: ClickHouse, client: Client) -> None:
    client.command("CREATE OR REPLACE TABLE raw (a UInt8, b String) ENGINE = Memory")

    get(f"{server.url}/?query={quote('INSERT INTO raw FORMAT CSV')}", b'1,"x"\n')
    get(server.url, b"INSERT INTO raw FORMAT RowBinary\n\x02\x03\x00\xff\xfe")
    get(server.url, gzip.compress(b"INSERT INTO raw VALUES (3, 'z')"), Content_Encoding="gzip")
    get(server.url, b"INSERT INTO raw SELECT 4, 'w'")

    assert client.query("SELECT a, hex(b) FROM raw ORDER BY a").result_rows == [(1, "78"), (2, "00FFFE"), (3, "7A"), (4, "77")]


def test_long_parameters_travel_as_a_form(client: Client) -> None:
    long = "ü" * 20_000

    assert client.query("SELECT {x:String}", parameters={"x": long}).result_rows == [(long,)]


def test_clients_side_by_side_lose_nothing(server: ClickHouse, client: Client) -> None:
    client.command("CREATE OR REPLACE TABLE beside (w UInt8, i UInt32) ENGINE = MergeTree ORDER BY (w, i)")
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            mine = clickhouse_connect.get_client(dsn=server.dsn)
            for i in range(20):
                mine.insert("beside", [[number, i]], column_names=["w", "i"])
                assert mine.query("SELECT count() FROM beside WHERE w = {w:UInt8}", parameters={"w": number}).result_rows == [(i + 1,)]
            mine.close()
        except BaseException as error:  # noqa: BLE001 (told by the test's own thread)
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert failed == []
    assert client.query("SELECT count() FROM beside").result_rows == [(100,)]


def test_rows_survive_stop_and_kill_at_the_same_address(tmp_path: Path) -> None:
    with ClickHouse(tmp_path) as server:
        client = clickhouse_connect.get_client(dsn=server.dsn)
        client.command("CREATE DATABASE volatile ENGINE = Memory")
        client.command("CREATE TABLE kept (i UInt8) ENGINE = MergeTree ORDER BY i")
        url = server.url
        for i, end in enumerate((server.kill, server.stop, server.kill)):
            client.insert("kept", [[i]], column_names=["i"])
            end()
            assert not server.alive()
            server.start()
            client = clickhouse_connect.get_client(dsn=server.dsn)
            assert server.url == url
            assert client.query("SELECT count() FROM kept").result_rows == [(i + 1,)]


def test_a_second_server_on_the_same_data_is_refused(server: ClickHouse) -> None:
    with pytest.raises(DependencyError) as raised:
        ClickHouse(server.log_path.parent).start()

    assert "in use" in raised.value.what
    assert server.alive()


NATIVE = """SELECT number AS a, toString(number) AS b, [number, 1]::Array(UInt16) AS c, if(number % 2, NULL, toDecimal64(number, 6)) AS d,
    toLowCardinality(toString(number % 3)) AS e, [toLowCardinality('x'), 'y'] AS f, map('k', number) AS g,
    (number, 'q')::Tuple(x Int8, `y z` String) AS h,
    toFixedString('ab', 2) AS i, now64(6, 'UTC') AS j, CAST('BUY', 'Enum8(\\'BUY\\' = 1, \\'SELL,(\\' = 2)') AS k, generateUUIDv4() AS l,
    toLowCardinality(if(number % 2, NULL, 'n')) AS m, []::Array(Array(String)) AS n, toIPv6('::1') AS o, toInt256(1) AS p, today() AS q,
    [(1, [toLowCardinality('z')])]::Array(Tuple(u UInt8, v Array(LowCardinality(String)))) AS r
    FROM numbers(10) SETTINGS max_block_size = 4"""


def test_clients_of_the_newer_protocol_get_block_info_and_storage_flags(server: ClickHouse, client: Client) -> None:
    framed = get(f"{server.url}/?default_format=Native&client_protocol_version=54460", NATIVE.encode())[1]
    plain = get(f"{server.url}/?default_format=Native", NATIVE.encode())[1]
    described = client.query(f"DESCRIBE ({NATIVE})", settings={"print_pretty_type_names": 0}).result_rows
    blocks = framed.count(b"\x01\x00\x02\xff\xff\xff\xff\x00" + bytes([len(described)]))

    assert blocks >= 3
    assert len(framed) == len(plain) + blocks * (8 + len(described))
    at = 0
    for _ in range(blocks):
        for name, kind, *_ in described:
            head = bytes([len(name)]) + name.encode() + bytes([len(kind)]) + kind.encode() + b"\x00"
            at = framed.index(head, at) + len(head)


def test_the_hello_of_grafana_s_plugin_is_answered(server: ClickHouse) -> None:
    status, body, _ = get(
        f"{server.url}/?database=default&default_format=Native&client_protocol_version=54460",
        b"SELECT displayName(), version(), revision(), timezone()",
    )

    assert status == 200
    assert body.startswith(b"\x01\x00\x02\xff\xff\xff\xff\x00\x04\x01\x0ddisplayName()\x06String\x00")
    assert body.endswith(b"\x0atimezone()\x06String\x00\x03UTC")


def test_the_driver_names_the_code_of_an_error(client: Client) -> None:
    with pytest.raises(DatabaseError) as raised:
        client.query("SELECT * FROM nowhere")

    assert raised.value.code == 60

"""One HTTP request to one statement, and its answer back."""

import email.parser
import email.policy
import gzip
import json
import uuid
import zlib
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qsl, urlsplit

import lz4.frame  # type: ignore[import-untyped]  # ships no types

from execpos.local.clickhouse_engine import EngineError, Reply, Request

if TYPE_CHECKING:
    from execpos.local.clickhouse_server import Server

# Parameters of the interface itself, which are no settings of the engine.
_RESERVED = frozenset({
    "buffer_size", "cancel_http_readonly_queries_on_client_close", "client_protocol_version", "compress", "database", "decompress",
    "default_format", "enable_http_compression", "http_headers_progress_interval_ms", "password", "query", "query_id", "quota_key", "role",
    "send_progress_in_http_headers", "session_check", "session_id", "session_timeout", "stacktrace", "user", "wait_end_of_query",
})  # fmt: skip
_CONTENT_TYPES = {"CSV": "text/csv", "Native": "application/octet-stream", "RowBinary": "application/octet-stream"}
# ClickHouse's error codes that mean "there is no such thing" and "the statement is wrong"; all others are the server's fault.
_NOT_FOUND = frozenset({60, 81})
_BAD_REQUEST = frozenset({6, 27, 36, 42, 43, 46, 47, 53, 62, 115, 456})
# A statement with its rows is held in memory; a client with more sends several.
_BODY_LIMIT_BYTES = 1 << 30
# Headers and body of most answers leave in one packet, which saves 40 ms where the other side delays its acknowledgement.
_WRITE_BUFFER_BYTES = 1 << 16


class _Refused(Exception):
    """The request itself cannot be understood."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"
    server_version = "execpos-clickhouse"
    disable_nagle_algorithm = True
    wbufsize = _WRITE_BUFFER_BYTES
    timeout: ClassVar[float] = 3600.0  # an idle connection of a pool gives its thread back after an hour
    server: "Server"

    def do_GET(self) -> None:
        self._answer(readonly=True)

    def do_HEAD(self) -> None:
        self._answer(readonly=True)

    def do_POST(self) -> None:
        self._answer(readonly=False)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (named by http.server)
        """Say nothing: a line a query would bury what matters in the log."""

    def _answer(self, *, readonly: bool) -> None:
        try:
            body = self._body()
            url = urlsplit(self.path)
            params = dict(parse_qsl(url.query, keep_blank_values=True))
            if url.path in {"/ping", "/replicas_status"} or (not params.get("query") and not body.strip()):
                self._send(200, b"Ok.\n", {"Content-Type": "text/plain; charset=UTF-8"})
                return
            if self.headers.get_content_type() == "multipart/form-data":
                params.update(_form(self.headers["Content-Type"], body))
                body = b""
            reply = self.server.engine.run(_request(params, body, self.headers.get("X-ClickHouse-Format", ""), readonly=readonly))
            self._send(200, reply.body, _reply_headers(reply, params.get("query_id") or str(uuid.uuid4())))
        except EngineError as error:
            self._fail(_status(error.code), error.code, f"{error} (version {self.server.engine.version})")
        except _Refused as error:
            self.close_connection = True
            self._fail(error.status, 0, str(error))

    def _fail(self, status: int, code: int, text: str) -> None:
        headers = {"Content-Type": "text/plain; charset=UTF-8", "X-ClickHouse-Exception-Code": str(code)}
        self._send(status, text.encode() + b"\n", headers if code else {"Content-Type": headers["Content-Type"]})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("X-ClickHouse-Server-Display-Name", "embedded")
        self.send_header("X-ClickHouse-Timezone", "UTC")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self._chunks()
        else:
            length = _number(self.headers.get("Content-Length") or "0", 10)
            if length > _BODY_LIMIT_BYTES:
                raise _Refused(413, f"a body of {length} bytes is above the limit of {_BODY_LIMIT_BYTES}; send several")
            body = self.rfile.read(length)
        try:
            return _decompressed(body, self.headers.get("Content-Encoding", ""))
        except (OSError, EOFError, RuntimeError, zlib.error, _zstd_error()) as error:
            raise _Refused(400, f"the body is not what its Content-Encoding says: {error}") from error

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        total = 0
        while length := _number(self.rfile.readline(1024).split(b";")[0].decode("latin-1"), 16):
            total += length
            if total > _BODY_LIMIT_BYTES:
                raise _Refused(413, f"the body is above the limit of {_BODY_LIMIT_BYTES} bytes; send several")
            parts.append(self.rfile.read(length))
            self.rfile.readline(1024)
        while self.rfile.readline(1024).strip():
            pass
        return b"".join(parts)


def _request(params: dict[str, str], body: bytes, header_format: str, *, readonly: bool) -> Request:
    query = params.get("query", "").encode()
    return Request(
        sql=query + b"\n" + body if query and body else query or body,
        database=params.get("database", ""),
        format=params.get("default_format") or header_format or "TabSeparated",
        settings={name: value for name, value in params.items() if name not in _RESERVED and not name.startswith("param_")},
        params={name.removeprefix("param_"): value for name, value in params.items() if name.startswith("param_")},
        readonly=readonly,
        protocol_version=_number(params.get("client_protocol_version", "0"), 10),
    )


def _reply_headers(reply: Reply, query_id: str) -> dict[str, str]:
    kind = _CONTENT_TYPES.get(reply.format, "application/json" if reply.format.startswith("JSON") else "text/tab-separated-values")
    summary = {
        "read_rows": str(reply.read_rows),
        "written_rows": str(reply.written_rows),
        "elapsed_ns": str(int(reply.elapsed_s * 1e9)),
    }
    return {
        "Content-Type": f"{kind}; charset=UTF-8",
        "X-ClickHouse-Format": reply.format,
        "X-ClickHouse-Query-Id": query_id,
        "X-ClickHouse-Summary": json.dumps(summary),
    }


def _status(code: int) -> int:
    return 404 if code in _NOT_FOUND else 400 if code in _BAD_REQUEST else 500


def _form(content_type: str, body: bytes) -> dict[str, str]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields: dict[str, str] = {}
    for part in message.iter_parts():
        if part.get_filename():
            raise _Refused(501, "tables sent along with a statement are not supported by the embedded engine")
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            fields[str(part.get_param("name", header="content-disposition"))] = content.decode(errors="surrogateescape")
    return fields


def _decompressed(body: bytes, encoding: str) -> bytes:
    if not encoding or encoding == "identity":
        return body
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "deflate":
        return zlib.decompress(body)
    if encoding == "lz4":
        return bytes(lz4.frame.decompress(body))
    if encoding == "zstd":
        return _zstd(body)
    raise _Refused(415, f"Content-Encoding {encoding!r} is not supported; use gzip, deflate, lz4 or zstd")


def _number(text: str, base: int) -> int:
    try:
        return int(text.strip() or "0", base)
    except ValueError:
        raise _Refused(400, f"{text.strip()[:20]!r} is no number") from None


def _zstd_error() -> type[Exception]:
    from backports import zstd  # noqa: PLC0415 (see `_zstd`)

    return zstd.ZstdError


def _zstd(body: bytes) -> bytes:
    from backports import zstd  # noqa: PLC0415 (comes with clickhouse-connect, and into the standard library with Python 3.14)

    return bytes(zstd.decompress(body))

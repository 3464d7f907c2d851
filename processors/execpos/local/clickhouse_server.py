"""ClickHouse's HTTP interface over one embedded engine: `python -m execpos.local.clickhouse_server --data DIR --port N`.

Enough of it for clickhouse-connect, curl and Grafana's plugin: statements in the URL or the body, settings and parameters in the URL, every
format the engine knows, errors with their code. It listens on loopback, asks for no password, and keeps no session between requests.
"""

import argparse
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path

from execpos.local.clickhouse_engine import Engine
from execpos.local.clickhouse_http import Handler
from execpos.local.net import LOOPBACK


class Server(ThreadingHTTPServer):
    """Serves one engine. Each connection has a thread, which ends with it or with the process."""

    daemon_threads = True
    allow_reuse_address = True
    # A burst of clients at the start of a stack; the kernel refuses connections beyond it.
    request_queue_size = 128

    def __init__(self, port: int, engine: Engine) -> None:
        self.engine = engine
        super().__init__((LOOPBACK, port), Handler)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT, then close the engine and return 0."""
    parser = argparse.ArgumentParser(prog="execpos.local.clickhouse_server", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the engine's data; made when missing")
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    options = parser.parse_args(argv)
    faulthandler.enable()
    os.environ["TZ"] = "UTC"  # the engine takes its time zone from here, and every time of ours is UTC
    engine = Engine(options.data)
    server = Server(options.port, engine)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    print(f"ClickHouse {engine.version} (embedded) answers on http://{LOOPBACK}:{server.server_port}", flush=True)  # noqa: T201 (its log)
    stop.wait()
    server.shutdown()
    server.server_close()
    engine.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

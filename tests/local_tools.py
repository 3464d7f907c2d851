"""Helpers for tests of the embedded stack itself, which start and end stacks of their own."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

# For liveness only; a loaded machine may need minutes where a quiet one needs seconds.
DEADLINE_S = 180.0
TOPIC = "kept"


def until(condition: Callable[[], bool], deadline_s: float = DEADLINE_S) -> bool:
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def processes_on(folder: Path) -> list[int]:
    """Return the processes that name the folder in their command line, this one excepted."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if str(folder) in (entry / "cmdline").read_text(encoding="utf-8", errors="replace"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


class Clients:
    """What an ordinary client does with Kafka and the registry."""

    def __init__(self, bootstrap_servers: str, registry_url: str) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.registry_url = registry_url

    def create_topic(self, name: str = TOPIC) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        admin.create_topics([NewTopic(name, 1, 1)])[name].result(DEADLINE_S)

    def produce(self, values: list[bytes]) -> None:
        producer = Producer({"bootstrap.servers": self.bootstrap_servers, "acks": "all"})
        for value in values:
            producer.produce(TOPIC, value)
        assert producer.flush(DEADLINE_S) == 0

    def read(self) -> list[bytes]:
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": "reader", "enable.auto.commit": False})
        try:
            consumer.assign([TopicPartition(TOPIC, 0, 0)])
            high = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=DEADLINE_S)[1]
            values: list[bytes] = []
            assert until(lambda: _poll(consumer, values) >= high)
            return values
        finally:
            consumer.close()

    def register(self, subject: str, *fields: str) -> int:
        schema = {"type": "record", "name": "R", "fields": [{"name": f, "type": "long", "default": 0} for f in fields]}
        return int(self._registry(f"/subjects/{subject}/versions", {"schema": json.dumps(schema)})["id"])

    def schema(self, schema_id: int) -> list[str]:
        return [field["name"] for field in json.loads(self._registry(f"/schemas/ids/{schema_id}")["schema"])["fields"]]

    def _registry(self, path: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.registry_url}{path}", data, {"Content-Type": "application/vnd.schemaregistry.v1+json"})
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return json.loads(answer.read())


def _poll(consumer: Consumer, values: list[bytes]) -> int:
    message = consumer.poll(0.2)
    if message is not None and message.error() is None:
        values.append(message.value() or b"")
    return len(values)


class Up:
    """`execpos up` as a process in a group of its own, as a shell would run it."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        command = [sys.executable, "-c", "from execpos.cli.main import main; main()", "up", "--json", "--data", str(data), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)

    def ready(self) -> dict[str, Any]:
        """Wait for the object that it prints once everything answers."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        found: dict[str, Any] = json.loads(line)
        return found

    def clients(self) -> Clients:
        addresses = self.ready()["addresses"]
        return Clients(addresses["kafka"], addresses["registry"])

    def end(self, signum: signal.Signals) -> tuple[int, str]:
        """Signal the whole group and return the exit status and what was said on stderr."""
        os.killpg(self.process.pid, signum)
        return self.result()

    def result(self) -> tuple[int, str]:
        stderr = self.process.communicate(timeout=DEADLINE_S)[1]
        return self.process.returncode, stderr

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

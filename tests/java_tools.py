"""Kafka's own Java console tools, for what only a Java client can prove: where keys go, and that others can read our topics."""

import subprocess

from execpos.local import artifacts, pins
from execpos.local.requirements import java

# For liveness only.
_LIMIT_S = 120.0


def _pin(artifact: str, sha256: str, size: int) -> pins.Pin:
    return pins.Pin("org.apache.kafka", artifact, "4.3.1", "", "jar", sha256, size)


# The newest version that Maven Central has of them; what they need besides is on the broker's classpath.
TOOLS = pins.Bundle(
    "kafka-tools",
    "4.3.1",
    "52501b7b4751",
    (
        _pin("kafka-tools", "62f3c5dd7aa3442d4c5bc6a95f86e2502178ea09de8e27f74d9563bf955e253c", 698_668),
        _pin("kafka-clients", "52501b7b47510c66f898871adaf6d2968ab7246561d44ced43643a8a587f0b36", 10_204_032),
        _pin("kafka-server-common", "d7c719f749579a399011f0df7414de8a78f10f074a6122caa550fdb141351575", 389_964),
    ),
)


def _run(main: str, *arguments: str, stdin: bytes = b"") -> bytes:
    cache = artifacts.cache_folder()
    classpath = f"{artifacts.ensure(TOOLS, cache)}/*:{artifacts.ensure(pins.bundle('kafka'), cache)}/*"
    argv = [java(), "-Xmx256m", "-XX:+UseSerialGC", "-cp", classpath, f"org.apache.kafka.tools.{main}", *arguments]
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=_LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return done.stdout


def produce(address: str, topic: str, records: list[tuple[str, str]]) -> None:
    """Write keys and values (no tabs, no line ends) with the Java producer, placed by its own partitioner."""
    lines = "".join(f"{key}\t{value}\n" for key, value in records).encode()
    options = ("--reader-property", "parse.key=true", "--reader-property", "key.separator=\t")
    _run("ConsoleProducer", "--bootstrap-server", address, "--topic", topic, *options, stdin=lines)


def consume(address: str, topic: str, count: int) -> list[tuple[int, str, bytes]]:
    """Return partition, key and value of the first `count` committed records as the Java consumer reads them."""
    options = ("--from-beginning", "--max-messages", str(count), "--isolation-level", "read_committed")
    shown = ("--formatter-property", "print.partition=true", "--formatter-property", "print.key=true")
    text = _run("consumer.ConsoleConsumer", "--bootstrap-server", address, "--topic", topic, *options, *shown)
    rows = [line.split(b"\t", 2) for line in text.splitlines() if line.startswith(b"Partition:")]
    return [(int(where.removeprefix(b"Partition:")), key.decode(), value) for where, key, value in rows]

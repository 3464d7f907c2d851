"""Apache Kafka as a child process: one KRaft node, broker and controller in one JVM, on loopback only."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from execpos.local import pins
from execpos.local.javaserver import JavaServer
from execpos.local.net import LOOPBACK, accepts
from execpos.local.requirements import java

_FORMAT_DEADLINE_S = 60.0
# Bytes that identify the cluster; fixed, so that a copied data folder stays one cluster.
_CLUSTER_ID = "ZXhlY3Bvcy1sb2NhbC0wMQ"

# A transaction makes the broker allocate 260 KB. With a young generation of 32 MB one in a hundred met a collection, of 10 ms, which was
# the tail of its latency. With 96 MB it is one in 300, and what survives is copied once, not fifteen times; it costs 60 MB of memory.
_JVM = (
    "-Xms256m",
    "-Xmx768m",
    "-Xmn96m",
    "-XX:MaxTenuringThreshold=1",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.net.preferIPv4Stack=true",
)

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
listeners=CLIENT://{host}:{client},CONTROLLER://{host}:{controller}
advertised.listeners=CLIENT://{host}:{client}
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.num.partitions=8
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# A dead producer's transaction holds read_committed readers until this scan finds it.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# After a kill the broker is a stranger to its own controller until the old session ends (default 9 s), so it ends sooner.
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=500
# The default of 128 MB would be a fifth of the heap; 16 MB hold 600 000 keys a pass.
log.cleaner.dedupe.buffer.size=16777216
# 10 MB of index for each segment of each partition is address space that a small machine may lack.
log.index.size.max.bytes=1048576
log.segment.bytes=268435456
"""

_LOG4J = """\
rootLogger.level = WARN
rootLogger.appenderRef.stdout.ref = stdout
appender.stdout.type = Console
appender.stdout.name = stdout
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{ISO8601}{UTC}Z %p %c{1}: %m%n
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
"""


class Kafka(JavaServer):
    """One broker, which is its own controller."""

    name = "kafka"
    _second_port = "controller"
    _port_taken = "BindException"
    _jvm = _JVM

    @property
    def bootstrap_servers(self) -> str:
        """What clients take as bootstrap.servers; valid after `start`."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def address(self) -> str:
        return self.bootstrap_servers

    def _prepare(self, program: Path, ports: Mapping[str, int]) -> None:
        """Write the settings; format the data folder once (a formatting that was interrupted is repeated)."""
        settings = _PROPERTIES.format(host=LOOPBACK, logs=self._folder / "logs", **ports)
        (self._folder / "server.properties").write_text(settings, encoding="utf-8")
        (self._folder / "log4j2.properties").write_text(_LOG4J, encoding="utf-8")
        if not (self._folder / "logs" / "meta.properties").exists():
            format_ = ("format", "-t", _CLUSTER_ID, "-c", str(self._folder / "server.properties"), "--ignore-formatted")
            self._child.run([java(), *_JVM, *self._main(program, "kafka.tools.StorageTool"), *format_], _FORMAT_DEADLINE_S)

    def _arguments(self, program: Path) -> list[str]:
        return [*self._main(program, "kafka.Kafka"), str(self._folder / "server.properties")]

    def _main(self, program: Path, main: str) -> list[str]:
        # Named one by one, in order: the start-up image is valid for exactly this class path.
        jars = ":".join(str(program / pin.filename) for pin in pins.bundle(self.name).files)
        return [f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}", "-cp", jars, main]

    def _environment(self, ports: Mapping[str, int]) -> dict[str, str]:
        del ports  # they stand in its settings
        return {}

    def _ready(self) -> bool:
        """Ask for metadata as a client would: the broker must be registered, not only listening."""
        if not accepts(self._port):
            return False
        from confluent_kafka import KafkaException  # noqa: PLC0415 (only a start pays for loading the client)
        from confluent_kafka.admin import AdminClient  # noqa: PLC0415 (as above)

        settings: dict[str, Any] = {"bootstrap.servers": self.bootstrap_servers, "log_level": 0, "error_cb": lambda _: None}
        admin = AdminClient(settings)
        with contextlib.suppress(KafkaException):
            return bool(admin.list_topics(timeout=2.0).brokers)
        return False

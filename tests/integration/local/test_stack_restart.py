"""One stack on one data folder, through stops and kills."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer

from execpos.errors import DependencyError
from execpos.kafka.client.cluster import KafkaCluster
from execpos.kafka.client.config import KafkaSettings
from execpos.kafka.ports import TopicPartition
from execpos.local.kafka import Kafka
from execpos.local.stack import Stack
from local_tools import TOPIC, Clients, processes_on

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), clickhouse=False) as made:
        clients = _clients(made)
        clients.create_topic()
        clients.produce([b"1", b"2", b"3"])
        yield made
    assert processes_on(made.data) == []


def _clients(stack: Stack) -> Clients:
    return Clients(stack.kafka.bootstrap_servers, stack.registry.url)


def _listening(pid: int | None) -> list[str]:
    """Return the addresses on which a process listens, as the kernel writes them: reversed hexadecimal, then the port."""
    inodes = {match[1] for fd in Path(f"/proc/{pid}/fd").iterdir() if (match := re.match(r"socket:\[(\d+)\]", str(fd.readlink())))}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text(encoding="utf-8").splitlines()[1:]]
    return [row[1] for row in rows if row[3] == "0A" and row[9] in inodes]


def test_servers_listen_on_loopback_only(stack: Stack) -> None:
    for part in (stack.kafka, stack.registry):
        listening = _listening(part.pid)
        assert len(listening) == 2, part.name  # clients and controller; clients and management
        assert all(address.startswith("0100007F:") for address in listening), (part.name, listening)


def test_topics_are_made_only_on_request(stack: Stack) -> None:
    errors: list[object] = []
    producer = Producer({"bootstrap.servers": stack.kafka.bootstrap_servers, "topic.metadata.propagation.max.ms": 0})
    producer.produce("misspelt", b"x", on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(60) == 0

    assert isinstance(errors[0], KafkaException) or "UNKNOWN_TOPIC" in str(errors[0])


def test_second_stack_on_the_same_folder_is_refused_and_the_first_goes_on(stack: Stack) -> None:
    with pytest.raises(DependencyError, match="in use by process") as caught:
        Stack(stack.data, clickhouse=False).start()

    assert caught.value.fields["pid"] is not None
    assert stack.kafka.alive()
    assert stack.registry.alive()


def test_start_of_a_running_stack_changes_nothing(stack: Stack) -> None:
    pids = [stack.kafka.pid, stack.registry.pid]

    stack.start()

    assert [stack.kafka.pid, stack.registry.pid] == pids


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_records_ids_and_addresses_survive(stack: Stack, ending: str) -> None:
    clients, addresses = _clients(stack), stack.addresses()
    before = clients.read()
    clients.produce([ending.encode()])
    # The last thing before the end: an id that was given out must be on disk already.
    ids = [clients.register(f"{ending}-a", "x"), clients.register(f"{ending}-b", "x", "y"), clients.register(f"{ending}-c", "z")]

    getattr(stack, ending)()
    assert processes_on(stack.data) == []
    stack.start()

    assert stack.addresses() == addresses
    assert clients.read() == [*before, ending.encode()]
    assert [clients.schema(i) for i in ids] == [["x"], ["x", "y"], ["z"]]
    assert clients.register(f"{ending}-b", "x", "y") == ids[1]
    assert clients.register(f"{ending}-d", "w") not in ids


def test_stopped_broker_comes_back_on_its_own_port_while_the_rest_goes_on(stack: Stack) -> None:
    address, registry = stack.kafka.bootstrap_servers, stack.registry.pid
    cluster = KafkaCluster(KafkaSettings(address), "restart")
    end = cluster.high_watermarks([TopicPartition(TOPIC, 0)], 60)[TopicPartition(TOPIC, 0)]

    stack.kafka.stop()
    stack.kafka.start(120)

    assert stack.kafka.bootstrap_servers == address
    assert stack.registry.pid == registry
    # A client from before knows leaders of an older epoch, and finds the new ones by itself.
    assert cluster.high_watermarks([TopicPartition(TOPIC, 0)], 60)[TopicPartition(TOPIC, 0)] >= end
    assert _clients(stack).read()[:3] == [b"1", b"2", b"3"]


def test_port_taken_since_the_last_start_is_replaced_by_a_free_one(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text(f'{{"client": {stack.kafka.bootstrap_servers.rpartition(":")[2]}}}', encoding="utf-8")

    with Kafka(tmp_path, stack.cache) as other:
        assert other.bootstrap_servers != stack.kafka.bootstrap_servers


def test_port_asked_for_but_taken_is_an_error_that_names_it(stack: Stack, tmp_path: Path) -> None:
    port = int(stack.kafka.bootstrap_servers.rpartition(":")[2])

    with pytest.raises(DependencyError, match=f"port {port} on 127.0.0.1 is in use"):
        Kafka(tmp_path, stack.cache, port).start()

    assert processes_on(tmp_path) == []

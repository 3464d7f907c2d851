"""Write `pins.json` anew after a version was raised here: `python -m execpos.local.repin`. Downloads everything once."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from execpos.local.pins import PINS_FILE, Bundle, Pin
from execpos.local.requirements import optional_module

_KAFKA = "4.4.0"
_REGISTRY = "3.3.3"
# Kafka's POM leaves the logging backend to its distribution; without one the broker is silent. The version is its log4j-core's.
_LOG4J = "2.25.5"


def _pin(artifact: Any) -> Pin:
    path: Path = artifact.resolve()
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Pin(
        group=artifact.groupId,
        artifact=artifact.artifactId,
        version=artifact.version,
        classifier=artifact.classifier,
        packaging=artifact.packaging,
        sha256=digest,
        bytes=path.stat().st_size,
    )


def _bundle(name: str, version: str, artifacts: list[Any]) -> Bundle:
    files = tuple(sorted((_pin(artifact) for artifact in artifacts), key=lambda pin: pin.filename))
    digest = hashlib.sha256("".join(pin.sha256 for pin in files).encode()).hexdigest()[:12]
    return Bundle(name=name, version=version, digest=digest, files=files)


def main() -> None:
    """Resolve both servers with all they need at run time and write the pins."""
    maven = optional_module("jgo.maven")
    with tempfile.TemporaryDirectory() as folder:
        context = maven.MavenContext(repo_cache=Path(folder), timeout=60)

        def runtime(*coordinates: str) -> list[Any]:
            inputs, transitive = context.resolver.resolve([context.create_dependency(c) for c in coordinates])
            return [d.artifact for d in [*inputs, *(d for d in transitive if d.scope in {"compile", "runtime"})]]

        jars = runtime(f"org.apache.kafka:kafka_2.13:{_KAFKA}")
        logging = context.project("org.apache.logging.log4j", "log4j-slf4j-impl").at_version(_LOG4J).artifact()
        app = context.project("io.apicurio", "apicurio-registry-app").at_version(_REGISTRY).artifact(classifier="all", packaging="tar.gz")
        bundles = [_bundle("kafka", _KAFKA, [*jars, logging]), _bundle("registry", _REGISTRY, [app])]
    PINS_FILE.write_bytes(msgspec.json.format(msgspec.json.encode(bundles), indent=1) + b"\n")


if __name__ == "__main__":
    main()

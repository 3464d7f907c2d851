"""The broker's documented callbacks, one a line: kind, payload, where it is from, and what is special about it."""

import json
from pathlib import Path
from typing import Any

PATH = Path(__file__).parent / "data" / "callbacks.jsonl"

LINES: list[dict[str, Any]] = [json.loads(line) for line in PATH.read_text(encoding="utf-8").splitlines()]

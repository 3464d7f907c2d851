"""YAML files whose every value knows its line, read in a plain subset: no dates, octals or base-60 numbers, no duplicate keys.

YAML 1.1 reads `0050` as 40 and `14:30` as 870; stock codes and times of day must not fall into that, so both stay text here.
"""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from execpos.settings.problem import Path as KeyPath
from execpos.settings.problem import refuse

try:
    # Ten times as fast; PyYAML's wheels have it.
    from yaml import CSafeLoader as _Base
except ImportError:
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

# A configuration file is a few kilobytes; a larger one is some other file.
_SIZE_LIMIT_BYTES = 1_048_576
# Ours are five levels deep; the limit keeps a hostile file from exhausting the stack.
_DEPTH_LIMIT = 20


class _Loader(_Base):
    """Resolves only what JSON knows: null, true, false, numbers."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"null|~|", ["n", "~", ""]),
    ("bool", r"true|false", ["t", "f"]),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:0|[1-9][0-9_]*)\.[0-9]+(?:[eE][-+]?[0-9]+)?", list("-+0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)


class YamlFile:
    """One file, read once.

    Args:
        path: the file.
        shown: how messages name it.

    Raises:
        ConfigError: it cannot be read, or is no such YAML; the message names file and line.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self.path = path
        self.shown = shown
        self._lines: dict[KeyPath, int] = {(): 1}
        self.data: dict[str, Any] = self._read()

    def place(self, path: KeyPath) -> str:
        """Return `file:line` of the value, or of the nearest value around it."""
        known = path
        while known not in self._lines:
            known = known[:-1]
        return f"{self.shown}:{self._lines[known]}"

    def _read(self) -> dict[str, Any]:
        try:
            if self.path.stat().st_size > _SIZE_LIMIT_BYTES:
                raise refuse([f"{self.shown}: larger than {_SIZE_LIMIT_BYTES} bytes"])
            text = self.path.read_text(encoding="utf-8")
            loader = _Loader(text)
            root = loader.get_single_node()
            if root is None:
                return {}
            self._walk(root, (), ())
            if not isinstance(root, yaml.MappingNode):
                raise refuse([f"{self.shown}:1: the file must be a mapping of keys to values"])
            data: dict[str, Any] = loader.construct_document(root)
        except (OSError, UnicodeDecodeError) as error:
            raise refuse([f"{self.shown}: cannot be read: {error}"]) from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise refuse([f"{self.shown}:{line}: not valid YAML: {error.problem}"]) from error
        except yaml.YAMLError as error:
            raise refuse([f"{self.shown}:1: not valid YAML: {error}"]) from error
        return data

    def _walk(self, node: yaml.Node, path: KeyPath, around: tuple[int, ...]) -> None:
        """Note the line of every value below `node`; refuse what the subset leaves out."""
        line = node.start_mark.line + 1
        if len(path) > _DEPTH_LIMIT or id(node) in around:
            raise refuse([f"{self.shown}:{line}: nested too deeply"])
        around = (*around, id(node))
        if isinstance(node, yaml.MappingNode):
            seen: dict[Hashable, int] = {}
            for key, value in node.value:
                at = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                    raise refuse([f"{self.shown}:{at}: the key {getattr(key, 'value', '')!r} must be text; put it in quotes"])
                if key.value in seen:
                    raise refuse([f"{self.shown}:{at}: the key {key.value!r} stands on line {seen[key.value]} already"])
                seen[key.value] = at
                self._lines[*path, key.value] = at
                self._walk(value, (*path, key.value), around)
        elif isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                self._lines[*path, position] = item.start_mark.line + 1
                self._walk(item, (*path, position), around)

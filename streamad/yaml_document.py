"""YAML settings: their values, their lines, and values that YAML reads differently than people do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from streamad.errors import ConfigError

Location = tuple[str | int, ...]
"""The location of a value: keys of mappings and indices of lists, from the top."""

_SECRET = {"url", "username_env", "password_env", "secret_file", "sinks"}
_MAX_VALUES = 100_000
_MAX_DIGITS = 100
_TAG = "tag:yaml.org,2002:"
_NUMBERS = (_TAG + "int", _TAG + "float")
_KEY_TAGS = (_TAG + "str", _TAG + "merge")
_WORDS = {"null": "null", "timestamp": "a date", "bool": "a boolean", "int": "a number", "float": "a number"}
_NOT_DECIMAL = re.compile(r"[-+]?0[0-9_]+|.*:.*")
_LOOKS_LIKE_A_NUMBER = re.compile(r"[-+]?[\d.][\w.+-]*")

# PyYAML's messages → ours. PyYAML's may quote a part of the file, which may be a password.
_PROBLEMS = (
    (r"'\t'", "a tab where YAML expects spaces", "indent with spaces only"),
    ("mapping values are not allowed", "a second `: ` on this line", "put a value that contains `: ` in quotes"),
    ("cannot start any token", "a value starts with a character that is special in YAML", "put it in quotes"),
    ("undefined alias", "a value that starts with * is an undefined alias", "put it in quotes"),
    ("expected alphabetic", "a value starts with a character that is special in YAML", "put it in quotes"),
    ("could not determine a constructor", "a value that starts with ! or = is not supported", "put it in quotes"),
    ("unknown escape", "a backslash in double quotes starts an escape sequence", "use single quotes"),
    ("tag handle", "a value starts with a character that is special in YAML", "put it in quotes"),
    ("another document", "`---` starts a second document", "use one document per file"),
)


class YamlDocument:
    """A mapping of settings, read from YAML.

    Attributes:
        name: The file's name, for messages.
        content: The mapping.
        faults: (line, message) of keys that are not text or are repeated.

    Args:
        text: YAML.
        name: The file's name.

    Raises:
        ConfigError: Not valid YAML, not a mapping, or too large; the message names the line.
    """

    def __init__(self, text: str, *, name: str) -> None:
        self.name = name
        self.faults: list[tuple[int, str]] = []
        try:
            loader = _Loader(text)
            root = loader.get_single_node()
            if not isinstance(root, yaml.MappingNode):
                found = (
                    "the file is empty"
                    if root is None
                    else "not a list"
                    if isinstance(root, yaml.SequenceNode)
                    else "not a single value"
                )
                raise ConfigError(
                    f"{name}: expected a mapping of settings (`name: value`), {found}",
                    hint="`streamad config init --print` shows a commented example",
                )
            _check_size(root, name)
            self.faults += _odd_keys(root)
            self.content: dict[str, Any] = loader.construct_document(root)  # also adds merged keys to the nodes
        except yaml.reader.ReaderError as error:
            line = text[: error.position].count("\n") + 1
            raise ConfigError(f"{name}:{line}: not valid YAML: the control character U+{error.character:04X}") from None
        except yaml.YAMLError as error:
            mark, problem = getattr(error, "problem_mark", None), str(getattr(error, "problem", None) or error)
            where = name if mark is None else f"{name}:{mark.line + 1}"
            for words, ours, hint in _PROBLEMS:
                if words in problem:
                    raise ConfigError(f"{where}: not valid YAML: {ours}", hint=hint) from None
            raise ConfigError(f"{where}: not valid YAML: {problem}") from None
        except RecursionError:
            raise ConfigError(f"{name}: not valid YAML: nested too deeply") from None
        except ConfigError:
            raise
        except ValueError as error:  # a date such as 2024-99-99
            raise ConfigError(f"{name}: not valid YAML: {error}", hint="put such a value in quotes") from None
        self._places = {place: (line, node) for place, line, node in _places(root, ())}

    def known(self, location: Location) -> Location:
        """The part of a location that exists in the file, without the type of a union and the like."""
        found: Location = ()
        for part in location:
            if (*found, part) in self._places:
                found = (*found, part)
        return found

    def line(self, location: Location) -> int:
        """The line of a value, or of the nearest mapping or list around it."""
        return self._places[self.known(location)][0]

    def scalars(self) -> Iterator[tuple[Location, yaml.ScalarNode]]:
        """The location and node of each value that is not a mapping or list."""
        for place, (_, node) in self._places.items():
            if isinstance(node, yaml.ScalarNode):
                yield place, node

    def reading(self, location: Location) -> str | None:
        """How YAML reads an unquoted value, as in "YAML reads `no` as false"; None if it reads it as text."""
        node = self._places[location][1] if location in self._places else None
        if not isinstance(node, yaml.ScalarNode) or node.style is not None:
            return None
        kind = node.tag.removeprefix(_TAG)
        # Do not show what belongs to credentials: it may be the password itself, which may be a number.
        shown = "this" if _SECRET & set(location) else f"`{node.value}`"
        if kind == "str":
            return f"YAML reads {shown} as text" if _LOOKS_LIKE_A_NUMBER.fullmatch(node.value) else None
        if kind not in _WORDS:
            return None
        word = _WORDS[kind]
        value = self.value(location)
        if shown != "this" and isinstance(value, bool):
            word = str(value).lower()
        elif shown != "this" and isinstance(value, int | float) and str(value) != node.value:
            word = f"the number {value}"
        return f"YAML reads {shown} as {word}" if node.value else "YAML reads an empty value as null"

    def misread_number(self, location: Location) -> bool:
        """Whether a number is not read as it looks: octal (`010` is 8) or sexagesimal (`1:30` is 90)."""
        node = self._places[location][1]
        is_number = node.tag in _NUMBERS
        return is_number and _NOT_DECIMAL.fullmatch(str(node.value)) is not None

    def is_truth_value(self, location: Location) -> bool:
        """Whether YAML reads a value as a boolean."""
        return bool(self._places[location][1].tag == _TAG + "bool")

    def is_empty(self, location: Location) -> bool:
        """Whether a setting has no value."""
        node = self._places[location][1]
        return bool(isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "null" and not node.value)

    def value(self, location: Location) -> Any:
        """The value at a location of the file."""
        value: Any = self.content
        for part in location:
            value = value[part]
        return value


class _Loader(yaml.SafeLoader):
    """Refuses input that takes long to read: more values than a file of settings has, or numbers with many digits."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._values += 1
        if self._values > _MAX_VALUES:
            raise yaml.YAMLError(f"over {_MAX_VALUES} values")
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and len(node.value) > _MAX_DIGITS:
            raise yaml.YAMLError(f"a number of {len(node.value)} characters")
        return node


def _check_size(root: yaml.Node, name: str) -> None:
    waiting, count = [root], 0
    while waiting:
        node, count = waiting.pop(), count + 1
        if count > _MAX_VALUES:
            raise ConfigError(
                f"{name}: not valid YAML: over {_MAX_VALUES} values, counting each repetition by an alias"
            )
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _places(node: yaml.Node, path: Location) -> Iterator[tuple[Location, int, yaml.Node]]:
    """(location, line, node) of every value; the line of a setting is that of its key."""
    if not path:
        yield path, node.start_mark.line + 1, node
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            yield here, key.start_mark.line + 1, value
            yield from _places(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield (*path, number), value.start_mark.line + 1, value
            yield from _places(value, (*path, number))


def _odd_keys(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Keys that are not text, and repeated keys, of which YAML silently keeps the last."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield line, "the name of a setting must be text"
                continue
            if key.tag not in _KEY_TAGS:
                kind = _WORDS.get(key.tag.removeprefix(_TAG), "something else")
                if key.tag == _TAG + "bool":
                    kind = str(yaml.SafeLoader.bool_values[key.value.lower()]).lower()
                yield (
                    line,
                    f"{key.value}: the name of a setting must be text, and YAML reads this as {kind}; put it in quotes",
                )
            if key.value in seen:
                yield line, f"{key.value}: duplicate of line {seen[key.value]}"
            seen.setdefault(key.value, line)
            yield from _odd_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _odd_keys(value)

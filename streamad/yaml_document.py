"""YAML as settings: the values, the line of each, and what YAML reads otherwise than people do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from streamad.errors import ConfigError

Location = tuple[str | int, ...]
"""Where a value is: keys of mappings and numbers in lists, from the top."""

_SECRET = {"url", "username_env", "password_env", "secret_file", "sinks"}
_MAX_VALUES = 100_000
_MAX_DIGITS = 100
_TAG = "tag:yaml.org,2002:"
_NUMBERS = (_TAG + "int", _TAG + "float")
_KEY_TAGS = (_TAG + "str", _TAG + "merge")
_WORDS = {"null": "nothing", "timestamp": "a date", "bool": "a truth value", "int": "a number", "float": "a number"}
_NOT_DECIMAL = re.compile(r"[-+]?0[0-9_]+|.*:.*")
_LOOKS_LIKE_A_NUMBER = re.compile(r"[-+]?[\d.][\w.+-]*")

# PyYAML's words → ours. Its own may quote a part of the file, which may be a password.
_PROBLEMS = (
    (r"'\t'", "a tab where YAML wants blanks", "indent with blanks alone"),
    ("mapping values are not allowed", "a second `: ` on this line", "put a value that holds `: ` in quotes"),
    ("cannot start any token", "a value begins with a character of YAML's own", "put it in quotes"),
    ("undefined alias", "a value that begins with * is an alias of something that is nowhere", "put it in quotes"),
    ("expected alphabetic", "a value begins with a character of YAML's own", "put it in quotes"),
    ("could not determine a constructor", "a value that begins with ! or = means nothing here", "put it in quotes"),
    ("unknown escape", "in double quotes a backslash begins an escape", "use single quotes"),
    ("tag handle", "a value begins with a character of YAML's own", "put it in quotes"),
    ("another document", "`---` begins a second document", "keep one document in the file"),
)


class YamlDocument:
    """A mapping of settings, read from YAML.

    Attributes:
        name: the file's name, for messages.
        content: the mapping.
        faults: (line, message) of keys that are no text or are given twice.

    Args:
        text: YAML.
        name: the file's name.

    Raises:
        ConfigError: not valid YAML, no mapping, or too large; the message names the line.
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
            self.content: dict[str, Any] = loader.construct_document(root)  # puts merged keys into the nodes, too
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
        except ValueError as error:  # of the standard library, for a date such as 2024-99-99
            raise ConfigError(f"{name}: not valid YAML: {error}", hint="put such a value in quotes") from None
        self._places = {place: (line, node) for place, line, node in _places(root, ())}

    def known(self, location: Location) -> Location:
        """The part of a location that is in the file, without parts that are not, such as the type of a union."""
        found: Location = ()
        for part in location:
            if (*found, part) in self._places:
                found = (*found, part)
        return found

    def line(self, location: Location) -> int:
        """The line of a value, or of the nearest thing around it."""
        return self._places[self.known(location)][0]

    def scalars(self) -> Iterator[tuple[Location, yaml.ScalarNode]]:
        """Every value that is neither a mapping nor a list."""
        for place, (_, node) in self._places.items():
            if isinstance(node, yaml.ScalarNode):
                yield place, node

    def reading(self, location: Location) -> str | None:
        """What YAML makes of a value written without quotes: "YAML reads `no` as false"; None where it stays text."""
        node = self._places[location][1] if location in self._places else None
        if not isinstance(node, yaml.ScalarNode) or node.style is not None:
            return None
        kind = node.tag.removeprefix(_TAG)
        # What belongs to credentials is not shown: it may be the password itself, which may be a number.
        shown = "this" if _SECRET & set(location) else f"`{node.value}`"
        if kind == "str":
            return f"YAML reads {shown} as text" if _LOOKS_LIKE_A_NUMBER.fullmatch(node.value) else None
        if kind not in _WORDS:
            return None
        word = _WORDS[kind]
        value = self._value(location)
        if shown != "this" and isinstance(value, bool):
            word = str(value).lower()
        elif shown != "this" and isinstance(value, int | float) and str(value) != node.value:
            word = f"the number {value}"
        return f"YAML reads {shown} as {word}" if node.value else "YAML reads an empty value as nothing"

    def misread_number(self, location: Location) -> bool:
        """Whether a number is not what it looks like: octal (`010` is 8) or of base 60 (`1:30` is 90)."""
        node = self._places[location][1]
        is_number = node.tag in _NUMBERS
        return is_number and _NOT_DECIMAL.fullmatch(str(node.value)) is not None

    def is_truth_value(self, location: Location) -> bool:
        """Whether YAML reads a value as true or false."""
        return bool(self._places[location][1].tag == _TAG + "bool")

    def is_empty(self, location: Location) -> bool:
        """Whether nothing was written where a value belongs."""
        node = self._places[location][1]
        return bool(isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "null" and not node.value)

    def _value(self, location: Location) -> Any:
        value: Any = self.content
        for part in location:
            value = value[part]
        return value


class _Loader(yaml.SafeLoader):
    """Stops at what takes long to read: more values than a file of settings has, or a number of many digits."""

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
                f"{name}: not valid YAML: over {_MAX_VALUES} values, counting each time an alias repeats them"
            )
        if isinstance(node, yaml.MappingNode):
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _places(node: yaml.Node, path: Location) -> Iterator[tuple[Location, int, yaml.Node]]:
    """(location, line, node) of every value; the line of a setting is that of its name."""
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
    """Keys that are no text, and keys given twice, of which YAML silently keeps the last."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield line, "a setting's name must be text"
                continue
            if key.tag not in _KEY_TAGS:
                kind = _WORDS.get(key.tag.removeprefix(_TAG), "something else")
                if key.tag == _TAG + "bool":
                    kind = str(yaml.SafeLoader.bool_values[key.value.lower()]).lower()
                yield (
                    line,
                    f"{key.value}: a setting's name must be text, and YAML reads this as {kind}; put it in quotes",
                )
            if key.value in seen:
                yield line, f"{key.value}: given before, on line {seen[key.value]}"
            seen.setdefault(key.value, line)
            yield from _odd_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _odd_keys(value)

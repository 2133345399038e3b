"""Change one setting in a YAML text, and leave everything else of it as it is: comments, order, spacing."""

from __future__ import annotations

import copy
from typing import Any

import yaml

from streamad.errors import ConfigError
from streamad.yaml_document import Location, YamlDocument


class EditError(ConfigError):
    """The text is written in a way in which one setting cannot be changed by itself."""


def edited(text: str, place: Location, key: str, value: Any, *, name: str) -> str:
    """Return the text with one setting of a mapping set, or removed.

    Comments inside the old value are lost, all others stay. The result is read again: it differs from the text in this
    setting alone.

    Args:
        text: A YAML document.
        place: Where the mapping is.
        key: The setting's name.
        value: Its new value, of JSON types; None removes the setting.
        name: The file's name, for messages.

    Raises:
        ConfigError: The text is not valid YAML.
        EditError: The setting cannot be changed by itself: the mapping is in braces, or shared by an alias.
    """
    before = YamlDocument(text, name=name)
    wanted = copy.deepcopy(before.content)
    mapping: Any = wanted
    for part in place:
        mapping = mapping[part]
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value
    result = _changed(text, place, key, value)
    try:
        is_right = YamlDocument(result, name=name).content == wanted
    except ConfigError:
        is_right = False
    if not is_right:
        raise EditError(f"{name}: {key} cannot be changed without changing other settings: an alias, or unusual layout")
    return result


def edited_parts(text: str, place: Location, key: str, old: Any, new: Any, *, name: str) -> str:
    """Like `edited`, but of lists with as many mappings, only what differs is written.

    So comments in them stay, and values that are written in another way, such as with variables of the environment.

    Args:
        text: A YAML document.
        place: Where the mapping is.
        key: The setting's name.
        old: What the setting means now, of JSON types.
        new: What it shall mean; None removes it.
        name: The file's name, for messages.

    Raises:
        ConfigError: See `edited`.
    """
    if _are_mappings(old) and _are_mappings(new) and len(old) == len(new):
        result = text
        try:
            for number, (before, after) in enumerate(zip(old, new, strict=True)):
                for part in before | after:
                    if before.get(part) != after.get(part):
                        inner = (*place, key, number)
                        result = edited_parts(result, inner, part, before.get(part), after.get(part), name=name)
            return result
        except EditError:  # one in braces, for example: the list is written again
            pass
    return edited(text, place, key, new, name=name)


def rendered(key: str, value: Any, indent: int = 0) -> str:
    """Return a setting as YAML lines; lists of numbers are on one line."""
    text = yaml.dump({key: _flowing(value)}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6)
    return "".join(" " * indent + line for line in text.splitlines(keepends=True))


def _changed(text: str, place: Location, key: str, value: Any) -> str:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for part in place:
        node = _child(node, part)
    if not isinstance(node, yaml.MappingNode) or node.flow_style or not node.value:
        raise EditError(f"the settings around {key} are not on lines of their own")
    lines = text.splitlines(keepends=True)
    newline = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    indent = node.value[0][0].start_mark.column
    new = [] if value is None else [line + newline for line in rendered(key, value, indent).splitlines()]
    old = next((pair for pair in node.value if pair[0].value == key), None)
    if old is None:
        last = _last_line(node.value[-1][1])
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += newline
        return "".join([*lines[: last + 1], *new, *lines[last + 1 :]])
    first, last = old[0].start_mark.line, _last_line(old[1])
    head = lines[first][: old[0].start_mark.column]
    if head.strip():  # the first setting, on the line of its list's dash
        if not new:
            raise EditError(f"{key} is on the line of a list's dash")
        new[0] = head + new[0][indent:]
    if len(new) == 1 and first == last:  # its comment is still about it
        new[0] = new[0].rstrip("\r\n") + lines[first][old[1].end_mark.column :]
    return "".join([*lines[:first], *new, *lines[last + 1 :]])


def _are_mappings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, dict) for part in value)


def _child(node: yaml.Node | None, part: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
        return node.value[part]  # type: ignore[no-any-return]
    if isinstance(node, yaml.MappingNode):
        return next((value for key, value in node.value if key.value == part), None)
    return None


def _last_line(node: yaml.Node) -> int:
    """Return the number of the last line of a value; that of a block ends with its last part, before any comment."""
    if isinstance(node, yaml.MappingNode | yaml.SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.line
    return end - 1 if node.end_mark.column == 0 and end > node.start_mark.line else end


class _Flow(list[Any]):
    """A list on one line."""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


_Dumper.add_representer(_Flow, lambda dumper, value: dumper.represent_sequence("tag:yaml.org,2002:seq", value, True))


def _flowing(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _flowing(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        is_plain = not any(isinstance(part, dict) for part in value)
        return _Flow([_flowing(part) for part in value]) if is_plain else [_flowing(part) for part in value]
    return value

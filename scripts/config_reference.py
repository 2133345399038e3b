"""Write docs/reference/configuration.md and docs/reference/bundle.md from the schemas.

python scripts/config_reference.py           write the pages
python scripts/config_reference.py --check   exit with 1 if a page does not match the schema
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from streamad.bundle import Manifest
from streamad.config import Config

DOCS = Path(__file__).resolve().parent.parent / "docs"
NOTE = (
    "<!-- Written by scripts/config_reference.py from the schema. Do not edit: change the schema and run it again. -->"
)
COLUMNS = "| key | type | default | bounds | meaning |\n|---|---|---|---|---|"
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} character(s)",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "pattern": "matches `{}`",
}

Schema = Mapping[str, Any]


def pages() -> dict[str, str]:
    """Map each file name in docs/ to its text."""
    return {
        "reference/configuration.md": page(
            Config,
            "Configuration reference",
            "Every key of the YAML file that `streamad run` reads. How to use them: [configure](../how-to/configure.md). "
            "An unknown key is an error.",
        ),
        "reference/bundle.md": page(
            Manifest,
            "Bundle reference",
            "Every key of a bundle's `model.yaml`. What they are for: [model bundles](../concepts/bundles.md). The file is written by "
            "`streamad train`; nobody needs to write one by hand.",
        ),
    }


def page(model: type[BaseModel], title: str, introduction: str) -> str:
    """Return the page of one schema."""
    schema = model.model_json_schema()
    sections = [f"# {title}", NOTE, introduction]
    for path, part in _sections(schema, schema, ""):
        sections += [f"## {path or 'The file'}", *_description(part), _table(part, schema)]
    return "\n\n".join(sections) + "\n"


def _sections(part: Schema, root: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    """Generate (heading, schema) of a mapping and all mappings in it, in the order of their keys."""
    yield path, part
    for name, field in part.get("properties", {}).items():
        where = f"{path.strip('`').split('` with')[0]}.{name}".lstrip(".") if path else name
        for suffix, nested in _mappings(field, root):
            yield from _sections(nested, root, f"`{where}{suffix[0]}`{suffix[1]}")


def _mappings(field: Schema, root: Schema) -> Iterator[tuple[tuple[str, str], Schema]]:
    """Find the mappings with their own keys that a field may contain: ((list mark, which one), schema)."""
    if "$ref" in field:
        yield ("", ""), _resolved(field, root)
    elif field.get("type") == "array" and isinstance(field.get("items"), dict):
        for (mark, which), nested in _mappings(field["items"], root):
            yield ("[]" + mark, which), nested
    elif "discriminator" in field:
        key = field["discriminator"]["propertyName"]
        for value, reference in field["discriminator"]["mapping"].items():
            yield ("", f" with `{key}: {value}`"), _resolved({"$ref": reference}, root)
    else:
        for option in field.get("anyOf", ()):
            yield from _mappings(option, root)


def _resolved(field: Schema, root: Schema) -> Schema:
    found: Schema = root["$defs"][field["$ref"].rpartition("/")[2]]
    return found


def _description(part: Schema) -> list[str]:
    text = str(part.get("description", "")).split("\n\n")[0].replace("\n", " ").strip()
    return [text] if text else []


def _table(part: Schema, root: Schema) -> str:
    required = part.get("required", ())
    rows = [COLUMNS]
    fields = sorted(part["properties"].items(), key=lambda item: item[0] != "type")  # the discriminator first
    for name, field in fields:
        cells = [
            f"`{name}`",
            _type(field, root),
            _default(field, name in required),
            ", ".join(_bounds(field)),
            str(field.get("description", "selects this form" if name == "type" else "")).replace("\n", " "),
        ]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def _type(field: Schema, root: Schema) -> str:
    if "$ref" in field or "discriminator" in field:
        return "mapping (below)"
    if "anyOf" in field:
        kinds = [_type(option, root) for option in field["anyOf"] if option.get("type") != "null"]
        empty = " or empty" if any(option.get("type") == "null" for option in field["anyOf"]) else ""
        return " or ".join(dict.fromkeys(kinds)) + empty
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}), root)}"
    if field.get("format") == "path":
        return "path"
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false"}
    if field.get("format") == "uri":
        return "address"
    return names.get(str(field.get("type")), "mapping")


def _default(field: Schema, required: bool) -> str:
    if required:
        return "required"
    if "default" not in field:
        return "as below" if "$ref" in field else ""
    value = field["default"]
    if value is None:
        return "empty"
    if value == [] or value == ():
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _bounds(field: Schema) -> Iterator[str]:
    for part in (field, *field.get("anyOf", ())):
        for key, text in BOUNDS.items():
            if key in part:
                value = part[key]
                yield text.format(f"{value:g}" if isinstance(value, float) else value)


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them."""
    stale = [name for name, text in pages().items() if not _is_current(DOCS / name, text)]
    if "--check" in arguments:
        for name in stale:
            print(f"docs/{name} does not match the schema; run python scripts/config_reference.py", file=sys.stderr)
        return 1 if stale else 0
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        print(f"docs/{name}: {'written' if name in stale else 'unchanged'}")
    return 0


def _is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

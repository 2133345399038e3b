"""Write docs/reference/http-api.md from the OpenAPI document of the web server.

python scripts/http_api_reference.py           write the page
python scripts/http_api_reference.py --check   exit with 1 if the page does not match
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamad.observability import Health, Metrics
from streamad.web import create_app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "http-api.md"
INTRODUCTION = """\
# HTTP API

<!-- Written by scripts/http_api_reference.py from the routes. Do not edit: change the routes and run it again. -->

What `streamad run` answers on its port (`web`, by default 127.0.0.1:8080). Who may use it, and how to log in or make a token:
[secure an installation](../how-to/secure.md). The page at `/` uses nothing else.

The OpenAPI document is at `/api/v1/openapi.json`. Generators make a typed client from it, for example
`openapi-python-client generate --url http://127.0.0.1:8080/api/v1/openapi.json`.

- Times are ISO 8601 with a time zone; answers have UTC.
- Within `v1`, paths, parameters and keys are only added. Ignore keys that you do not know.
- Pages: pass `next` as `cursor` to get the following page; it is null on the last one.
- A request that is not answered gets a [Problem](#problem).
- In a browser's session, a request that changes something needs the header `X-CSRF-Token` with `csrf_token` of `/api/v1/me`.
"""

Schema = Mapping[str, Any]


def page() -> str:
    """Return the text of the page."""
    document = create_app(metrics=Metrics(), health=Health(), status=dict).openapi()
    parts = [INTRODUCTION.rstrip()]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts += [f"## {method.upper()} {path}", *_operation(operation)]
    parts += ["## Documents", "Keys are always present unless marked optional."]
    for name, schema in document["components"]["schemas"].items():
        if name not in ("HTTPValidationError", "ValidationError"):
            parts += [f"### {name}", *_document(schema)]
    return "\n\n".join(parts) + "\n"


def _operation(operation: Schema) -> Iterator[str]:
    yield operation["description"]
    rows = [(p["name"], p["in"], p["schema"], p.get("description", "")) for p in operation.get("parameters", ())]
    if rows:
        lines = [f"| `{name}` | {place} | {_type(schema)} | {text} |" for name, place, schema, text in rows]
        yield "\n".join(["| parameter | in | type | meaning |", "|---|---|---|---|", *lines])
    if "requestBody" in operation:
        yield f"Body: {_content(operation['requestBody'])}."
    answers = []
    for status, answer in operation["responses"].items():
        what = _content(answer)
        meaning = (
            answer["description"] if answer["description"] not in ("Successful Response", "Validation Error") else ""
        )
        answers.append(f"| {status} | {what} | {meaning} |")
    yield "\n".join(["| status | answer | meaning |", "|---|---|---|", *answers])


def _content(part: Schema) -> str:
    found = []
    for kind, content in part.get("content", {}).items():
        schema = content.get("schema", {})
        found.append(_type(schema) if kind == "application/json" else f"`{kind}`")
    return ", ".join(found) or "none"


def _document(schema: Schema) -> Iterator[str]:
    yield str(schema.get("description", "")).partition("\n\n")[0].replace("\n", " ") or "Values."
    texts = _texts(str(schema.get("description", "")))
    if "enum" in schema:
        yield "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + "."
    if "properties" in schema:
        lines = []
        for name, field in schema["properties"].items():
            optional = "" if name in schema.get("required", ()) else " (optional)"
            text = str(field.get("description") or texts.get(name, "")).replace("\n", " ")
            lines.append(f"| `{name}` | {_type(field)}{optional} | {text.replace('|', chr(92) + '|')} |")
        yield "\n".join(["| key | type | meaning |", "|---|---|---|", *lines])


def _texts(description: str) -> dict[str, str]:
    """The entries of the section Attributes or Keys of a docstring."""
    texts: dict[str, str] = {}
    name, is_list = "", False
    for line in description.splitlines():
        if line in ("Attributes:", "Keys:"):
            is_list = True
        elif is_list and line.startswith("    ") and not line.startswith("     "):
            name, _, text = line.strip().partition(": ")
            texts[name] = text
        elif is_list and line.startswith("     "):
            texts[name] += " " + line.strip()
        elif line.strip():
            is_list = False
    return texts


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        kinds = [_type(option) for option in schema["anyOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds)) + (" or null" if {"type": "null"} in schema["anyOf"] else "")
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        if "prefixItems" in schema:
            return "[" + ", ".join(_type(item) for item in schema["prefixItems"]) + "]"
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("format") == "date-time":
        return "time"
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true, false", "null": "null"}
    return names.get(str(schema.get("type")), "mapping")


def main(arguments: list[str]) -> int:
    """Write the page, or compare it."""
    text = page()
    is_current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text
    if "--check" in arguments:
        if not is_current:
            print(
                "docs/reference/http-api.md is not current; run python scripts/http_api_reference.py", file=sys.stderr
            )
        return 0 if is_current else 1
    PAGE.write_text(text, encoding="utf-8")
    print(f"docs/reference/http-api.md: {'unchanged' if is_current else 'written'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

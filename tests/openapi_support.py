"""Check answers of the API against its OpenAPI document, as a client in another language would."""

from __future__ import annotations

from typing import Any

import httpx
import jsonschema


def fits(document: dict[str, Any], path: str, answer: httpx.Response) -> None:
    """Check that an answer is what the document says.

    Args:
        document: The OpenAPI document.
        path: The path as the document has it.
        answer: The answer.
    """
    described = document["paths"][path][answer.request.method.lower()]["responses"][str(answer.status_code)]
    if not described.get("content"):
        assert answer.content == b""
        return
    kind = answer.headers.get("content-type", "").partition(";")[0]
    schema = described["content"][kind].get("schema", {})
    if kind == "application/json":
        root = {**schema, "components": document["components"]}
        jsonschema.Draft202012Validator(root, format_checker=jsonschema.FormatChecker()).validate(answer.json())

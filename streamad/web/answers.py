"""Answers of the API: documents that no cache keeps, and problems of one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from streamad.errors import StreamadError, UsageError
from streamad.redaction import redact
from streamad.web.models import Problem

NO_STORE = {"Cache-Control": "no-store"}
_MEANINGS = {
    400: "the request is not allowed as it is",
    401: "log in, or send a token",
    403: "the role does not allow it",
    404: "there is none",
    422: "a value is not valid",
    429: "too many attempts; wait",
    503: "it cannot be done now",
}


def no_store(document: Mapping[str, Any]) -> JSONResponse:
    """A document that no cache keeps."""
    return JSONResponse(document, headers=NO_STORE)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The entries of a route's `responses` for these statuses, all of which are a `Problem`."""
    return {status: {"model": Problem, "description": _MEANINGS[status]} for status in statuses}


def content(what: str, *types: str) -> dict[int | str, dict[str, Any]]:
    """The entry of a route's `responses` for an answer that is not JSON."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": what, "content": dict.fromkeys(sorted(types), binary)}}


def problem(
    status: int,
    error: str,
    hint: str | None = None,
    headers: Mapping[str, str] | None = None,
    fields: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer to a request that failed. Credentials in the message are masked."""
    document: dict[str, Any] = {"error": redact(error), "hint": None if hint is None else redact(hint)}
    if fields:
        document["fields"] = {name: redact(message) for name, message in fields.items()}
    return JSONResponse(document, status_code=status, headers={**NO_STORE, **(headers or {})})


def handle_problems(app: FastAPI) -> None:
    """Make the application answer every failure with a `Problem`."""

    @app.exception_handler(StreamadError)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        hint = error.hint if isinstance(error, StreamadError) else None
        return problem(422 if isinstance(error, UsageError) else 503, str(error), hint)

    @app.exception_handler(StarletteHTTPException)
    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, StarletteHTTPException)
        hint, fields = (error.hint, error.fields) if isinstance(error, Refusal) else (None, None)
        return problem(error.status_code, str(error.detail), hint, error.headers, fields)

    @app.exception_handler(RequestValidationError)
    async def misread(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        fields = {
            ".".join(str(part) for part in fault["loc"][1:]): str(fault["msg"]).removeprefix("Value error, ")
            for fault in error.errors()
        }
        return problem(422, "; ".join(f"{name}: {message}" for name, message in fields.items()), fields=fields)


class Refusal(HTTPException):
    """A request that is not answered, with a hint.

    Args:
        status: HTTP status.
        error: What is wrong.
        hint: What to do about it.
        headers: Headers of the answer.
        fields: What is wrong with the body's values, by their place.
    """

    def __init__(
        self,
        status: int,
        error: str,
        hint: str | None = None,
        headers: dict[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, error, headers)
        self.hint = hint
        self.fields = fields

"""The help of commands: plain text, options grouped by purpose, examples last. No rich, whose import takes 0.2 s."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

Complete = Callable[[str], list[str]]
"""Returns the names that start with an incomplete one."""

EXAMPLES = "\nExamples:\n"
"""Separates the text of a command's docstring from its examples, one command line each."""


def opt(
    *names: str,
    help: str,
    panel: str | None = None,
    unit: str | None = None,
    complete: Complete | None = None,
    **more: Any,
) -> Any:
    """An option of a command: `typer.Option` in fewer words.

    Args:
        names: Its names, with dashes. Default: the name of the parameter.
        help: One or two sentences.
        panel: Heading of its group in the help. Default: "Options".
        unit: Placeholder of its value, such as SECONDS or DIR.
        complete: Completes its value.
        more: Other arguments of `typer.Option`.
    """
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=unit, autocompletion=complete, **more)


def arg(*, help: str, unit: str | None = None, complete: Complete | None = None, **more: Any) -> Any:
    """An argument of a command; see `opt`."""
    return typer.Argument(help=help, metavar=unit, autocompletion=complete, **more)


def examples_of(command: Any) -> list[str]:
    """The command lines in the help of a command."""
    lines = inspect.cleandoc(command.help or "").partition(EXAMPLES)[2].splitlines()
    return [line.strip() for line in lines if line.strip()]


class _Help:
    """Formats the help of a command. Options show under the heading that their `rich_help_panel` names."""

    help: str | None

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        whole = self.help
        self.help = inspect.cleandoc(whole or "").partition(EXAMPLES)[0]
        super().format_help_text(ctx, formatter)  # type: ignore[misc]
        self.help = whole

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for heading, rows in self._sections(ctx):
            with formatter.section(heading):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if examples := examples_of(self):
            with formatter.section("Examples"):
                for line in examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")

    def _sections(self, ctx: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Heading and (left, right) columns of each group: arguments, options without a group, then the others."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):  # type: ignore[attr-defined]
            record = param.get_help_record(ctx)
            if record is not None:
                default = "Arguments" if param.param_type_name == "argument" else "Options"
                left = record[0].partition(" <")[0] if default == "Arguments" else record[0]  # without "<str>"
                sections.setdefault(getattr(param, "rich_help_panel", None) or default, []).append((left, record[1]))
        yield from ((heading, rows) for heading, rows in sections.items() if rows)


class Command(_Help, TyperCommand):
    """A command with grouped options and examples in its help."""


class Group(_Help, TyperGroup):
    """A command with subcommands."""

    def _sections(self, ctx: Any) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        yield from super()._sections(ctx)
        for heading, names in self.command_sections().items():
            yield heading, [(name, summary_of(self.get_command(ctx, name))) for name in names]

    def command_sections(self) -> dict[str, list[str]]:
        """The names of the subcommands under their headings."""
        return {"Commands": list(self.commands)}


def summary_of(command: Any) -> str:
    """The first line of a command's help."""
    return inspect.cleandoc(command.help or "").partition("\n")[0]


def with_help(app: typer.Typer) -> typer.Typer:
    """Give a group of commands, and all commands in it, this module's help."""
    app.info.cls = Group
    app.rich_markup_mode = None
    for command in app.registered_commands:
        command.cls = Command
    return app

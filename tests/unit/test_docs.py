"""The documentation says what is: every name in it exists, and what exists is in it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import importlib.util
import io
import json
import re
import shlex
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from cli_names_support import commands

import streamad
from streamad.alerts.event import Event, new_event_id
from streamad.alerts.marks import Mark, add_mark
from streamad.alerts.sinks import PluginSink, SinkSpec
from streamad.alerts.store import EventStore
from streamad.calibration.policy import AlertPolicySpec
from streamad.cli.help import summary_of
from streamad.config import parse_config
from streamad.errors import ExitCode
from streamad.observability import Health, Metrics
from streamad.observability.status import AlertLabel, CameraState
from streamad.sources import FailureReason
from streamad.sources.spec import PluginSource, SourceSpec
from streamad.web import create_app

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *(page for page in DOCS.rglob("*.md") if "images" not in page.relative_to(DOCS).parts),
        *(
            ROOT / name
            for name in (
                "README.md",
                "CONTRIBUTING.md",
                "CHANGELOG.md",
                "SECURITY.md",
                "examples/README.md",
                "streamad/detectors/adacl/README.md",
            )
        ),
    ]
)
MADE_LATER = (DOCS / "results", DOCS / "images")
"""Measured and rendered by tools; their links are checked once they are there."""


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def blocks(page: str, language: str) -> list[str]:
    """Contents of the fenced blocks of one language, those in lists too."""
    found: list[str] = []
    fence: tuple[str, list[str]] | None = None
    for line in page.splitlines(keepends=True):
        mark = re.fullmatch(r"\s*```(\w*)(?: title=.*)?\s*", line)
        if mark is None and fence is not None:
            fence[1].append(line)
        elif mark is not None and fence is None:
            fence = mark[1], []
        elif mark is not None and fence is not None:
            if fence[0] == language:
                found.append("".join(fence[1]))
            fence = None
    assert fence is None, "a fenced block is not closed"
    return found


def rows(page: str) -> list[list[str]]:
    """Cells of all table rows, without headers and rules."""
    lines = [line for line in page.splitlines() if re.match(r"\| (?:`(?!type`)|\d)", line)]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def tool(name: str, folder: str = "scripts") -> Any:
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", ROOT / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ── Generated pages ────────────────────────────────────────────────────────────────────────────────────────────────


def test_reference_pages_are_what_the_schema_says() -> None:
    for name, expected in tool("config_reference").pages().items():
        assert text(name) == expected, f"docs/{name} is stale: run python scripts/config_reference.py"


def test_benchmark_rewrites_its_section_alone(tmp_path: Path) -> None:
    report, page = tool("bench_report", "benchmarks"), tmp_path / "page.md"
    page.write_text(text("results/performance.md"), encoding="utf-8")
    report.write_into(page, "NEW FIGURES")
    before, after = text("results/performance.md"), page.read_text(encoding="utf-8")
    assert "\nNEW FIGURES\n" in after
    assert after.partition(report.BEGIN)[0] == before.partition(report.BEGIN)[0]
    assert after.partition(report.END)[2] == before.partition(report.END)[2]
    page.write_text("no marks")
    with pytest.raises(ValueError, match="bench:begin"):
        report.write_into(page, "NEW FIGURES")


def test_the_page_of_the_papers_has_the_figures_of_the_image_tables() -> None:
    page = text("results/papers.md")
    tables = [
        json.loads(path.read_text(encoding="utf-8")) for path in (DOCS / "results" / "images").glob("*/table.json")
    ]
    assert tables
    for table in tables:
        metrics = table["mean"].get("metrics", {})
        values = [table["mean"]["auroc"], *(metrics[name] for name in metrics if name != "pixel_auroc")]
        wanted = [f"{value['mean']:.2f} ± {value['sd']:.2f}" for value in values]
        if (
            all(row["paper"] is not None for row in table["classes"])
            and table["mean"]["of"] == table["mean"]["classes"]
        ):
            wanted.append(" | ".join(f"{row['paper']:.2f}" for row in table["classes"]))
            wanted += [
                " | ".join(f"{row['scores'][score]['mean']:.2f}" for row in table["classes"])
                for score in table["mean"]["scores"]
                if score != "mean_scaled"
            ]
        assert [figure for figure in wanted if figure not in page] == [], (table["detector"], table["data_set"])


# ── Command line ───────────────────────────────────────────────────────────────────────────────────────────────────


def options_of(command: Any) -> set[str]:
    return {name for p in command.params for name in (*p.opts, *p.secondary_opts) if name.startswith("-")} | {"--help"}


def test_every_command_is_documented_and_every_documented_one_exists() -> None:
    listed = {
        names(row[0])[0].removeprefix("streamad "): row[1]
        for row in rows(text("reference/cli.md"))
        if "`streamad" in row[0]
    }
    assert listed == {name: summary_of(command) for name, command in commands().items()}


def test_every_option_of_a_section_exists() -> None:
    known = commands()
    sections = re.findall(
        r"^## streamad ([^\n]+)\n(.*?)(?=^## |\Z)", text("reference/cli.md"), re.MULTILINE | re.DOTALL
    )
    covered: set[str] = set()
    for heading, body in sections:
        covers = [name for name in known if name.split()[0] in heading.replace(",", " ").split()]
        covered |= set(covers)
        wanted = {option.split()[0] for option in names(body) if option.startswith("--")}
        assert wanted <= set().union(*(options_of(known[name]) for name in covers)), heading
    assert covered == set(known)


def command_lines() -> Iterator[tuple[str, str]]:
    """(page, command line) of every `streamad …` in a block of the pages and of the examples' comments."""
    for page in PAGES:
        content = page.read_text(encoding="utf-8")
        for block in (*blocks(content, ""), *blocks(content, "console")):
            joined = block.replace("\\\n", " ")
            yield from (
                (page.name, line.strip()) for line in joined.splitlines() if line.strip().startswith("streamad ")
            )
    for page in sorted((ROOT / "configs").glob("*.y*ml")):
        for line in re.findall(r"^#[ ]{2,}(streamad .*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            yield page.name, re.split(r"\s{3,}", line)[0]


@pytest.mark.parametrize(("page", "line"), sorted(set(command_lines())))
def test_command_lines_in_the_pages_exist(page: str, line: str) -> None:
    words = shlex.split(line.split(" #")[0])[1:]
    known = commands()
    command = next((known[name] for name in (" ".join(words[:2]), words[0]) if name in known), None)
    assert command is not None, f"{page}: {line}"
    wanted = {word.split("=")[0] for word in words if word.startswith("-")}
    assert wanted <= options_of(command), f"{page}: {line}"


def test_exit_codes() -> None:
    listed = {int(row[0]): row[1] for row in rows(text("reference/exit-codes.md"))}
    assert listed == {code.value: code.name for code in ExitCode}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    sentence = re.search(r"Exit codes: (.*?)\n- ", readme, re.DOTALL)
    assert sentence is not None
    assert {int(n) for n in re.findall(r"\b\d+\b", sentence[1].partition(":\n")[0])} == {
        code.value for code in ExitCode
    }


# ── Metrics, endpoints, states ─────────────────────────────────────────────────────────────────────────────────────


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    known = {}
    for family in vars(Metrics()).values():
        if hasattr(family, "_labelnames"):
            kind = family._type
            known[family._name + ("_total" if kind == "counter" else "")] = (kind, tuple(family._labelnames))
    listed = {
        names(row[0])[0]: (row[1], tuple(label.strip() for label in row[2].split(",") if label.strip()))
        for row in rows(section(text("reference/metrics.md"), "Metrics"))
    }
    assert listed == known


def test_no_page_names_a_metric_that_does_not_exist() -> None:
    known = {names(row[0])[0] for row in rows(section(text("reference/metrics.md"), "Metrics"))}
    for page in PAGES:
        used = set(re.findall(r"\bstreamad_[a-z_]+[a-z]\b", page.read_text(encoding="utf-8"))) - {"streamad_models"}
        assert used <= known, f"{page.name}: {used - known}"


def test_every_endpoint_is_documented() -> None:
    app = create_app(metrics=Metrics(), health=Health(), status=dict)
    paths = set(app.openapi()["paths"]) | {"/"}
    table = text("reference/metrics.md").partition("## Metrics")[0]
    assert {names(row[0])[0] for row in rows(table)} == {path for path in paths if not path.startswith("/api/")}
    assert text("reference/http-api.md") == tool("http_api_reference").page(), (
        "run python scripts/http_api_reference.py"
    )


def test_every_rule_is_named_and_the_examples_are_the_rules() -> None:
    document = yaml.safe_load((ROOT / "configs" / "prometheus-rules.yml").read_text(encoding="utf-8"))
    rules = {rule["alert"]: rule for group in document["groups"] for rule in group["rules"]}
    page = section(text("how-to/monitor.md"), "Rules")
    assert set(re.findall(r"\bStreamad[A-Z]\w+", page)) == set(rules)
    for block in blocks(page, "yaml"):
        for example in yaml.safe_load(block):
            assert example.items() <= rules[example["alert"]].items()


def test_failure_reasons_and_states() -> None:
    assert {names(row[0])[0] for row in rows(section(text("reference/sources.md"), "Failures"))} == set(FailureReason)
    assert set(get_args(CameraState)) <= set(names(section(text("reference/sources.md"), "States")))
    assert set(get_args(AlertLabel)) <= set(names(section(text("reference/alerts.md"), "The rule")))


def test_every_type_of_source_and_sink_is_documented() -> None:
    sources = {
        kind.model_fields["type"].default for kind in get_args(get_args(SourceSpec)[0]) if kind is not PluginSource
    }
    table = text("reference/sources.md").partition("## States")[0]
    assert {names(row[0])[0] for row in rows(table)} == sources
    sinks = {kind.model_fields["type"].default for kind in set(get_args(get_args(SinkSpec)[0])) - {PluginSink}}
    assert set(re.findall(r"^- `(\w+)`:", section(text("reference/alerts.md"), "Sinks"), re.MULTILINE)) == sinks


def test_variables_of_the_environment_are_documented() -> None:
    used = {
        name
        for folder in ("streamad", "tests", "tools", "scripts", "benchmarks", "experiments")
        for file in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"""environ(?:\.get\(|\[)["'](STREAMAD_[A-Z_]+)""", file.read_text(encoding="utf-8"))
    }
    everything = " ".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert used
    assert [name for name in sorted(used) if name not in everything] == []


# ── Alerts and events ──────────────────────────────────────────────────────────────────────────────────────────────


def test_settings_of_the_rule_and_their_defaults() -> None:
    listed = {names(row[0])[0]: row[1] for row in rows(section(text("reference/alerts.md"), "The rule"))}
    defaults = {name: field.default for name, field in AlertPolicySpec.model_fields.items()}
    assert listed == {name: "empty" if value is None else f"{value:g}" for name, value in defaults.items()}


def test_keys_of_an_event() -> None:
    listed = [name for row in rows(section(text("reference/alerts.md"), "Events")) for name in names(row[0])]
    assert sorted(listed) == sorted(field.name for field in dataclasses.fields(Event))


def test_queries_of_the_event_store_run(tmp_path: Path) -> None:
    at = datetime(2026, 1, 5, 7, 30, tzinfo=UTC)
    event = Event(
        id=new_event_id(at), camera="gate", state="closed", severity="critical", started_index=10,
        started_pts_seconds=1.0, started_at=at, raised_index=15, raised_pts_seconds=1.5, updated_index=40,
        updated_pts_seconds=4.0, updated_at=at, ended_index=40, ended_pts_seconds=4.0, ended_at=at, peak_score=0.9,
        peak_index=20, peak_pts_seconds=2.0, threshold=0.5, model="gate", model_sha256="0" * 64, reason="score",
    )  # fmt: skip
    with EventStore(tmp_path / "events.sqlite") as store:
        store.save(event)
    add_mark(tmp_path / "events.sqlite", Mark(event=event.id, verdict="false_alarm", by="kim", at=at, note="rain"))
    queries = blocks(text("how-to/query-events.md"), "sql")
    connection = sqlite3.connect(tmp_path / "events.sqlite")
    found = [connection.execute(query).fetchall() for query in queries]
    connection.close()
    assert found == [
        [(event.id, "gate", "2026-01-05T07:30:00.000000+00:00", "critical")],
        [("2026-01-05T07:30:00.000000+00:00", 3.0, 0.9)],
        [("2026-01-05", "gate", 1)],
        [],
        [(event.id, "kim", "2026-01-05T07:30:00.000000+00:00", "rain")],
    ]


# ── Blocks and links ───────────────────────────────────────────────────────────────────────────────────────────────


def test_worked_calibration_is_what_calibrate_gives() -> None:
    page = section(text("concepts/calibration.md"), "Reading one")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(blocks(page, "python")[0], {})
    ours, theirs = printed.getvalue().split(), blocks(page, "text")[0].split()
    assert len(ours) == len(theirs)
    for new, old in zip(ours, theirs, strict=True):
        try:
            assert float(new) == pytest.approx(float(old), rel=0.01)
        except ValueError:
            assert new == old


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_import_what_exists(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8"), "python"):
        compile(block, str(page), "exec")
        for module, wanted in re.findall(r"^from (streamad[\w.]*) import (.+)$", block, re.MULTILINE):
            for name in wanted.split(","):
                assert hasattr(importlib.import_module(module), name.strip()), f"{page.name}: {module}.{name.strip()}"


def test_whole_configurations_in_the_pages_are_valid() -> None:
    whole = [b for page in PAGES for b in blocks(page.read_text(encoding="utf-8"), "yaml") if "version: 1" in b]
    assert whole
    for block in whole:
        parse_config(block)
    part = yaml.safe_load(blocks(section(text("how-to/secure.md"), "Credentials of cameras"), "yaml")[0])
    parse_config(yaml.safe_dump({"model": "m", "cameras": [{"id": "a", **part}]}))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    missing = []
    waiting = [place for place in MADE_LATER if not place.exists()]
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+://", target):
            continue
        path = (page.parent / target).resolve()
        if not path.exists() and not any(place in (path, *path.parents) for place in waiting):
            missing.append(target)
    assert missing == []


def test_pages_named_in_code_and_configurations_exist() -> None:
    files = [ROOT / "Makefile"]
    for folder in ("streamad", "configs", "scripts", "tools", "benchmarks", "experiments", "examples"):
        files += [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".yaml", ".yml")]
    named = {
        (str(path.relative_to(ROOT)), page)
        for path in files
        for page in re.findall(r"docs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert [(path, page) for path, page in sorted(named) if not (ROOT / page).is_file()] == []


def pages_in(entry: Any) -> Iterator[str]:
    """File names in a part of the site's navigation."""
    if isinstance(entry, str):
        yield entry
    else:
        for part in entry.values() if isinstance(entry, dict) else entry:
            yield from pages_in(part)


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    listed = list(pages_in(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    pages = {str(page.relative_to(DOCS)) for page in PAGES if page.is_relative_to(DOCS)}
    results = {page for page in pages if page.startswith("results/")}
    linked = {f"results/{name}" for name in re.findall(r"\]\(([\w.-]+\.md)\)", text("results/README.md"))}
    assert len(listed) == len(set(listed))
    assert pages - results <= set(listed) <= pages
    assert results <= linked | set(listed)


# ── Release ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_version_is_the_same_wherever_it_is_written() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.search(r"^## \[(\d[^\]]*)\] - (\S+)$", changes, re.MULTILINE)
    assert released is not None
    assert (citation["version"], citation["date-released"]) == released.groups()
    assert streamad.__version__ == released[1]

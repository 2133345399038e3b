"""The report's choices of frames, its tables, its pictures."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from markdown_it import MarkdownIt

from streamad.errors import DatasetError
from streamad.evaluation.report import ReportContent, comparison_markdown, figures_of, html_report, markdown_report
from streamad.evaluation.result import AlertMetrics, ClipEvent, ClipRecord, EvaluationRecord, Origin
from streamad.evaluation.scored_clips import ScoredClip, worst_false_alarms, worst_misses
from streamad.evaluation.scores import protocols_of
from streamad.files import write_atomic
from streamad.formatting import readable
from streamad.visual.thumbnail import WIDTH, heat_thumbnail


def traces() -> list[ScoredClip]:
    one = np.full(100, 0.1)
    one[[10, 12, 60]] = 0.9, 0.8, 0.7
    labels = np.zeros(100, np.uint8)
    labels[30:40] = labels[70:90] = 1
    one[35], one[80] = 0.2, 0.6
    one[30:33] = np.nan
    two = np.full(20, 0.3)
    return [ScoredClip("a", one, labels, 10.0, [(1.0, 1.4)]), ScoredClip("b", two, np.ones(20, np.uint8), None)]


def test_the_worst_false_alarms_are_apart_and_normal() -> None:
    found = worst_false_alarms(traces(), 3, threshold=0.75)
    assert [(p.clip, p.frame, p.score) for p in found][:2] == [(0, 10, 0.9), (0, 60, 0.7)]
    assert [p.why for p in found][:2] == ["normal, over the threshold", "normal, under the threshold"]
    assert all(traces()[p.clip].labels[p.frame] == 0 for p in found)
    frames = sorted(p.frame for p in found)
    assert min(np.diff(frames)) > 20


def test_the_worst_misses_are_the_abnormal_frames_that_score_lowest() -> None:
    found = worst_misses(traces(), 3, threshold=0.25)
    assert [(p.clip, p.frame, p.score) for p in found] == [(0, 33, 0.1), (0, 70, 0.1), (1, 0, 0.3)]
    assert found[0].why == "abnormal, under the threshold; its event, frames 30 to 39, reaches 0.2"
    assert found[2].why == "abnormal, over the threshold; its event, frames 0 to 19, reaches 0.3"


def result(name: str = "run|1") -> EvaluationRecord:
    shown = traces()
    return EvaluationRecord(
        name=name,
        data_set="site",
        label_set="labels.npz",
        clips=tuple(ClipRecord(t.name, len(t.scores), 10, int(t.labels.sum()), 1.0, ("x: broken",)) for t in shown),
        protocols=protocols_of(shown),
        localization=None,
        alerts=AlertMetrics(
            0.5,
            1.0,
            2,
            1,
            2,
            0,
            None,
            0.0,
            None,
            0.5,
            None,
            (ClipEvent("a", 3.0, 4.0, 0.5), ClipEvent("b", 0.0, 2.0, None)),
        ),
        origin=Origin(streamad="1"),
        notes=("a note",),
    )


def test_pages_hold_what_the_result_holds(tmp_path: Path) -> None:
    one = result()
    page = markdown_report(one)
    for words in ("labels labels.npz", "scores of another program", "not stated", "2 of 3", "x: broken", "- a note"):
        assert words in page
    assert "| b | 0.0 to 2.0 | missed |\n| a | 3.0 to 4.0 | after 0.5 s |" in page  # missed ones first
    assert "| per_video | the whole test clip" in page
    both = comparison_markdown([one, result("two")])
    assert "| run\\|1 | two |" in both
    one.save(tmp_path / "result.json")
    assert EvaluationRecord.load(tmp_path) == one


def test_a_part_of_the_clips_is_labeled_as_not_comparable() -> None:
    whole, part = result("all"), replace(result("some"), part_of=12)
    words = "a part: 2 of 12 test clips"
    for page in (markdown_report(part), html_report(ReportContent(part), figures_of(traces(), None))):
        assert f"{words}, 120 frames; not comparable with results on all clips" in page
    assert "part" not in markdown_report(whole).split("## Frame level")[0]
    row = f"| test clips | all | {words}; not comparable with results on all clips |"
    assert row in comparison_markdown([whole, part])
    assert "test clips" not in comparison_markdown([whole, whole])


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": "other"}', '{"format": "streamad-evaluation", "version": 9}']
)
def test_results_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    with pytest.raises(DatasetError, match=r"result\.json"):
        EvaluationRecord.load(tmp_path)
    with pytest.raises(DatasetError, match="cannot read the result"):
        EvaluationRecord.load(tmp_path / "absent")


def test_pictures_are_xml_and_the_same_every_time() -> None:
    pictures = figures_of(traces(), None)
    assert set(pictures) == {"roc", "histogram", "clips", "traces"}
    for text in pictures.values():
        assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert figures_of(traces(), None) == pictures


def test_a_thumbnail_tints_hot_cells_and_outlines_the_truth() -> None:
    pixels = np.full((60, 90), 100, np.uint8)
    heat = np.array([[np.nan, 0.1, 0.9]], np.float32)
    boxes = [(0, 0, 30, 60), (30, 0, 60, 60), (60, 0, 90, 60)]
    truth = np.zeros((60, 90), bool)
    truth[10:50, 5:25] = True
    picture = cv2.imdecode(
        np.frombuffer(heat_thumbnail(pixels, heat, boxes, low=0.2, high=0.9, truth=truth), np.uint8), cv2.IMREAD_COLOR
    )
    assert picture.shape == (360, WIDTH, 3)
    blue, _, red = (picture[180, x].astype(int) for x in (100, 270, 450))
    assert np.ptp(picture[180, 270].astype(int)) < 12  # under `low`: gray as it was
    assert red[2] > red[0] + 60  # BGR: red
    assert np.ptp(blue) < 12
    edge = picture[180, 24:40].astype(int)
    assert (edge[:, 0] - edge[:, 2]).max() > 60  # a blue outline at x = 5·6


HOSTILE = (
    "a|b",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](http://evil.example)",
    "![x](http://evil.example/x.png)",
    "# *bold* _under_ __init__ ~~no~~ `code` snake_case",
    "two\nlines\r\n| new | row |\n- item",
    "back\\slash \\| pipe",
    "&lt;b&gt; &amp;",
    "$\\frac$ $x",
    b"Gru\xdf.mp4".decode("utf-8", "surrogateescape"),
    "\x1b[31mred\x00",
    '" onmouseover="x',
)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_clips_are_shown_and_never_read_as_markup(tmp_path: Path, name: str) -> None:
    shown = [replace(trace, name=name if trace.name == "a" else trace.name) for trace in traces()]
    clips = tuple(
        ClipRecord(t.name, len(t.scores), 10, int(t.labels.sum()), 1.0, (f"{t.name}: broken",)) for t in shown
    )
    one = replace(result(), name=name, data_set=name, clips=clips, notes=(f"Damaged: {name}.",))
    figures = figures_of(shown, threshold=0.5)
    for svg in figures.values():
        ElementTree.fromstring(svg)
    write_atomic(tmp_path / "report.html", html_report(ReportContent(one), figures))
    write_atomic(tmp_path / "report.md", markdown_report(one, list(figures)) + comparison_markdown([one, one]))
    plain = replace(result(), name="plain", notes=("Damaged: plain.",))

    page = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    ours = tags_of(page.render((tmp_path / "report.md").read_text(encoding="utf-8")))
    theirs = tags_of(page.render(markdown_report(plain, list(figures)) + comparison_markdown([plain, plain])))
    assert ours.tags == theirs.tags
    assert " ".join(readable(name).split()) in " ".join(" ".join(ours.cells).split())
    ours = tags_of((tmp_path / "report.html").read_text(encoding="utf-8"))
    theirs = tags_of(html_report(ReportContent(plain), figures))
    assert ours.tags == theirs.tags
    assert readable(name) in ours.cells


class Tags(HTMLParser):
    """Start tags in order, and the text of table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        if tag in ("td", "h1"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def tags_of(page: str) -> Tags:
    parser = Tags()
    parser.feed(page)
    return parser

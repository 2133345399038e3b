"""`streamad compare`: several evaluations side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from streamad.cli.common import JsonOption, data, emit, say, say_notes
from streamad.cli.help import arg, opt

if TYPE_CHECKING:
    from streamad.evaluation.bootstrap import MetricIntervals


def compare(
    results: Annotated[
        list[Path], arg(unit="RESULT", help="Result folders of `streamad evaluate` or `evaluate-scores`.")
    ],
    draws: Annotated[
        int, opt("--draws", min=0, unit="N", help="Bootstrap draws for 95 % intervals; 0 for no intervals.")
    ] = 2000,
    out: Annotated[
        Path | None, opt("--out", "-o", unit="FILE", help="Also write the table as Markdown.", panel="Output")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare evaluations, with confidence intervals.

    The intervals are bootstrapped over test clips, for each metric and for its difference from the first result.

    Examples:
        streamad compare results/gate results/theirs
    """
    from streamad.errors import DatasetError
    from streamad.evaluation.bootstrap import intervals_of
    from streamad.evaluation.report import comparison_markdown
    from streamad.evaluation.result import EvaluationRecord
    from streamad.evaluation.scores import inversion_note
    from streamad.files import write_atomic

    loaded = [EvaluationRecord.load(folder) for folder in results]
    sets = {(r.data_set, r.label_set) for r in loaded}
    if len(sets) > 1:
        say("note: these runs use different data sets or label sets; their metrics are not comparable")
    for result in loaded:
        say_notes(f"{result.name}: {note}" for note in inversion_note(result.protocols))
    clips = {tuple(clip.name for clip in r.clips) for r in loaded}
    if len(sets) == 1 and len(clips) > 1 and any(r.part for r in loaded):
        parts = ", ".join(f"{r.name} is {r.part}" for r in loaded if r.part)
        say(f"note: these runs are of different test clips; their metrics are not comparable ({parts})")
    frames = {r.protocols[0].frames for r in loaded}
    if len(sets) == 1 and len(frames) > 1:
        say(f"note: the runs scored different numbers of frames ({', '.join(map(str, sorted(frames)))})")
    intervals: list[MetricIntervals] = []
    if draws:
        try:
            intervals = intervals_of(results, loaded, draws=draws)
        except DatasetError as error:
            say(f"note: no intervals: {error}" + (f"; {error.hint}" if error.hint else ""))
    page = comparison_markdown(loaded, intervals, draws)
    if out is not None:
        write_atomic(out, page)
    if as_json:
        emit({"results": [asdict(r) for r in loaded], "draws": draws, "intervals": [asdict(i) for i in intervals]})
    else:
        data(page.rstrip("\n"))

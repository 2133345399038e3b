"""`streamad benchmark`: how fast a model's network runs here, in each of its forms."""

from __future__ import annotations

from typing import Annotated

import typer

from streamad.cli.common import (
    EngineOption,
    FpsOption,
    FramesPerCallOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    data,
    emit,
    engine_spec,
    progress_bar,
    source_of,
    table,
)


def benchmark(
    model: ModelOption,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    frames_per_call: FramesPerCallOption = None,
    streams_per_call: Annotated[
        int | None,
        typer.Option("--streams-per-call", min=1, max=64, help="Cameras in a run of a network that carries state."),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--input", help="Video or folder of images; default: noise in which all moves.")
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option("--frames", min=1, help="Frames that are gone through; default: until 20 have a score."),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Rounds in which each way has its turn.")] = 5,
    fps: FpsOption = 25.0,
    as_json: JsonOption = False,
) -> None:
    """Compare the ways of running a model's network: frames a second, in turns, with their ratios.

    A network that carries state also runs several frames, and several cameras, at once: 4 where nothing is given.
    """
    from streamad.bundle import load_bundle
    from streamad.workflows.benchmark import benchmark_model

    bundle = load_bundle(model)
    spec = engine_spec(engine, threads, precision, frames_per_call=frames_per_call, streams_per_call=streams_per_call)
    opened = None if source is None else source_of(source, fps)
    with progress_bar() as bar:
        task = bar.add_task("measuring", total=rounds)
        result = benchmark_model(
            bundle,
            engine=spec,
            source=opened,
            frames=frames,
            rounds=rounds,
            progress=lambda done, _: bar.update(task, completed=done),
        )
    if as_json:
        emit(result)
        return
    table(
        [
            {
                "way": row["name"],
                "frames/s": row["frames_per_second"]["median"],
                "min": row["frames_per_second"]["min"],
                "max": row["frames_per_second"]["max"],
                "ratio": row["ratio"]["median"],
                "CPU ms/frame": row["cpu_milliseconds"],
                "CPU ratio": row["cpu_ratio"],
                "GFLOP/frame": row["gflop"],
                "GFLOP/s": row["gflops"],
                "difference": row["difference"],
                "what": row["what"],
            }
            for row in result["contenders"]
        ]
    )
    data(f"a float32 matrix product in numpy, in the same rounds: {result['gemm_gflops']:.4g} GFLOP/s")

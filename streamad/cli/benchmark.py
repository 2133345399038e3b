"""`streamad benchmark`: the speed of a model's network on this machine, in each of its forms."""

from __future__ import annotations

from typing import Annotated

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
    stage_progress,
    table,
)
from streamad.cli.help import opt


def benchmark(
    model: ModelOption,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    frames_per_call: FramesPerCallOption = None,
    streams_per_call: Annotated[
        int | None,
        opt(
            "--streams-per-call",
            min=1,
            max=64,
            unit="N",
            help="Stateful networks: cameras in one call. Default: 4.",
            panel="Engine",
        ),
    ] = None,
    source: Annotated[
        str | None, opt("--input", unit="PATH", help="Video or image folder. Default: moving noise.", panel="Input")
    ] = None,
    frames: Annotated[
        int | None,
        opt(
            "--frames",
            min=1,
            unit="N",
            help="Frames to process per round. Default: until 20 have a score.",
            panel="Input",
        ),
    ] = None,
    rounds: Annotated[int, opt("--rounds", min=1, unit="N", help="Rounds; each variant runs once in each.")] = 5,
    fps: FpsOption = 25.0,
    as_json: JsonOption = False,
) -> None:
    """Measure the speed of a model on this machine.

    Runs each form of the model's network in turn and prints frames per second and the ratios between them. A stateful
    network is also run on several frames, and for several cameras, per call.

    Examples:
        streamad benchmark --model adacl-ped2 --rounds 1 --frames 60
    """
    from streamad.bundle import load_bundle
    from streamad.workflows.benchmark import benchmark_model

    bundle = load_bundle(model)
    spec = engine_spec(engine, threads, precision, frames_per_call=frames_per_call, streams_per_call=streams_per_call)
    opened = None if source is None else source_of(source, fps)
    with progress_bar() as bar:
        result = benchmark_model(
            bundle,
            engine=spec,
            source=opened,
            frames=frames,
            rounds=rounds,
            progress=stage_progress(bar),
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
    data(f"float32 matrix multiplication with NumPy, in the same rounds: {result['gemm_gflops']:.4g} GFLOP/s")

"""The streaming form of F against the 3-D network on whole windows, in every engine and however a video is cut."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from bundle_support import randomize_norms

torch = pytest.importorskip("torch")
ort = pytest.importorskip("onnxruntime")

import onnx  # noqa: E402
from streaming_support import (  # noqa: E402
    CONTEXT,
    HEIGHT,
    TOLERANCE,
    WIDTH,
    clip_network,
    drifting_video,
    on_windows,
)

from streamad.bundle import InputSpec, Manifest  # noqa: E402
from streamad.detectors.learned_noise.network import ClipError, clip_reconstructor  # noqa: E402
from streamad.detectors.learned_noise.streaming import REBUILT, StreamingNetwork  # noqa: E402
from streamad.detectors.learned_noise.streaming_graph import write_streaming  # noqa: E402
from streamad.detectors.learned_noise.subpixel_graph import export_quantizable  # noqa: E402
from streamad.engines import StatefulEngine  # noqa: E402
from streamad.engines.host_stateful import HostStatefulEngine  # noqa: E402
from streamad.engines.onnx_stateful import OnnxStatefulEngine  # noqa: E402
from streamad.engines.openvino_stateful import OpenVinoStatefulEngine  # noqa: E402
from streamad.engines.state_buffers import FRAMES, OUTPUTS, parse_state_buffers  # noqa: E402
from streamad.engines.stateful import StreamChunk  # noqa: E402
from streamad.engines.torch_stateful import TorchStatefulEngine  # noqa: E402
from streamad.errors import EngineError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def network() -> ClipError:
    return clip_network()


@pytest.fixture(scope="module")
def graph(network: ClipError, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graphs") / "streaming.onnx"
    write_streaming(network.reconstructor, HEIGHT, WIDTH, path, half_weights=False)
    return path


@pytest.fixture(scope="module")
def video() -> np.ndarray:
    return drifting_video()


SIZES = [(1,), (1, 3, 9)]


@pytest.fixture(scope="module", params=[(n, s) for n in ("openvino", "onnx", "torch") for s in SIZES], ids=str)
def engine(request: pytest.FixtureRequest, graph: Path, network: ClipError) -> Iterator[StatefulEngine]:
    name, sizes = request.param
    made: dict[str, Callable[[], StatefulEngine]] = {
        "openvino": lambda: OpenVinoStatefulEngine(graph, CONTEXT, threads=1, run_sizes=sizes),
        "onnx": lambda: OnnxStatefulEngine(graph, CONTEXT, threads=1, run_sizes=sizes),
        "torch": lambda: TorchStatefulEngine(
            lambda: network, lambda n: StreamingNetwork(n, HEIGHT, WIDTH), CONTEXT, run_sizes=sizes
        ),
    }
    opened = made[name]()
    yield opened
    opened.close()


@pytest.mark.parametrize("seed", range(3))
def test_any_split_of_a_video_gives_what_whole_windows_give(
    engine: StatefulEngine, network: ClipError, video: np.ndarray, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    state, errors, frames, start = engine.new_state(), [], [], 0
    while start < len(video):
        part = video[start : start + int(rng.integers(1, 20))]
        answer = engine.run(state, part, (OUTPUTS, REBUILT))
        errors.append(answer[OUTPUTS])
        frames.append(answer[REBUILT])
        start += len(part)
    expected = on_windows(network, video)
    for made, wanted in zip((np.concatenate(errors), np.concatenate(frames)), expected, strict=True):
        assert np.isnan(made[:CONTEXT]).all()
        assert np.abs(made[CONTEXT:] - wanted).max() <= TOLERANCE


def test_cameras_take_turns_and_a_new_state_knows_nothing_of_the_old(
    engine: StatefulEngine, network: ClipError, video: np.ndarray
) -> None:
    videos = [video[:40], video[::-1][:40], -video[20:60]]
    expected = [on_windows(network, v)[0] for v in videos]
    for _ in range(2):  # the second time after a gap: the engine has run all of this before
        states = [engine.new_state() for _ in videos]
        made: list[list[np.ndarray]] = [[] for _ in videos]
        for start in range(0, 40, 2):
            for state, frames, rows in zip(states, videos, made, strict=True):
                rows.append(engine.advance(state, frames[start : start + 2]))
        for rows, wanted in zip(made, expected, strict=True):
            assert np.abs(np.concatenate(rows)[CONTEXT:] - wanted).max() <= TOLERANCE


def test_submitted_frames_are_answered_in_order(engine: StatefulEngine, network: ClipError, video: np.ndarray) -> None:
    state, answers, failures = engine.new_state(), [], []
    for frame in video[:30]:
        engine.submit([StreamChunk(state, frame[None])], answers.extend, failures.append)
    engine.drain()
    assert failures == []
    assert (
        np.abs(np.concatenate([a[OUTPUTS] for a in answers])[CONTEXT:] - on_windows(network, video[:30])[0]).max()
        <= TOLERANCE
    )


def test_a_run_that_fails_makes_the_state_new_again(
    engine: StatefulEngine, network: ClipError, video: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = engine.new_state()
    engine.advance(state, video[:20])
    whole = engine._compute

    def broken(inputs: object, outputs: object, cameras: int) -> None:
        raise EngineError("the device is gone")

    failures: list[object] = []
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_compute", broken)
        engine.submit([StreamChunk(state, video[20:21])], failures.extend, failures.append)
        engine.drain()
    assert [str(f) for f in failures] == ["the device is gone"]
    assert engine._compute == whole
    answer = engine.advance(state, video[21:50])
    assert np.isnan(answer[:CONTEXT]).all()
    assert np.abs(answer[CONTEXT:] - on_windows(network, video[21:50])[0]).max() <= TOLERANCE


def test_wrong_frames_and_states_are_refused(engine: StatefulEngine, graph: Path, video: np.ndarray) -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        engine.advance(engine.new_state(), video[:0])
    with pytest.raises(EngineError, match="takes frames of shape"):
        engine.advance(engine.new_state(), video[:1, :, :32])
    other = OnnxStatefulEngine(graph, CONTEXT, threads=1)
    with pytest.raises(ValueError, match="another engine"):
        engine.advance(other.new_state(), video[:1])
    other.close()
    with pytest.raises(ValueError, match="run_sizes must start with 1"):
        OnnxStatefulEngine(graph, CONTEXT, run_sizes=(2, 4))


def test_many_cameras_in_threads_of_their_own(engine: StatefulEngine, network: ClipError, video: np.ndarray) -> None:
    expected = on_windows(network, video[:24])[0]
    worst: list[float] = []

    def watch() -> None:
        state = engine.new_state()
        rows = [engine.advance(state, frame[None]) for frame in video[:24]]
        worst.append(float(np.abs(np.concatenate(rows)[CONTEXT:] - expected).max()))

    threads = [threading.Thread(target=watch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(worst) == 4
    assert max(worst) <= TOLERANCE


@pytest.mark.parametrize("name", ["openvino", "onnx", "torch"])
def test_any_mix_of_cameras_and_lengths_with_gaps(
    graph: Path, network: ClipError, video: np.ndarray, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three cameras of 1 to 5 frames at a time, or none; new states in the second round."""
    sizes, cameras = (1, 3), (1, 2, 3)
    made: dict[str, Callable[[], HostStatefulEngine]] = {
        "openvino": lambda: OpenVinoStatefulEngine(graph, CONTEXT, threads=1, run_sizes=sizes, camera_sizes=cameras),
        "onnx": lambda: OnnxStatefulEngine(graph, CONTEXT, threads=1, run_sizes=sizes, camera_sizes=cameras),
        "torch": lambda: TorchStatefulEngine(
            lambda: network,
            lambda n: StreamingNetwork(n, HEIGHT, WIDTH),
            CONTEXT,
            run_sizes=sizes,
            camera_sizes=cameras,
        ),
    }
    videos, length = [video[:28], video[::-1][:28], -video[20:48]], 28
    expected = [on_windows(network, v)[0] for v in videos]
    engine, rng = made[name](), np.random.default_rng(4)
    ran, compute = set(), engine._compute

    def noted(inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray], cameras: int) -> None:
        ran.add((len(inputs[FRAMES]) // cameras, cameras))
        compute(inputs, outputs, cameras)

    monkeypatch.setattr(engine, "_compute", noted)
    for _ in range(2):
        states, done = [engine.new_state() for _ in videos], [0, 0, 0]
        rows: list[list[np.ndarray]] = [[] for _ in videos]
        while min(done) < length:
            taken = {c: int(n) for c, n in enumerate(rng.integers(0, 6, 3)) if n and done[c] < length}
            pieces = [StreamChunk(states[c], videos[c][done[c] : done[c] + n]) for c, n in taken.items()]
            for c, answer in zip(taken, engine.run_together(pieces), strict=True):
                assert isinstance(answer, dict)
                rows[c].append(answer[OUTPUTS])
                done[c] += len(answer[OUTPUTS])
        for parts, wanted in zip(rows, expected, strict=True):
            assert np.isnan(np.concatenate(parts)[:CONTEXT]).all()
            assert np.abs(np.concatenate(parts)[CONTEXT:] - wanted).max() <= TOLERANCE
    engine.close()
    assert ran == {(1, 1), (1, 2), (1, 3), (3, 1), (3, 2), (3, 3)}


@pytest.mark.parametrize("frames", [1, 4])
def test_the_graph_takes_several_cameras_in_one_batch(
    graph: Path, network: ClipError, video: np.ndarray, frames: int
) -> None:
    """Frame by frame, the cameras side by side: the graph is asked directly, with what it carries kept in lists."""
    videos = np.stack([video[:32], video[::-1][:32]], axis=1)  # (frames, cameras, …)
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    delays = parse_state_buffers(i.name for i in session.get_inputs())
    shapes = {i.name: i.shape[1:] for i in session.get_inputs()}
    made = {d.source: [np.full((2, *shapes[d.name]), 9e3, np.float32)] * d.frames for d in delays}
    rows = []
    for start in range(0, 32, frames):
        new = videos[start : start + frames]
        inputs = {FRAMES: new.reshape(-1, *new.shape[2:])}
        for d in delays:
            past = made[d.source][-d.frames :][: min(d.frames, frames)]
            inputs[d.name] = np.concatenate(past)
        answer = dict(zip(names, session.run(None, inputs), strict=True)) | {FRAMES: inputs[FRAMES]}
        for d in {d.source: d for d in delays}.values():
            made[d.source] = made[d.source] + list(answer[d.source].reshape(frames, 2, *answer[d.source].shape[1:]))
        rows.append(answer[OUTPUTS].reshape(frames, 2, -1))
    outputs = np.concatenate(rows)
    for camera in range(2):
        expected = on_windows(network, videos[:, camera])[0]
        assert np.abs(outputs[CONTEXT:, camera] - expected).max() <= TOLERANCE


@pytest.mark.slow
def test_convolutions_alone_give_the_same(network: ClipError, tmp_path: Path, video: np.ndarray) -> None:
    """The form that is quantized, before it is: four convolutions for each transposed one."""
    spec = InputSpec(channels=16, height=HEIGHT, width=WIDTH, scale=127.5, offset=-1.0)
    manifest = Manifest.model_construct(input=spec)
    export_quantizable(network, manifest, tmp_path / "convolutions.onnx")
    kinds = {node.op_type for node in onnx.load(str(tmp_path / "convolutions.onnx")).graph.node}
    assert "Conv" in kinds
    assert "ConvTranspose" not in kinds
    # It was written for runs of one frame; longer ones and several cameras are made of it when it is loaded.
    engine = OpenVinoStatefulEngine(
        tmp_path / "convolutions.onnx", CONTEXT, threads=1, run_sizes=(1, 4), camera_sizes=(1, 2)
    )
    errors, frames = on_windows(network, video[:24])
    for lengths in ([1] * 24, [9, 4, 1, 9, 1]):
        states, parts, start = [engine.new_state(), engine.new_state()], [], 0
        for length in lengths:
            pieces = [StreamChunk(state, video[start : start + length]) for state in states]
            parts.append(engine.run_together(pieces, (OUTPUTS, REBUILT)))
            start += length
        for answers in zip(*parts, strict=True):
            made = {name: np.concatenate([a[name] for a in answers]) for name in (OUTPUTS, REBUILT)}  # type: ignore[index]
            np.testing.assert_allclose(made[OUTPUTS][CONTEXT:], errors, rtol=0, atol=TOLERANCE)
            np.testing.assert_allclose(made[REBUILT][CONTEXT:], frames, rtol=0, atol=TOLERANCE)
    engine.close()


def test_what_a_network_is_given_next_can_be_looked_at(engine: StatefulEngine, video: np.ndarray) -> None:
    state, other = engine.new_state(), engine.new_state()
    for k in range(40):
        inputs = engine.next_inputs(state, video[k : k + 1])
        assert set(inputs) > {FRAMES}
        np.testing.assert_array_equal(inputs[FRAMES], video[k : k + 1])
        if k:
            np.testing.assert_array_equal(inputs[f"{FRAMES}_1_ago"], video[k - 1 : k])
        looked = engine.advance(state, video[k : k + 1])
        np.testing.assert_array_equal(looked, engine.advance(other, video[k : k + 1]))


def test_kernels_in_16_bits_lose_nothing_where_they_were_rounded_before(tmp_path: Path, video: np.ndarray) -> None:
    torch.manual_seed(5)
    reconstructor = clip_reconstructor(0.08)
    randomize_norms(reconstructor)
    with torch.no_grad():
        for parameter in reconstructor.parameters():
            parameter.copy_(parameter.half().float())
    network = ClipError(reconstructor.eval())
    sizes = {}
    for half in (False, True):
        path = tmp_path / f"{half}.onnx"
        write_streaming(reconstructor, HEIGHT, WIDTH, path, half_weights=half)
        sizes[half] = path.stat().st_size
    assert sizes[True] < 0.7 * sizes[False]
    engine = OpenVinoStatefulEngine(tmp_path / "True.onnx", CONTEXT, threads=1)
    answer = engine.advance(engine.new_state(), video[:20])
    engine.close()
    assert np.abs(answer[CONTEXT:] - on_windows(network, video[:20])[0]).max() <= TOLERANCE

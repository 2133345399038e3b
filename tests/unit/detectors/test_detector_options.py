"""Options from text, and where a training runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from streamad.detectors.options import parse_options  # noqa: E402
from streamad.errors import EngineError, UsageError  # noqa: E402
from streamad.training.compute import Compute, one_cycle  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@dataclass(frozen=True)
class Options:
    kinds: tuple[str, ...] = ("a",)
    ends: tuple[float, float] = (0.0, 1.0)
    how: Literal["fast", "slow"] = "fast"
    rate: float = 0.1
    count: int = 3
    flag: bool = False


def test_text_becomes_what_the_option_is() -> None:
    given = {"kinds": "x,y", "ends": "0.2,.8", "how": "slow", "rate": "1e-3", "count": "7", "flag": "true"}
    assert parse_options(Options, given, "test") == Options(("x", "y"), (0.2, 0.8), "slow", 1e-3, 7, True)
    assert parse_options(Options, {"kinds": ("z",), "count": 1}, "test") == Options(("z",), count=1)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"speed": 1}, "test has no option speed"),
        ({"how": "soon"}, "option how: .*'fast' or 'slow'.*'soon'"),
        ({"rate": "quick"}, "option rate: .*'quick'"),
        ({"count": "2.5"}, "option count: .*'2.5'"),
        ({"ends": "1"}, "option ends"),
    ],
)
def test_what_cannot_be_is_refused_by_name(given: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        parse_options(Options, given, "test")


@pytest.mark.parametrize("device", ["tpu9", "cuda:7", "mps"])
def test_a_device_that_is_not_here_is_refused_and_nothing_falls_back(device: str) -> None:
    with pytest.raises(EngineError):
        Compute(device)


def test_arrays_and_networks_are_channels_last() -> None:
    compute = Compute()
    images, clips = compute.tensor(np.zeros((2, 3, 8, 8), np.float32)), compute.tensor(np.zeros((2, 3, 4, 8, 8)))
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert clips.is_contiguous(memory_format=torch.channels_last_3d)
    network = compute.place(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Linear(2, 2)))
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index]
    assert compute.state() == {}


def test_a_step_is_the_optimizers() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    compute = Compute()
    for _ in range(2):  # the second time the first gradient must be gone
        compute.descend((weight**2).sum(), optimizer)
    np.testing.assert_allclose(weight.detach().numpy(), np.array([1.0, 2.0]) * 0.8 * 0.8, rtol=1e-6)


def test_one_cycle_rises_falls_and_ends_low() -> None:
    rates = np.array([one_cycle(step, 100, 1e-3) for step in range(100)])
    assert rates.argmax() in (9, 10)
    assert rates.max() == pytest.approx(1e-3)
    assert (np.diff(rates[:10]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[-1] == pytest.approx(1e-5, rel=0.2)
    assert one_cycle(55, 100, 1e-3) == pytest.approx(1e-3 * (0.01 + 0.99 / 2))  # half way down the cosine

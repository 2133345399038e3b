"""Muon against torch's own Muon, Adam and singular value decomposition, and as part of a training."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from streamad.training.muon import Muon, polar_factor  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.mark.parametrize("shape", [(8, 200), (64, 64), (200, 8), (1, 27), (27, 1)])
def test_the_polar_factor_is_that_of_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    u, s, v = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    ours = polar_factor(torch.from_numpy(matrix)).numpy()
    # Directions near the smallest that counts are damped a little; those far above it are not.
    expected = (u * (s / np.sqrt(s**2 + (2e-3 * s[0]) ** 2))) @ v
    np.testing.assert_allclose(ours, expected, atol=2e-3)
    assert np.abs(expected - u @ v).max() < 0.2


def test_zero_and_deficient_matrices_stay_finite() -> None:
    assert not polar_factor(torch.zeros(4, 9)).any()
    deficient = torch.ones(4, 9)
    ours = polar_factor(deficient)
    np.testing.assert_allclose(ours.numpy(), np.full((4, 9), 1 / 6), atol=1e-3)  # its one direction, length 1


def test_steps_on_a_matrix_are_those_of_torchs_muon() -> None:
    """Within bfloat16, in which torch's iterates: it brings singular values to between .7 and 1.2, not to 1."""
    rng = np.random.default_rng(1)
    start = torch.from_numpy(rng.standard_normal((16, 48)).astype(np.float32))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    muon = Muon([ours], lr=1e-2)
    oracle = torch.optim.Muon(
        [theirs], lr=1e-2, weight_decay=0.0, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(5):
        gradient = torch.from_numpy(rng.standard_normal((16, 48)).astype(np.float32))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        oracle.step()
    moved = [(p.detach() - start).flatten() for p in (ours, theirs)]
    assert float(torch.nn.functional.cosine_similarity(*moved, dim=0)) > 0.98
    assert float(moved[0].norm() / moved[1].norm()) == pytest.approx(1.0, abs=0.2)


def test_vectors_are_adams() -> None:
    rng = np.random.default_rng(2)
    start = torch.from_numpy(rng.standard_normal(9).astype(np.float32))
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimizers = [Muon([ours], lr=1e-2), torch.optim.Adam([theirs], lr=1e-2)]
    for _ in range(6):
        gradient = torch.from_numpy(rng.standard_normal(9).astype(np.float32))
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-5, atol=1e-7)


def test_a_convolution_steps_as_the_matrix_of_its_outputs() -> None:
    rng = np.random.default_rng(3)
    kernel = torch.from_numpy(rng.standard_normal((6, 4, 3, 3, 3)).astype(np.float32))
    gradient = torch.from_numpy(rng.standard_normal((6, 4, 3, 3, 3)).astype(np.float32))
    laid = torch.nn.Parameter(kernel.clone().contiguous(memory_format=torch.channels_last_3d))
    flat = torch.nn.Parameter(kernel.reshape(6, -1).clone())
    laid.grad, flat.grad = gradient.contiguous(memory_format=torch.channels_last_3d), gradient.reshape(6, -1).clone()
    Muon([laid], lr=0.1).step()
    Muon([flat], lr=0.1).step()
    np.testing.assert_allclose(laid.detach().numpy().reshape(6, -1), flat.detach().numpy(), atol=1e-6)


def test_a_state_that_was_saved_goes_on_the_same() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3), torch.nn.BatchNorm3d(4), torch.nn.Conv3d(4, 1, 1))
    batch = torch.rand(2, 1, 5, 5, 5)

    def step(net: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        (net(batch) ** 2).mean().backward()
        optimizer.step()

    one = Muon(network.parameters(), lr=1e-2)
    step(network, one)
    other_network = copy.deepcopy(network)
    other = Muon(other_network.parameters(), lr=1e-2)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    for _ in range(2):
        step(network, one)
        step(other_network, other)
    for a, b in zip(network.parameters(), other_network.parameters(), strict=True):
        assert torch.equal(a, b)

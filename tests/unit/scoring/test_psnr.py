import numpy as np
import pytest

from streamad.scoring.psnr import MAX_PSNR_DB, psnr


def test_values_that_anybody_can_check():
    assert psnr([1.0, 0.1, 0.001]) == pytest.approx([0.0, 10.0, 30.0])


def test_peak_only_shifts():
    mse = np.array([0.3, 0.02, 1e-4])
    assert psnr(mse, peak=255.0) - psnr(mse) == pytest.approx(np.full(3, 20 * np.log10(255)))


def test_mse_zero_is_capped_and_still_the_highest():
    assert psnr(0.0) == MAX_PSNR_DB
    assert np.isfinite(psnr(0.0, peak=2.0))
    assert psnr(1e-9) < psnr(0.0)


def test_rounding_to_8_bit_is_far_below_the_cap():
    rng = np.random.default_rng(0)
    picture = rng.random((100, 100))
    rounded = np.round(picture * 255) / 255
    assert psnr(np.mean((picture - rounded) ** 2)) == pytest.approx(59, abs=0.5)


def test_nan_inf_and_shape():
    out = psnr([[np.nan, np.inf]])
    assert out.shape == (1, 2)
    assert np.isnan(out[0, 0])
    assert out[0, 1] == -np.inf


@pytest.mark.parametrize("peak", [0.0, -1.0, np.nan, np.inf])
def test_bad_peak(peak):
    with pytest.raises(ValueError, match="peak"):
        psnr(0.1, peak=peak)


def test_negative_mse():
    with pytest.raises(ValueError, match=r"negative, got -0.5"):
        psnr([0.1, -0.5])

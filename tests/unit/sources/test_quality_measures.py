"""What the gate measures, against plain numpy and OpenCV: it is written for speed, and must say the same."""

from __future__ import annotations

import cv2
import numpy as np
from quality_support import watched

from streamad.sources.quality.measures import Pixels, RollingQuantiles, area_average, edges_of, measure


def test_areas_are_averaged_pixels_on_a_border_by_their_parts() -> None:
    plane = np.random.default_rng(0).uniform(0, 255, (9, 13)).astype(np.float32)
    fine = plane.repeat(4, axis=0).repeat(5, axis=1)  # 36 × 65 divide by 4 × 5
    wanted = fine.reshape(4, 9, 5, 13).mean(axis=(1, 3))
    np.testing.assert_allclose(area_average(plane, (5, 4)), wanted, rtol=1e-5)
    area = cv2.resize(plane, (5, 4), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(area_average(plane, (5, 4)), area, rtol=1e-4)


def test_what_is_usual_is_the_quantile_of_the_last_samples() -> None:
    rng, usual, kept = np.random.default_rng(1), RollingQuantiles(50, 6), []
    for number, value in enumerate(np.round(rng.normal(size=240), 1).tolist()):  # with ties
        usual.add(value)
        kept = [*kept, value][-50:]
        if (number + 1) % 20 == 0:  # that often it is reckoned anew
            for share in (0.0, 0.05, 0.5, 0.95, 1.0):
                assert abs(usual.quantile(share) - np.quantile(kept, share)) < 1e-12


def test_a_look_is_that_of_the_textbook() -> None:
    picture = next(watched(1, size=(367, 241)))
    measures = measure(Pixels(picture).sample)
    thumb = cv2.resize(picture, (183, 120), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(measures.thumb, thumb)
    plane = thumb.astype(np.float64)
    assert abs(measures.mean - plane.mean()) < 1e-9
    assert abs(measures.contrast - plane.std()) < 1e-9
    assert abs(measures.sharpness - np.abs(cv2.Laplacian(plane, cv2.CV_64F)).mean()) < 1e-9
    size = np.hypot(cv2.Sobel(plane, cv2.CV_64F, 1, 0), cv2.Sobel(plane, cv2.CV_64F, 0, 1))
    capped = np.minimum(size, 4 * size.mean())
    capped -= capped.mean()
    capped /= np.linalg.norm(capped)
    np.testing.assert_allclose(measures.edges, capped, atol=1e-6)
    np.testing.assert_allclose(edges_of(thumb.astype(np.float32)), capped, atol=1e-6)


def test_one_pixel_of_the_sample_is_enough_to_differ() -> None:
    picture = next(watched(1, size=(960, 540)))
    before = Pixels(picture.copy())
    assert before.is_same(Pixels(picture.copy()))
    assert before.sample.shape == (180, 320)
    for row, col in ((0, 0), (3, 6), (12, 24)):  # among the few, and not
        other = picture.copy()
        other[row, col] ^= 1
        assert not before.is_same(Pixels(other))

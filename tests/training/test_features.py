import numpy as np
import pytest

from dcgan_training import features, figures
from dcgan_training.data import load
from dcgan_training.errors import RunError
from dcgan_training.features import RandomFeatures
from runs import SUBSET


def noise(count: int, side: int, channels: int) -> np.ndarray:
    """Random images, the same in every run."""
    return np.random.default_rng(side).integers(0, 256, (count, side, side, channels), np.uint8)


@pytest.mark.parametrize(("side", "channels", "values"), [(8, 1, 80), (14, 1, 200), (28, 1, 272), (28, 3, 272)])
def test_every_feature_is_alive(side: int, channels: int, values: int) -> None:
    """Each value differs from image to image; the count depends on the size alone."""
    found = RandomFeatures(channels)(noise(40, side, channels))
    assert found.shape == (40, values)
    assert found.dtype == np.float32
    assert found.std(0).min() > 0.01


def test_large_images_get_more_layers() -> None:
    """A layer more for each doubling, up to five."""
    assert RandomFeatures(3)(noise(2, 64, 3)).shape == (2, 320)
    assert RandomFeatures(3)(noise(1, 128, 3)).shape == (1, 368)


def test_weights_other_than_the_pinned_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a machine draws other weights, its figures would compare with no others."""
    monkeypatch.setattr(features, "_SEED", 1)
    with pytest.raises(RunError, match="random-conv-1 have the sha256"):
        RandomFeatures(1)


def test_features_of_a_known_image_stay_what_they_are() -> None:
    """A ramp's first features, written down once: pooling and scale are pinned as the weights are."""
    ramp = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1) * 4
    np.testing.assert_allclose(
        RandomFeatures(1)(ramp)[0, :4],
        [8.166049003601074, 8.386914253234863, 12.599597930908203, 12.82046127319336],
        rtol=1e-4,
        atol=1e-4,
    )


def test_an_image_is_seen_the_same_alone_and_among_others() -> None:
    """No feature depends on the batch."""
    look, images = RandomFeatures(1), noise(130, 28, 1)
    np.testing.assert_allclose(look(images[129:]), look(images)[129:], rtol=1e-4, atol=1e-4)


def test_more_noise_is_farther_away() -> None:
    """The distance from real garments grows with the noise that is added to them."""
    look, images = RandomFeatures(1), load(SUBSET).images
    one, two = look(images[::2]), images[1::2].astype(np.float64)
    drawn = np.random.default_rng(0).normal(size=two.shape)
    noisy = [np.clip(two + level * drawn, 0, 255).astype(np.uint8) for level in (0, 10, 30, 90)]
    distances = [figures.frechet_distance(one, look(each)) for each in noisy]
    assert distances == sorted(distances)
    assert distances[-1] > 5 * distances[0]

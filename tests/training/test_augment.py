import pytest
import torch

from dcgan_training.augment import FAKE_STREAM, REAL_STREAM, augmented, flipped, noise


def images(count: int = 64, channels: int = 3, side: int = 16) -> torch.Tensor:
    """Gives images of one value each, between black and white."""
    return torch.linspace(-0.9, 0.9, count)[:, None, None, None].expand(count, channels, side, side).clone()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_variation_of_an_image_follows_from_its_number(channels: int) -> None:
    """Not from its batch: other processes, and a run that is continued, vary it alike."""
    given = images(channels=channels)
    whole = augmented(given, "all", -1.0, 7, 100, REAL_STREAM)
    part = augmented(given[32:], "all", -1.0, 7, 132, REAL_STREAM)
    assert torch.allclose(whole[32:], part, atol=1e-6)


def test_real_images_and_fakes_are_varied_differently() -> None:
    """Or the discriminator could tell pairs by their variation."""
    given = images()
    real, fake = (augmented(given, "all", -1.0, 7, 0, stream) for stream in (REAL_STREAM, FAKE_STREAM))
    assert not torch.equal(real, fake)


def test_another_seed_varies_otherwise() -> None:
    """Whose run it is decides."""
    given = images()
    one, other = (augmented(given, "all", -1.0, seed, 0, REAL_STREAM) for seed in (7, 8))
    assert not torch.equal(one, other)


def test_a_translation_alone_moves_an_image_by_an_eighth_at_most() -> None:
    """And changes nothing else: each pixel that is still to be seen is found again, as far from its neighbours."""
    given = torch.rand(200, 3, 16, 16) + 0.5
    moved = augmented(given, "translation", -1.0, 7, 0, REAL_STREAM)
    shifts = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    padded = torch.nn.functional.pad(given, (2, 2, 2, 2))
    found = torch.zeros(200, len(shifts), dtype=torch.bool)
    for number, (down, right) in enumerate(shifts):
        expected = padded[:, :, 2 + down : 18 + down, 2 + right : 18 + right]
        found[:, number] = (moved == expected).flatten(1).all(1)
    assert bool((found.sum(1) == 1).all())
    assert bool(found.any(0).all())


def test_gradients_flow_to_what_can_still_be_seen() -> None:
    """The generator learns through the variation; what was cut out or pushed outside teaches nothing."""
    given = images().requires_grad_()
    torch.autograd.backward(augmented(given, "all", -1.0, 7, 0, REAL_STREAM).sum())
    assert given.grad is not None
    assert torch.isfinite(given.grad).all()
    assert (given.grad != 0).float().mean() > 0.5


def test_a_quarter_at_most_is_cut_out() -> None:
    """A square of half the side, less where it hangs over the edge; a shift adds a border of an eighth at most."""
    bright = torch.full((256, 1, 16, 16), 0.99)
    empty = (augmented(bright, "all", 0.0, 3, 0, REAL_STREAM) == 0).float().mean((1, 2, 3))
    assert 0.05 < float(empty.mean()) < 0.35
    assert float(empty.max()) <= 1 - (14 / 16) ** 2 + 64 / 256


def test_half_of_the_images_are_mirrored() -> None:
    """Each is as it was or mirrored, by its number."""
    given = torch.arange(8.0).expand(400, 1, 1, 8)
    turned = flipped(given, 5, 0)
    mirrored = (turned[:, 0, 0, 0] == 7).float()
    assert 0.4 < float(mirrored.mean()) < 0.6
    assert torch.equal(turned.sort(3).values, given)
    assert torch.equal(flipped(given[200:], 5, 200), turned[200:])


def test_noise_has_its_deviation_and_follows_from_the_number() -> None:
    """Of images in the middle of grey."""
    given = torch.zeros(100, 1, 8, 8)
    noisy = noise(given, -1.0, 0.1, 3, 50, REAL_STREAM)
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.05)
    assert torch.equal(noise(given[10:], -1.0, 0.1, 3, 60, REAL_STREAM), noisy[10:])


def test_noise_spoils_images_of_either_range_alike() -> None:
    """Brought to one scale, images in [0, 1] get the noise that images in [-1, 1] get."""
    signed = images()
    spoilt = noise(signed, -1.0, 0.3, 3, 0, REAL_STREAM)
    assert torch.allclose(noise((signed + 1) / 2, 0.0, 0.3, 3, 0, REAL_STREAM), (spoilt + 1) / 2, atol=1e-6)

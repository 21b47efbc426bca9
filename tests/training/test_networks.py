import pytest
import torch
from torch import nn

from dcgan_training.config import SIZES
from dcgan_training.networks import Discriminator, Generator, channels_last, initialize, levels


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_both_networks_fit_every_size(size: int, channels: int) -> None:
    """What the generator draws is what the discriminator judges, at every size and in grey and colour."""
    images = Generator(size, channels, width=2, latent_dim=5)(torch.zeros(3, 5))
    assert images.shape == (3, channels, size, size)
    assert Discriminator(size, channels, width=2)(images).shape == (3,)


def test_sizes_are_four_and_seven_times_powers_of_two() -> None:
    """The first feature map is 4x4 or 7x7 and its side doubles with every layer."""
    assert SIZES == (8, 14, 16, 28, 32, 56, 64, 112, 128)
    assert levels(28) == (7, 2)
    assert levels(64) == (4, 4)
    with pytest.raises(ValueError, match="30"):
        levels(30)


def test_at_64_pixels_and_width_128_the_generator_is_the_papers() -> None:
    """Figure 1 of arXiv:1511.06434: 4x4x1024, 512, 256, 128, then an RGB image of 64 pixels."""
    with torch.device("meta"):
        generator = Generator(64, 3, width=128, latent_dim=100)
    assert generator.project.weight.shape == (4 * 4 * 1024, 100)
    shapes = {name: tuple(value.shape) for name, value in generator.named_parameters()}
    assert [shapes[f"deconvolutions.{level}.weight"] for level in range(3)] == [
        (1024, 512, 4, 4),
        (512, 256, 4, 4),
        (256, 128, 4, 4),
    ]
    assert generator.to_image.weight.shape == (128, 3, 4, 4)


def test_parameter_counts_at_28_pixels_and_width_32() -> None:
    """The bundled model's networks, counted by hand."""
    generator, discriminator = Generator(28, 1, 32, 100), Discriminator(28, 1, 32)
    by_hand = 100 * 49 * 64 + 2 * 64 + 64 * 32 * 16 + 2 * 32 + 32 * 16 + 1
    assert sum(value.numel() for value in generator.parameters()) == by_hand
    by_hand = 32 * 16 + 32 + 32 * 64 * 16 + 2 * 64 + 49 * 64 + 1
    assert sum(value.numel() for value in discriminator.parameters()) == by_hand


def test_images_lie_between_minus_one_and_one() -> None:
    """The generator ends in tanh, whatever its latents."""
    images = Generator(8, 1, 2, 4)(1000 * torch.randn(16, 4, generator=torch.Generator().manual_seed(0)))
    assert images.abs().max() <= 1


def test_weights_begin_as_the_paper_says() -> None:
    """Weights from N(0, 0.02), scales of batch norm from N(1, 0.02), offsets zero."""
    network = Generator(28, 1, 32, 100)
    initialize(network, torch.Generator().manual_seed(3))
    weights = network.project.weight.detach()
    assert weights.mean().abs() < 1e-4
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    norm = network.norms[0]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.3)
    assert not norm.bias.any()


def test_the_same_seed_begins_with_the_same_weights() -> None:
    """Nothing depends on the state of torch's global generator."""
    first, second = Discriminator(14, 3, 2), Discriminator(14, 3, 2)
    for network in (first, second):
        initialize(network, torch.Generator().manual_seed(7))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_changes_the_layout_and_no_value(channels: int) -> None:
    """One channel too gets channels-last strides, which torch would not set by itself."""
    images = torch.arange(2.0 * channels * 16).reshape(2, channels, 4, 4)
    laid_out = channels_last(images)
    assert torch.equal(laid_out, images)
    assert laid_out.stride() == (16 * channels, 1, 4 * channels, channels)

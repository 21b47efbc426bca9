from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd import grad, gradcheck, gradgradcheck

from dcgan_training.networks.grey import FromImage, ToImage

sides = st.integers(1, 9)
counts = st.integers(1, 4)


def drawn(layer: FromImage | ToImage) -> FromImage | ToImage:
    """Gives a layer weights in float64 that follow from nothing but its shape."""
    random = torch.Generator().manual_seed(1)
    for value in layer.double().parameters():
        nn.init.normal_(value, generator=random)
    return layer


def values(*shape: int) -> torch.Tensor:
    """Normal values in float64 that want a gradient."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()


def same_with_gradients(layer: FromImage | ToImage, plain: Callable[..., torch.Tensor], inputs: torch.Tensor) -> None:
    """Compares what a layer and torch's own function give, and the gradients of both."""
    own, wanted = layer(inputs), plain(inputs, layer.weight, layer.bias, stride=2, padding=1)
    assert own.shape == wanted.shape
    assert torch.allclose(own, wanted, atol=1e-12)
    onto = torch.randn(own.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    of = [inputs, *layer.parameters()]
    for found, expected in zip(grad(own, of, onto), grad(wanted, of, onto), strict=True):
        assert torch.allclose(found, expected, atol=1e-10)


@given(counts, counts, sides, sides)
def test_from_image_is_a_convolution(count: int, maps: int, height: int, width: int) -> None:
    """Also where images want no gradient, and in what each weight and pixel weighs."""
    layer, images = drawn(FromImage(1, maps)), values(count, 1, 2 * height, 2 * width)
    same_with_gradients(layer, nn.functional.conv2d, images)
    assert torch.allclose(layer(images.detach()), layer(images), atol=1e-12)


@given(counts, counts, sides, sides)
def test_to_image_is_a_transposed_convolution(count: int, maps: int, height: int, width: int) -> None:
    """Also in what each weight and pixel weighs."""
    same_with_gradients(drawn(ToImage(maps, 1)), nn.functional.conv_transpose2d, values(count, maps, height, width))


@pytest.mark.parametrize("channels", [1, 3])
def test_colour_and_grey_have_the_same_layers(channels: int) -> None:
    """Shapes and names of the weights are torch's, so that bundles and checkpoints of either fit."""
    expected = nn.Conv2d(channels, 5, 4).state_dict(), nn.ConvTranspose2d(5, channels, 4).state_dict()
    for layer, plain in zip((FromImage(channels, 5), ToImage(5, channels)), expected, strict=True):
        assert {name: value.shape for name, value in layer.state_dict().items()} == {
            name: value.shape for name, value in plain.items()
        }
    assert FromImage(channels, 5)(torch.zeros(2, channels, 8, 8)).shape == (2, 5, 4, 4)
    assert ToImage(5, channels)(torch.zeros(2, 5, 4, 4)).shape == (2, channels, 8, 8)


def test_gradient_penalties_differentiate_it_twice() -> None:
    """The gradient with respect to images has a gradient with respect to the weights."""
    layer = drawn(FromImage(1, 2))

    def convolved(images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": weight, "bias": layer.bias}, (images,)).square()

    given_values = values(1, 1, 4, 4), layer.weight
    assert gradcheck(convolved, given_values)
    assert gradgradcheck(convolved, given_values)

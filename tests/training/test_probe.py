import numpy as np
import torch

from bundles import brightness_discriminator
from dcgan_training import probe
from dcgan_training.discriminator_graph import to_onnx
from dcgan_training.networks import build_discriminator, initialize, signed
from dcgan_training.probe import Labelled, Maps, balanced, has_maps
from runs import settings


def graph() -> tuple[torch.nn.Module, bytes]:
    """A small discriminator of 28-pixel grey images, and its graph."""
    network = build_discriminator(settings(width=4))
    initialize(network, torch.Generator().manual_seed(0))
    network.eval()
    return network, to_onnx(network)


def striped(count: int) -> Labelled:
    """Noise with a bright corner, one of four, that is the class."""
    rng = np.random.default_rng(count)
    images = rng.integers(0, 80, (count, 28, 28, 1))
    codes = rng.integers(0, 4, count)
    for image, code in zip(images, codes, strict=True):
        top, left = 14 * (code // 2), 14 * (code % 2)
        image[top : top + 14, left : left + 14] += 60
    return Labelled(images.astype(np.uint8), codes)


def test_the_maps_are_those_of_the_convolutions_after_their_activations() -> None:
    """All layers of a 28-pixel discriminator, max-pooled to 4x4, as torch computes them."""
    network, onnx_graph = graph()
    images = striped(5).images
    with torch.no_grad():
        maps = [torch.nn.functional.leaky_relu(network.from_image(signed(torch.from_numpy(images))), 0.2)]
        for convolution, norm in zip(network.convolutions, network.norms, strict=True):
            maps.append(torch.nn.functional.leaky_relu(norm(convolution(maps[-1])), 0.2))
    assert [each.shape[1:] for each in maps] == [(4, 14, 14), (8, 7, 7), (16, 4, 4)]
    expected = torch.cat([torch.nn.functional.adaptive_max_pool2d(each, 4).flatten(1) for each in maps], 1)
    np.testing.assert_allclose(Maps(onnx_graph)(images), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_both_classifiers_learn_what_is_plain() -> None:
    """A bright corner is seen in the maps and in the pixels."""
    found = probe.probe(graph()[1], striped(200), striped(100))
    assert found.discriminator > 0.9
    assert found.pixels > 0.9


def test_noise_teaches_nothing() -> None:
    """Labels drawn by chance are guessed."""
    train, test = striped(200), striped(100)
    wrong = Labelled(train.images, np.random.default_rng(9).integers(0, 4, 200))
    assert probe.probe(graph()[1], wrong, test).pixels < 0.6


def test_a_discriminator_without_convolutions_has_no_maps() -> None:
    """Of such a bundle the probe is omitted."""
    assert has_maps(graph()[1])
    assert not has_maps(brightness_discriminator(8, 6, 5, 3))


def test_each_class_has_as_many_labelled_images() -> None:
    """Unlabelled images are passed over, and the order says which come first."""
    codes = np.array([0, 0, 0, 1, -1, 1, 2, 1, 2])
    chosen = balanced(codes, np.arange(9)[::-1], 6)
    assert sorted(chosen.tolist()) == [1, 2, 5, 6, 7, 8]


def test_the_weights_are_where_the_gradient_vanishes() -> None:
    """Of the mean cross-entropy plus half the penalty times their squares, written out."""
    rng = np.random.default_rng(0)
    rows, targets, penalty = rng.normal(size=(30, 4)), rng.integers(0, 3, 30), 0.1
    weights = probe._fitted(rows, targets, 3, penalty)
    beliefs = np.exp(rows @ weights)
    beliefs /= beliefs.sum(1, keepdims=True)
    gradient = rows.T @ (beliefs - np.eye(3)[targets]) / 30 + penalty * weights
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_a_base_of_the_span_keeps_every_product() -> None:
    """More values than rows: inner products of training rows, and of others with them, stay what they were."""
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(6, 20)), rng.normal(size=(4, 20))
    one, two = probe._in_span(train, test)
    assert one.shape == (6, 7)
    np.testing.assert_allclose(one[:, :-1] @ one[:, :-1].T, train @ train.T, atol=1e-9)
    np.testing.assert_allclose(two[:, :-1] @ one[:, :-1].T, test @ train.T, atol=1e-9)

import copy
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dcgan_training.choices import check
from dcgan_training.config import Architecture, Settings
from dcgan_training.networks import (
    DcganGenerator,
    Discriminator,
    Generator,
    MinibatchDiscrimination,
    batch_norms,
    build_discriminator,
    build_generator,
    channels_last,
    initialize,
    levels,
    normalized,
    signed,
    to_uint8,
)
from dcgan_training.networks.residual import downsampled
from dcgan_training.values import SIZES
from runs import settings

ARCHITECTURES = get_args(Architecture)
DISCRIMINATORS = [
    {"architecture": "dcgan"},
    {"architecture": "dcgan", "spectral_norm": True},
    {"architecture": "dcgan", "minibatch_kernels": 3},
    {"architecture": "dcgan", "packing": 4},
    {"architecture": "keras"},
    {"architecture": "keras", "spectral_norm": True, "packing": 2},
    {"architecture": "mlp"},
    {"architecture": "mlp", "spectral_norm": True, "packing": 2},
    {"architecture": "residual", "packing": 2},
]


def chosen(**changes: Any) -> Settings:
    """Settings of tiny networks; residual ones get the objective that they train by."""
    residual = {"objective": "relativistic", "penalty": 1.0} if changes.get("architecture") == "residual" else {}
    found = settings(**({"width": 2, "latent_dim": 5} | residual | changes))
    check(found)
    return found


def generator(**changes: Any) -> Generator:
    """A generator with drawn weights."""
    network = build_generator(chosen(**changes))
    initialize(network, torch.Generator().manual_seed(3))
    return network


def discriminator(**changes: Any) -> Discriminator:
    """A discriminator with drawn weights."""
    network = build_discriminator(chosen(**changes))
    initialize(network, torch.Generator().manual_seed(3))
    return network


def noise(count: int, *shape: int, seed: int = 0) -> torch.Tensor:
    """Normal values."""
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def parameter_count(network: nn.Module) -> int:
    """Counts what is trained."""
    return sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
def test_both_networks_fit_every_size(size: int, channels: int, architecture: str) -> None:
    """What the generator draws is what the discriminator judges, at every size and in grey and colour."""
    facts = chosen(size=size, channels=channels, architecture=architecture)
    images = build_generator(facts)(torch.zeros(3, 5))
    assert images.shape == (3, channels, size, size)
    assert images.permute(0, 2, 3, 1).is_contiguous()
    assert build_discriminator(facts)(images).shape == (3,)


def test_sizes_are_four_and_seven_times_powers_of_two() -> None:
    """The first feature map is 4x4 or 7x7 and its side doubles with every layer."""
    assert SIZES == (8, 14, 16, 28, 32, 56, 64, 112, 128)
    assert levels(28) == (7, 2)
    assert levels(64) == (4, 4)
    with pytest.raises(ValueError, match="30"):
        levels(30)


@pytest.mark.parametrize("size", SIZES)
def test_a_full_size_map_is_one_more_of_half_the_width(size: int) -> None:
    """The layers before it stay as they are; the last one keeps the side."""
    plain, longer = (generator(size=size, width=6, full_size_map=full) for full in (False, True))
    images = longer(torch.zeros(3, 5))
    assert images.shape == (3, 1, size, size)
    assert images.permute(0, 2, 3, 1).is_contiguous()
    assert isinstance(longer, DcganGenerator)
    assert longer.to_image.weight.shape == (3, 1, 3, 3)
    assert longer.deconvolutions[-1].weight.shape == (6, 3, 4, 4)
    assert isinstance(plain, DcganGenerator)
    assert [part.weight.shape for part in longer.deconvolutions][:-1] == [
        part.weight.shape for part in plain.deconvolutions
    ]


def test_at_64_pixels_and_width_128_the_generator_is_the_papers() -> None:
    """Figure 1 of arXiv:1511.06434: 4x4x1024, 512, 256, 128, then an RGB image of 64 pixels."""
    with torch.device("meta"):
        network = DcganGenerator(64, 3, width=128, latent_dim=100)
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters()}
    assert shapes["project.weight"] == (4 * 4 * 1024, 100)
    assert [shapes[f"deconvolutions.{level}.weight"] for level in range(3)] == [
        (1024, 512, 4, 4),
        (512, 256, 4, 4),
        (256, 128, 4, 4),
    ]
    assert shapes["to_image.weight"] == (128, 3, 4, 4)


def test_parameter_counts_of_the_fully_connected_networks() -> None:
    """The tutorials' 100 -> 128 -> 784 and 784 -> 128 -> 1."""
    facts = chosen(architecture="mlp", width=128, latent_dim=100)
    assert parameter_count(build_generator(facts)) == 114_064
    assert parameter_count(build_discriminator(facts)) == 100_609


def test_parameter_counts_at_28_pixels_and_width_32() -> None:
    """The DCGAN's networks, and the Keras books', counted by hand."""
    facts = chosen(width=32, latent_dim=100)
    by_hand = 100 * 49 * 64 + 2 * 64 + 64 * 32 * 16 + 2 * 32 + 32 * 16 + 1
    assert parameter_count(build_generator(facts)) == by_hand
    by_hand = 32 * 16 + 32 + 32 * 64 * 16 + 2 * 64 + 64 * 128 * 9 + 2 * 128 + 16 * 128 + 1
    assert parameter_count(build_discriminator(facts)) == by_hand
    facts = chosen(architecture="keras", width=32, latent_dim=100)
    by_hand = 100 * 49 * 128 + 2 * 128 + 128 * 64 * 16 + 2 * 64 + 64 * 32 * 16 + 2 * 32 + 32 * 25 + 1
    assert parameter_count(build_generator(facts)) == by_hand
    by_hand = 32 * 16 + 32 + 32 * 64 * 16 + 64 + 49 * 64 + 1
    assert parameter_count(build_discriminator(facts)) == by_hand


def test_the_discriminator_may_have_a_width_of_its_own() -> None:
    """A quarter of the generator's, as in table 3 of arXiv:1712.04086; without one it has the generator's."""
    shapes = [
        build_discriminator(chosen(width=8, discriminator_width=width)).from_image.weight.shape[0] for width in (0, 2)
    ]
    assert shapes == [8, 2]


@pytest.mark.parametrize(("architecture", "low"), [("dcgan", -1), ("mlp", -1), ("keras", 0)])
def test_images_lie_between_low_and_one(architecture: str, low: float) -> None:
    """Tanh or a sigmoid at the end, whatever the latents; both networks of a run say the same of it."""
    network = generator(architecture=architecture)
    images = network(1000 * noise(16, 5))
    assert images.min() >= low
    assert images.max() <= 1
    assert network.low == discriminator(architecture=architecture).low == low


@given(level=st.integers(0, 255), low=st.sampled_from([-1.0, 0.0]))
def test_a_pixel_survives_the_way_to_the_network_and_back(level: int, low: float) -> None:
    """In either scale; 0 becomes low and 255 becomes 1."""
    pixels = torch.tensor([0, level, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    images = normalized(pixels, low)
    assert (images.flatten()[0], images.flatten()[2]) == (low, 1)
    assert torch.equal(to_uint8(images, low), pixels)


def test_signed_pixels_are_those_of_older_runs() -> None:
    """To the bit: pixels / 127.5 - 1."""
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(signed(pixels), pixels.permute(0, 3, 1, 2).float() / 127.5 - 1.0)


def test_weights_begin_as_the_paper_says() -> None:
    """Weights from N(0, 0.02), scales of batch norm from N(1, 0.02), offsets zero."""
    network = generator(width=32, latent_dim=100)
    weights = network.get_parameter("project.weight").detach()
    assert weights.mean().abs() < 1e-4
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)
    norm = batch_norms(network)[0]
    assert norm.weight.mean().item() == pytest.approx(1.0, abs=0.01)
    assert norm.weight.std().item() == pytest.approx(0.02, rel=0.3)
    assert not norm.bias.any()


def test_runs_that_were_begun_before_find_their_weights() -> None:
    """Names and order of the DCGAN's weights, on which checkpoints and the draws for a seed depend."""
    facts = chosen(size=16)
    random = torch.Generator().manual_seed(7)
    for network, names in (
        (build_generator(facts), ["project", "norms.0", "norms.1", "deconvolutions.0", "to_image"]),
        (build_discriminator(facts), ["from_image", "convolutions.0", "norms.0", "judge"]),
    ):
        initialize(network, torch.Generator().manual_seed(7))
        random.manual_seed(7)
        found = list(network.named_parameters())
        weights = [(name.removesuffix(".weight"), value) for name, value in found if name.endswith(".weight")]
        assert [name for name, _ in weights] == names
        for name, value in weights:
            expected = torch.empty_like(value).normal_(1.0 if "norms" in name else 0.0, 0.02, generator=random)
            assert torch.equal(value, expected), name
        assert all(name.endswith((".weight", ".bias")) for name, _ in found)


@pytest.mark.parametrize("facts", [*({"architecture": name} for name in ARCHITECTURES), *DISCRIMINATORS], ids=str)
def test_the_same_seed_begins_with_the_same_weights(facts: dict[str, Any]) -> None:
    """Nothing depends on the state of torch's global generator, and everything is drawn or cleared."""
    for build in (build_generator, build_discriminator):
        states = []
        for global_seed in (1, 2):
            torch.manual_seed(global_seed)
            network = build(chosen(**facts))
            initialize(network, torch.Generator().manual_seed(7))
            states.append(network.state_dict())
        assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.mark.parametrize("facts", DISCRIMINATORS, ids=str)
def test_a_pack_of_images_has_one_logit(facts: dict[str, Any]) -> None:
    """Of images that stand next to each other; a number that doesn't make whole packs is refused."""
    network = discriminator(**facts).eval()
    packing = facts.get("packing", 1)
    images = noise(8, 1, 28, 28)
    with torch.no_grad():
        logits = network(images)
        assert logits.shape == (8 // packing,)
        changed = images.clone()
        changed[0] += 1.0
        moved = (network(changed) != logits).tolist()
    assert moved[0]
    assert network.judges_alone == (packing == 1 and "minibatch_kernels" not in facts)
    if "minibatch_kernels" not in facts:
        assert not any(moved[1:])
    if packing > 1:
        with pytest.raises(ValueError, match=f"7 images can't be judged {packing} at a time"):
            network(images[:7])


@pytest.mark.parametrize("architecture", ["mlp", "residual"])
def test_a_logit_doesn_t_depend_on_neighbours_even_in_training(architecture: str) -> None:
    """What gradient penalties need; and their gradients reach every weight."""
    network = discriminator(architecture=architecture, size=16)
    images = noise(4, 1, 16, 16).requires_grad_()
    logits = network(images)
    assert torch.allclose(network(images[:1]), logits[:1], atol=1e-6)
    (slopes,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    torch.autograd.backward(slopes.square().sum() + logits.sum())
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in network.parameters())


def test_the_penalty_s_gradient_is_the_numerical_one() -> None:
    """Twice differentiated by hand, in float64, along a random direction of the weights."""
    network = discriminator(architecture="residual", size=8).double()
    with torch.no_grad():
        for block in network.blocks:
            block.last.weight.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(1))
    images = noise(3, 1, 8, 8).double().requires_grad_()

    def penalty() -> torch.Tensor:
        (slopes,) = torch.autograd.grad(network(images).sum(), images, create_graph=True)
        return slopes.square().sum()

    random = torch.Generator().manual_seed(2)
    directions = [torch.empty_like(value).normal_(generator=random) for value in network.parameters()]
    grads = torch.autograd.grad(penalty(), list(network.parameters()), allow_unused=True)
    along = sum(float((grad * way).sum()) for grad, way in zip(grads, directions, strict=True) if grad is not None)
    ends = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            for value, way in zip(network.parameters(), directions, strict=True):
                value += step * way
        ends.append(float(penalty().detach()))
    assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(along, rel=1e-3)


@pytest.mark.parametrize("architecture", ["dcgan", "keras", "mlp"])
def test_spectral_norm_bounds_every_layer_by_one(architecture: str) -> None:
    """The largest singular value of each layer's matrix after a few steps of training, whatever its weights."""
    network = discriminator(architecture=architecture, width=4, spectral_norm=True)
    with torch.no_grad():
        for value in network.parameters():
            value *= 30.0
        for _ in range(30):
            network(noise(2, 1, 28, 28))
    layers = [layer for layer in network.eval().modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) >= 2
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, abs=0.05)
    assert not batch_norms(network)


def test_spectral_norm_moves_in_training_only() -> None:
    """A copy that is looked at stays as it is, and gradients of one pass survive the next."""
    network = discriminator(spectral_norm=True)
    before = copy.deepcopy(network.state_dict())
    network.eval()(noise(2, 1, 28, 28))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network.train()
    logits = network(noise(2, 1, 28, 28))
    network(noise(2, 1, 28, 28, seed=1))
    torch.autograd.backward(logits.sum())
    assert any(not torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_minibatch_features_are_the_paper_s_sums() -> None:
    """Written out as loops: over the other images, exp of minus the L1 distance of a kernel's five values."""
    layer = MinibatchDiscrimination(6, 4)
    nn.init.normal_(layer.weight, 0.0, 0.3, generator=torch.Generator().manual_seed(1))
    features = noise(5, 6)
    with torch.no_grad():
        found = layer(features).numpy()
        values = torch.einsum("na,abc->nbc", features, layer.weight).numpy()
    for i in range(5):
        for kernel in range(4):
            others = [np.exp(-np.abs(values[i, kernel] - values[j, kernel]).sum()) for j in range(5) if j != i]
            assert found[i, kernel] == pytest.approx(sum(others), abs=1e-5)


def test_minibatch_features_give_equal_images_away() -> None:
    """One image over and over has the largest sums there are, n - 1; different images have smaller ones."""
    network = build_discriminator(chosen(minibatch_kernels=3, width=8))
    initialize(network, torch.Generator().manual_seed(3))
    seen: list[torch.Tensor] = []
    network.minibatch.register_forward_hook(lambda _, __, sums: seen.append(sums.detach()))
    different = noise(6, 1, 28, 28)
    with torch.no_grad():
        network.minibatch.weight *= 5
        network(different)
        network(different[:1].expand(6, -1, -1, -1))
        network(different[:1])
    unequal, equal, alone = seen
    assert torch.allclose(equal, torch.full((6, 3), 5.0), atol=1e-3)
    assert (unequal < 4.0).all()
    assert torch.equal(alone, torch.zeros(1, 3))


def test_minibatch_features_look_at_the_rows_of_all_processes() -> None:
    """Of two processes each judges its own rows beside those of both."""
    layer = MinibatchDiscrimination(6, 4)
    nn.init.normal_(layer.weight, 0.0, 0.3, generator=torch.Generator().manual_seed(1))
    features = noise(8, 6)
    whole = layer(features)
    values = features @ layer.weight.flatten(1)
    layer.everyone = lambda _: values
    assert torch.allclose(torch.cat([layer(features[:4]), layer(features[4:])]), whole, atol=1e-5)


def test_residual_networks_begin_linear() -> None:
    """Fix-up: the last convolution of each block is zero, so that a block passes on what it gets."""
    network = generator(architecture="residual", width=4)
    for block in network.blocks:
        maps = noise(2, block.first.in_channels, 7, 7)
        assert torch.equal(block(maps), maps)
        assert block.first.weight.std() > 0


def test_the_mean_of_two_by_two_is_bilinear_downsampling() -> None:
    """So that the graph may take it, and gradients flow twice."""
    maps = noise(2, 3, 14, 14)
    bilinear = nn.functional.interpolate(maps, scale_factor=0.5, mode="bilinear", align_corners=False)
    assert torch.allclose(downsampled(maps), bilinear, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_last_changes_the_layout_and_no_value(channels: int) -> None:
    """One channel too gets channels-last strides, which torch would not set by itself."""
    images = torch.arange(2.0 * channels * 16).reshape(2, channels, 4, 4)
    laid_out = channels_last(images)
    assert torch.equal(laid_out, images)
    assert laid_out.stride() == (16 * channels, 1, 4 * channels, channels)

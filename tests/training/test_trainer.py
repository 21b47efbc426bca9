import copy
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch

from dcgan import latents
from dcgan_training import average
from dcgan_training.data import load, positions
from dcgan_training.networks import to_uint8
from dcgan_training.recipes import RECIPES
from dcgan_training.trainer import Trainer
from runs import CPU, SUBSET, settings

DATA = load(SUBSET).images


def stepped(trainer: Trainer, steps: int = 1) -> Trainer:
    """Takes steps on the subset, from wherever the trainer is."""
    chosen = trainer.settings
    count = trainer.images_per_step
    for _ in range(steps):
        rows = positions(chosen.seed, trainer.images, count, len(DATA))
        names = np.arange(trainer.images, trainer.images + count, dtype=np.uint64)
        values = latents.draw(1, names, chosen.latent_dim, chosen.prior, stream=latents.TRAINING_STREAM)
        trainer.step(torch.from_numpy(DATA[rows]), torch.from_numpy(values))
    return trainer


def networks(trainer: Trainer) -> tuple[torch.nn.Module, torch.nn.Module]:
    """Gives both networks of a trainer."""
    return trainer.generator, trainer.discriminator


def same_parameters(one: Trainer, other: Trainer) -> bool:
    """Says whether both networks of two trainers agree bit for bit."""
    values = ([value for network in networks(trainer) for value in network.parameters()] for trainer in (one, other))
    return all(torch.equal(ours, theirs) for ours, theirs in zip(*values, strict=True))


def parameters(state: dict[str, Any], part: str) -> dict[str, torch.Tensor]:
    """Copies the tensors of one part of a state."""
    return {name: value.clone() for name, value in state[part].items()}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_steps_move_every_weight_of_both_networks(precision: Any) -> None:
    """And the average follows the generator. In bfloat16 all logits of the first step may be the same."""
    trainer = Trainer(settings(), replace(CPU, precision=precision))
    parts = "generator", "discriminator", "average"
    before = {part: parameters(trainer.state(), part) for part in parts}
    stepped(trainer, 2)
    for part in parts:
        for name, value in trainer.state()[part].items():
            if name.endswith(("weight", "bias")):
                assert not torch.equal(value, before[part][name]), f"{part}.{name}"
    assert trainer.images == 256


def test_the_discriminator_learns_only_in_its_own_half() -> None:
    """The generator's half leaves no gradient in it: it moves by its own optimizer once a step."""
    trainer = stepped(Trainer(settings(), CPU))
    assert all(parameter.requires_grad for parameter in trainer.discriminator.parameters())
    state = trainer.state()["discriminator_optimizer"]["state"]
    assert {entry["step"].item() for entry in state.values()} == {1.0}


def test_the_generators_half_gives_the_discriminator_no_gradient() -> None:
    """What lies there afterwards is that of its own half."""
    trainer = Trainer(settings(), CPU)
    real, fake = trainer._real(torch.tensor(DATA[:128]), 0), trainer._fake(torch.randn(128, 100), keep_graph=True)
    trainer._train_discriminator(real, fake.detach(), 0)
    before = [value.grad.clone() for value in trainer.discriminator.parameters()]
    trainer._train_generator(real, fake, 0)
    after = [value.grad for value in trainer.discriminator.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_all_that_the_discriminator_sees_is_augmented() -> None:
    """Real images, fakes, and fakes again as the generator's half shows them, each by draws of its own."""
    trainer = Trainer(settings("scarce"), CPU)
    plain = trainer._real(torch.tensor(DATA[:128]), 0), trainer._fake(torch.randn(128, 100), keep_graph=True)
    seen: list[torch.Tensor] = []
    trainer.discriminator.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    trainer._train_discriminator(plain[0], plain[1].detach(), 0)
    trainer._train_generator(*plain, 0)
    real, fake, fake_again = seen
    assert not torch.allclose(real, plain[0])
    assert not torch.allclose(fake, plain[1])
    assert not torch.allclose(fake_again, plain[1])
    assert not torch.allclose(fake_again, fake)


def test_real_images_and_fakes_are_both_penalised() -> None:
    """R1 and R2: the gradient of the discriminator is that of the objective and both, written out here."""
    trainer = Trainer(settings("strong", penalty=3.0), CPU)
    stepped(trainer, 2)  # fix-up begins where much is zero
    real, fake = trainer._real(torch.tensor(DATA[:128]), 0), trainer._fake(torch.randn(128, 64), keep_graph=False)
    wanted = copy.deepcopy(trainer.discriminator)
    trainer._train_discriminator(real, fake, 0)
    images = [each.detach().requires_grad_() for each in (real, fake)]
    logits = [wanted(each) for each in images]
    loss = torch.nn.functional.softplus(logits[1] - logits[0]).mean()
    for each, judged in zip(images, logits, strict=True):
        (slope,) = torch.autograd.grad(judged.sum(), each, create_graph=True)
        loss = loss + 3.0 * 0.5 * slope.square().sum((1, 2, 3)).mean()
    expected = torch.autograd.grad(loss, list(wanted.parameters()), allow_unused=True)
    for value, gradient in zip(trainer.discriminator.parameters(), expected, strict=True):
        if gradient is not None:
            assert value.grad is not None
            assert torch.allclose(value.grad, gradient, rtol=1e-3, atol=1e-5)


def test_a_restored_state_goes_on_as_if_nothing_had_been() -> None:
    """Bit for bit, moments of the optimizers and statistics of the batch norms included."""
    whole = stepped(Trainer(settings(), CPU), 6)
    half = stepped(Trainer(settings(), CPU), 3)
    rest = Trainer(settings(), CPU)
    rest.load(half.state())
    stepped(rest, 3)
    for part in ("generator", "discriminator", "average"):
        assert all(torch.equal(value, whole.state()[part][name]) for name, value in rest.state()[part].items())


def test_a_cooldown_ends_where_nothing_moves_any_more() -> None:
    """Interrupted on the way it ends with the same bits, and a step after the last image moves no weight."""
    chosen = settings(batch_size=8, images=64, cooldown_images=48)
    whole = stepped(Trainer(chosen, CPU), 8)
    rest = Trainer(chosen, CPU)
    rest.load(stepped(Trainer(chosen, CPU), 5).state())
    stepped(rest, 3)
    assert same_parameters(whole, rest)
    assert same_parameters(stepped(whole), rest)


def test_losses_are_means_since_the_last_reading() -> None:
    """A new discriminator is undecided: log 4 and log 2 nats, beliefs of one half."""
    losses = stepped(Trainer(settings(), CPU)).read_losses()
    assert losses.discriminator == pytest.approx(np.log(4), abs=0.1)
    assert losses.generator == pytest.approx(np.log(2), abs=0.1)
    assert losses.belief_real == pytest.approx(0.5, abs=0.05)
    assert losses.belief_fake == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("recipe", "low"), [("dcgan", -1.0), ("keras-digits", 0.0)])
def test_real_pixels_reach_the_network_in_the_generators_range(recipe: str, low: float) -> None:
    """255 becomes 1, and 0 what black is in the generator's images: -1 by a tanh, 0 by a sigmoid."""
    pixels = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 2, 1)
    assert Trainer(settings(recipe), CPU)._real(pixels, 0).flatten().tolist() == [low, 1.0]


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_every_recipe_trains_both_of_its_networks(recipe: str) -> None:
    """Three steps move every weight; the losses, the outputs and the gradients' norms are numbers.

    A relativistic discriminator's last offset drops out of its loss.
    """
    trainer = Trainer(settings(recipe, batch_size=8), CPU)
    before = [[value.clone() for value in part.parameters()] for part in networks(trainer)]
    losses = stepped(trainer, 3).read_losses()
    unmoved = [
        name
        for part, old in zip(networks(trainer), before, strict=True)
        for (name, value), was in zip(part.named_parameters(), old, strict=True)
        if torch.equal(value, was)
    ]
    assert unmoved == (["judge.bias"] if trainer.settings.objective == "relativistic" else [])
    assert np.isfinite(list(asdict(losses).values())).all()
    assert losses.norm_discriminator > 0
    assert losses.norm_generator > 0
    assert trainer.images == 24 * trainer.settings.discriminator_steps


def test_the_discriminator_takes_k_steps_for_each_of_the_generators() -> None:
    """Each on images of its own, and the average's half-life is counted in images all the same."""
    trainer = stepped(Trainer(settings(batch_size=8, discriminator_steps=3), CPU), 2)
    state = trainer.state()
    counts = [
        {entry["step"].item() for entry in state[part]["state"].values()}
        for part in ("discriminator_optimizer", "generator_optimizer")
    ]
    assert counts == [{6.0}, {2.0}]
    assert trainer.images == 48
    assert trainer._decay == average.decay_per_step(20_000, 24)


@pytest.mark.parametrize("recipe", ["strong", "keras-digits", "mlp-digits"])
def test_the_penalties_flatten_the_discriminator(recipe: str) -> None:
    """A hundred times as much of them leaves smaller gradients at real images after the same steps."""
    slopes = []
    for penalty in (0.1, 10.0):
        trainer = stepped(Trainer(settings(recipe, batch_size=16, penalty=penalty, learning_rate=2e-3), CPU), 12)
        images = trainer._real(torch.tensor(DATA[:64]), 0).requires_grad_()
        (slope,) = torch.autograd.grad(trainer.discriminator(images).sum(), images)
        slopes.append(float(slope.square().sum()))
    assert slopes[1] < slopes[0] / 2


def test_spectral_norm_lets_a_dcgan_be_penalised() -> None:
    """It takes the place of batch norm, so a step has its penalties and stays finite."""
    trainer = stepped(Trainer(settings(batch_size=8, penalty=1.0, spectral_norm=True), CPU), 2)
    assert np.isfinite(trainer.read_losses().discriminator)


def test_noise_and_mirrors_follow_the_seed_and_the_number() -> None:
    """A run with both that was interrupted ends with the same bits."""
    chosen = settings(batch_size=8, instance_noise=0.2, flip=True, augment="all")
    whole = stepped(Trainer(chosen, CPU), 4)
    half = stepped(Trainer(chosen, CPU), 2)
    rest = Trainer(chosen, CPU)
    rest.load(half.state())
    assert same_parameters(whole, stepped(rest, 2))


@pytest.mark.parametrize(("recipe", "half_range"), [("dcgan", 1.0), ("keras-digits", 0.5)])
def test_noise_is_as_strong_whatever_the_range_of_the_images(recipe: str, half_range: float) -> None:
    """In [-1, 1] a deviation of 0.2 is 0.2; in [0, 1], where the same contrast takes half the values, 0.1."""
    trainer = Trainer(settings(recipe, instance_noise=0.2), CPU)
    grey = torch.zeros(100, 1, 28, 28)
    assert float(trainer._seen(grey, 0, 16).std()) == pytest.approx(0.2 * half_range, rel=0.02)


def test_half_of_the_average_is_the_last_half_life() -> None:
    """After 20,000 images of 128 a step, what was there before weighs one half."""
    assert average.decay_per_step(20_000, 128) ** (20_000 / 128) == pytest.approx(0.5)


def test_the_average_gets_statistics_of_its_own() -> None:
    """Recomputed from what it draws: on a large batch, eval mode then agrees with the batch's own statistics."""
    trainer = stepped(Trainer(settings(), CPU), 3)
    twin = average.calibrated(trainer.average, trainer.settings)
    assert not twin.training
    values = latents.draw(9, np.arange(2000, dtype=np.uint64), 100, "normal")
    with torch.no_grad():
        by_statistics = twin(torch.from_numpy(values))
        by_batch = twin.train()(torch.from_numpy(values))
    assert (by_statistics - by_batch).abs().mean() < 0.01 * by_batch.std()


def test_calibration_leaves_the_average_as_it_is() -> None:
    """It is done at every checkpoint and must not change the run."""
    trainer = stepped(Trainer(settings(), CPU))
    before = parameters(trainer.state(), "average")
    average.calibrated(trainer.average, trainer.settings)
    assert all(torch.equal(value, before[name]) for name, value in trainer.state()["average"].items())


def test_pixels_are_rounded_half_to_even_and_clipped() -> None:
    """One rule, for samples, export and service."""
    levels = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).reshape(1, 1, 1, 5)
    assert to_uint8(levels).flatten().tolist() == [0, 0, 128, 255, 255]

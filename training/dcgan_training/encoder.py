"""Gives a bundle an encoder: trains it, derives the gradient that refines its latents, proves and measures both.

Nothing is written before all of it is done; the bundle is then written whole.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from dcgan import bundle, latents
from dcgan.bundle.manifest import EncoderSpec
from dcgan.generator.sessions import Session
from dcgan_training import encoder_network, frozen, gradient_graph
from dcgan_training.card import with_section
from dcgan_training.data import Dataset, in_both
from dcgan_training.encoder_training import BATCH_SIZE, Plan, Reading, train
from dcgan_training.errors import RunError
from dcgan_training.machine import Machine
from dcgan_training.networks import signed
from dcgan_training.real_images import split_of_run
from dcgan_training.reconstruct import REFINE_STEPS, Reconstruction

PICTURE: Final = "reconstructions.png"
_PROOF_BATCH_SIZES: Final = (1, 2, 7, 64)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Materials:
    """What an encoder is made of.

    Attributes:
        path: of the bundle.
        data: images to train on.
        held_out: images that are only measured; None measures, and trains on none of, those that the generator's run
            held out of the same data by their hash, and generated images alone where it held out none.
    """

    path: Path
    data: Dataset
    held_out: Dataset | None


def add_encoder(
    materials: Materials, output: Path | None, plan: Plan, machine: Machine, report: Callable[[Reading], None]
) -> EncoderSpec:
    """Trains an encoder for a bundle and writes the bundle again with it.

    Args:
        materials: the bundle and the images.
        output: of the new bundle, which must not exist; None replaces the old one.
        plan: of the training.
        machine: where to train.
        report: is called with each reading of the training.

    Returns:
        What the manifest says of the encoder.

    Raises:
        BundleError: the bundle is refused, or its generator is none that this program writes.
        DataError: the manifest names these images, but what its run held out by hash isn't held out of them.
        OutputError: `output` exists or can't be written.
        RunError: the images are of another shape, held-out ones are trained on, or a graph doesn't give what torch
            gives.
    """
    bundle.check_new(output)
    before = bundle.load(materials.path)
    _check_held_out(materials, before)
    weights = frozen.read(before)
    for images in (materials.data, materials.held_out):
        _check_shape(images, before)
    prior = before.manifest.latent.prior
    trained, held_out = _parts(materials, before)
    encoder = train(weights, prior, trained, plan, machine, report)
    graphs = {
        bundle.ENCODER: _proven_encoder(encoder, weights, trained),
        bundle.LATENT_GRADIENT: _proven_gradient(weights, prior, trained),
    }
    extended = dataclasses.replace(
        before, encoder=graphs[bundle.ENCODER], latent_gradient=graphs[bundle.LATENT_GRADIENT]
    )
    runtime = Reconstruction(extended)
    spec = EncoderSpec(images_seen=plan.steps * BATCH_SIZE, figures=runtime.figures(held_out))
    picture = runtime.picture(trained if held_out is None else held_out)
    files = {**graphs, PICTURE: picture, **_card(materials, before, plan, spec, held_out is not None)}
    bundle.extend(materials.path, output, {"encoder": spec}, files)
    return spec


def _check_held_out(materials: Materials, before: bundle.Bundle) -> None:
    """Refuses images to measure with that some training saw."""
    if materials.held_out is None:
        return
    digest = materials.held_out.digest
    if digest in (materials.data.digest, before.manifest.training.dataset_digest):
        whose = "encoder" if digest == materials.data.digest else "generator"
        raise RunError(f"the held-out images are what the {whose} is trained on; name images that it never sees")
    seen = in_both(materials.held_out, materials.data)
    if seen:
        raise RunError(
            f"{seen} of the {len(materials.held_out)} held-out images are in the data too; leave them out there, or "
            "leave out --held-out: then those that the generator's run held out of its data are not trained on"
        )


def _parts(materials: Materials, before: bundle.Bundle) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Gives the images to train on, and those to measure with."""
    data = materials.data
    if materials.held_out is not None:
        return data.images, materials.held_out.images
    if data.digest != before.manifest.training.dataset_digest:
        return data.images, None
    parts = split_of_run(data, before.manifest)
    return (data.images, None) if parts is None else (data.images[parts.train], data.images[parts.held_out])


def _check_shape(images: Dataset | None, before: bundle.Bundle) -> None:
    image = before.manifest.image
    wanted = image.height, image.width, image.channels
    if images is not None and images.images.shape[1:] != wanted:
        raise RunError(f"the images are {images.images.shape[1:]} but those of {before.path} are {wanted}")


def _proven_encoder(encoder: encoder_network.Encoder, weights: frozen.Weights, data: NDArray[np.uint8]) -> bytes:
    """Exports the encoder; raises RunError where onnxruntime doesn't give what torch gives."""
    graph = encoder_network.to_onnx(encoder, weights)
    session = Session(graph, Path(bundle.ENCODER), "cpu")
    generator = frozen.FrozenGenerator(weights)
    for size in _PROOF_BATCH_SIZES:
        images = np.resize(data[:size], (size, *data.shape[1:]))
        found = session.run({"images": images})["latents"]
        with torch.no_grad():
            expected = encoder.encode(generator, signed(torch.from_numpy(images))).second.numpy()
        _compare("encoder", found, expected)
    return graph


def _proven_gradient(weights: frozen.Weights, prior: latents.Prior, data: NDArray[np.uint8]) -> bytes:
    """Exports the gradient; raises RunError where onnxruntime doesn't give what torch's autograd gives."""
    graph = gradient_graph.to_onnx(weights)
    session = Session(graph, Path(bundle.LATENT_GRADIENT), "cpu")
    generator = frozen.FrozenGenerator(weights)
    for size in _PROOF_BATCH_SIZES:
        images = np.resize(data[:size], (size, *data.shape[1:]))
        values = latents.draw(0, np.arange(size, dtype=np.uint64), weights.dim, prior)
        found = session.run({"latents": values, "images": images})
        given = torch.from_numpy(values).requires_grad_()
        expected = (generator(given) - signed(torch.from_numpy(images))).square().mean((1, 2, 3))
        torch.autograd.backward(expected.sum())
        assert given.grad is not None
        _compare("gradient", found["gradients"], given.grad.numpy())
        _compare("error", found["errors"], expected.detach().numpy())
    return graph


def _compare(what: str, found: np.ndarray, expected: np.ndarray) -> None:
    """Refuses what is further apart than sums in another order explain, measured on the largest value."""
    apart = float(np.abs(found - expected).max())
    if not apart <= 1e-3 * max(float(np.abs(expected).max()), 1e-6):  # also where it is no number
        raise RunError(f"the exported {what} isn't what torch gives: they are {apart:.3g} apart at {len(found)} images")


def _card(
    materials: Materials, before: bundle.Bundle, plan: Plan, spec: EncoderSpec, measured: bool
) -> dict[str, bytes]:
    """Gives the model card with a section on the encoder; nothing where the bundle has no card."""
    card = materials.path / bundle.MODEL_CARD
    if not card.is_file():
        return {}
    compared = materials.data.digest == before.manifest.training.dataset_digest  # with what the generator saw
    whose = "no training" if compared else "the encoder's training never"
    shown = f"held-out images, which {whose} saw" if measured else "the data"
    held_out = "" if materials.held_out is None else " --held-out HELD_OUT"
    figures = "\n".join(f"| {name} | {value:.4f} |" for name, value in spec.figures.items())
    body = f"""`encoder.onnx` finds latents for an image in two passes of one small network around the generator, as \
in ReStyle (arXiv:2104.02699); `latent_gradient.onnx` moves them on by gradient descent. The encoder saw \
{spec.images_seen:,} images, half of them the generator's own and half of the data.

![Images, what the encoder gives back, and what {REFINE_STEPS} steps of refinement do; {shown}]({PICTURE})

Mean squared errors in [-1, 1]; "refined" is after {REFINE_STEPS} steps, "best" and "nearest" are of random samples:

| | |
| --- | --- |
{figures}

```
dcgan-train encoder BUNDLE --data DATA{held_out} --images {plan.images} --width {plan.width} --seed {plan.seed}
```"""
    return {bundle.MODEL_CARD: with_section(card.read_text("utf-8", errors="replace"), "Encoder", body).encode()}

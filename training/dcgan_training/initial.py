"""Weights to begin with, from a bundle: fine-tuning, or going on where only the bundle is left of a run.

A bundle holds batch norm folded into the layers before it, and training needs it apart: each layer takes the folded
weights, and its batch norm the scale and the shift that undo what normalising by a batch does to them. So the
networks begin by drawing and judging what the bundle draws and judges. Adam begins anew.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeGuard

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from dcgan import bundle, latents
from dcgan.bundle.manifest import Manifest
from dcgan.errors import BundleError, SettingsError
from dcgan.images import Pixels
from dcgan_training import frozen
from dcgan_training.batches import spread
from dcgan_training.config import Settings
from dcgan_training.networks import channels_last, signed
from dcgan_training.networks.base import LEAK
from dcgan_training.networks.convolutional import ConvolutionalDiscriminator, DcganGenerator
from dcgan_training.trainer import Trainer

Layers = list[tuple[torch.Tensor, torch.Tensor]]  # weights and offsets

_IMAGES: Final = 1024  # to measure the statistics of batch norm with, of each kind


@dataclass(frozen=True, slots=True)
class Initial:
    """The weights of a bundle.

    Attributes:
        path: of the bundle.
        digest: sha256 of its manifest.
        generator: weights of the generator.
        discriminator: weights and offsets of the discriminator's layers, the last one linear; None where it has none.
    """

    path: Path
    digest: str
    manifest: Manifest
    generator: frozen.Weights
    discriminator: Layers | None

    def check(self, settings: Settings) -> None:
        """Refuses a run whose networks are others than the bundle's.

        Raises:
            SettingsError: names what differs, both values, and what to set.
        """
        image, latent = self.manifest.image, self.manifest.latent
        pairs = {
            "architecture": ("dcgan", settings.architecture),
            "size": (image.height, settings.size),
            "channels": (image.channels, settings.channels),
            "latent_dim": (latent.dim, settings.latent_dim),
            "prior": (latent.prior, settings.prior),
            "full_size_map": (self.generator.full_size_map, settings.full_size_map),
            "width": (self.generator.width, settings.width),
        }
        for name, (theirs, ours) in pairs.items():
            if theirs != ours:
                raise SettingsError(f"--init-from {self.path}: its {name} is {theirs}, but this run's is {ours}")

    def give(self, trainer: Trainer, real: Pixels) -> list[str]:
        """Gives the weights to a new trainer; `real` are images, uint8 (n, size, size, channels), of the run's kind.

        Returns:
            What the reader of a run should know: whether the discriminator begins with drawn weights.
        """
        settings = trainer.settings
        names = np.arange(_IMAGES, dtype=np.uint64)
        values = latents.draw(settings.seed, names, settings.latent_dim, settings.prior)
        assert isinstance(trainer.generator, DcganGenerator)  # by `check`
        fake = _fill_generator(trainer.generator, self.generator, torch.from_numpy(values).to(trainer.machine.device))
        trainer.average.load_state_dict(trainer.generator.state_dict())
        judge, layers = trainer.discriminator, self.discriminator
        if layers is None or settings.spectral_norm or not _fits(judge, layers):
            return [f"warning: {self.path} has no discriminator for this run; it begins with drawn weights"]
        shown = signed(torch.tensor(spread(real, _IMAGES)).to(trainer.machine.device))
        _fill_discriminator(judge, layers, torch.cat([shown, fake[: len(shown)]]))
        return []


def read(path: Path) -> Initial:
    """Reads the weights of a bundle.

    Raises:
        BundleError: the bundle is refused, or its generator is none whose layers can be taken up.
    """
    found = bundle.load(path)
    weights = frozen.read(found)
    judge = None if found.discriminator is None else _layers(found.discriminator)
    return Initial(path, found.digest, found.manifest, weights, judge)


def recognised(path: Path | None, recorded: str) -> tuple[str, list[str]]:
    """Gives the digest of the bundle that a run which has a checkpoint is said to have begun with.

    Its weights are in the run by now, so that the bundle may be gone; one that can be read must be the right one.

    Args:
        path: of the bundle; None where the command doesn't say.
        recorded: the digest in the run's settings; "" is a run that began with drawn weights.

    Returns:
        The digest, and a warning where the bundle couldn't be read.

    Raises:
        BundleError: the bundle is refused, and the run began without one.
    """
    if path is None:
        return recorded, []
    try:
        return bundle.load(path).digest, []
    except BundleError as error:
        if not recorded:
            raise
        return recorded, [f"warning: {error.message}; the run goes on without it, with the weights that it has"]


def _layers(graph: bytes) -> Layers:
    """Gives weights and offsets of each convolution, and of the linear layer after them, as the graph has them."""
    model = onnx.load_model_from_string(graph).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.initializer}
    return [
        (torch.from_numpy(values[node.input[1]].copy()), torch.from_numpy(values[node.input[2]].copy()))
        for node in model.node
        if node.op_type in ("Conv", "Gemm")
    ]


@torch.no_grad()
def _fill_generator(network: DcganGenerator, weights: frozen.Weights, values: torch.Tensor) -> torch.Tensor:
    """Takes up the generator's weights; gives what it draws, (n, channels, size, size)."""
    maps, height, width = weights.shape
    by_place = np.arange(maps * height * width).reshape(maps, height, width).transpose(1, 2, 0).reshape(-1)
    _take(network.project.weight, weights.project[by_place])
    offsets = [weights.offset.reshape(maps, -1)[:, 0], *weights.offsets]
    drawn = network.project(values).view(-1, height, width, maps).permute(0, 3, 1, 2)
    layers = zip(network.deconvolutions, weights.kernels[:-1], strict=True)
    drawn = torch.relu(_undo(network.norms[0], drawn, torch.from_numpy(offsets[0])))
    for norm, (layer, kernel), offset in zip(network.norms[1:], layers, offsets[1:-1], strict=True):
        _take(layer.weight, kernel)
        drawn = torch.relu(_undo(norm, layer(drawn), torch.from_numpy(offset)))
    _take(network.to_image.weight, weights.kernels[-1])
    _take(network.to_image.bias, weights.offsets[-1])
    return torch.tanh(network.to_image(drawn))


@torch.no_grad()
def _fill_discriminator(network: ConvolutionalDiscriminator, layers: Layers, images: torch.Tensor) -> None:
    """Takes up the discriminator's weights; batch norm is measured on `images`, half of them real, half drawn."""
    first, *middle, last = layers
    _take(network.from_image.weight, first[0])
    _take(network.from_image.bias, first[1])
    maps = nn.functional.leaky_relu(network.from_image(channels_last(images)), LEAK)
    for layer, norm, (kernel, offset) in zip(network.convolutions, network.norms, middle, strict=True):
        _take(layer.weight, kernel)
        maps = nn.functional.leaky_relu(_undo(norm, layer(maps), offset), LEAK)
    columns = last[0].reshape(maps.shape[1], network.base, network.base).permute(1, 2, 0).reshape(1, -1)
    _take(network.judge.weight, columns)
    _take(network.judge.bias, last[1])


def _undo(norm: nn.Module, maps: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """Lets a batch norm add `offset` to such maps and do no more; gives what comes out."""
    assert isinstance(norm, nn.BatchNorm2d)
    offset = offset.to(maps.device)
    variance, mean = torch.var_mean(maps, (0, 2, 3), unbiased=False)
    _take(norm.weight, (variance + norm.eps).sqrt())
    _take(norm.bias, mean + offset)
    return maps + offset[:, None, None]


def _take(parameter: object, values: torch.Tensor | np.ndarray) -> None:
    assert isinstance(parameter, torch.Tensor)
    parameter.copy_(torch.as_tensor(values))


def _fits(network: nn.Module, layers: Layers | None) -> TypeGuard[ConvolutionalDiscriminator]:
    if layers is None or not isinstance(network, ConvolutionalDiscriminator):
        return False
    own = [network.from_image, *network.convolutions, network.judge]
    shapes = [part.weight.shape for part in own if isinstance(part, (nn.Conv2d, nn.Linear))]
    return shapes == [kernel.shape for kernel, _ in layers]

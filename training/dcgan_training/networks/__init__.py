"""Generators and discriminators of every architecture, chosen by the settings of a run.

`base` says what they have in common, `convolutional`, `mlp` and `residual` hold the networks, `spectral` and
`minibatch` what a discriminator may have besides, `pixels` the scale of their images.
"""

from dcgan_training.config import Settings
from dcgan_training.networks.base import Discriminator, Generator, batch_norms, initialize, levels
from dcgan_training.networks.convolutional import (
    ConvolutionalDiscriminator,
    DcganGenerator,
    KerasDiscriminator,
    KerasGenerator,
)
from dcgan_training.networks.minibatch import MinibatchDiscrimination
from dcgan_training.networks.mlp import MlpDiscriminator, MlpGenerator
from dcgan_training.networks.pixels import channels_last, normalized, signed, to_uint8
from dcgan_training.networks.residual import ResidualBlock, ResidualDiscriminator, ResidualGenerator

__all__ = [
    "ConvolutionalDiscriminator",
    "DcganGenerator",
    "Discriminator",
    "Generator",
    "KerasDiscriminator",
    "KerasGenerator",
    "MinibatchDiscrimination",
    "MlpDiscriminator",
    "MlpGenerator",
    "ResidualBlock",
    "ResidualDiscriminator",
    "ResidualGenerator",
    "batch_norms",
    "build_discriminator",
    "build_generator",
    "channels_last",
    "initialize",
    "levels",
    "normalized",
    "signed",
    "to_uint8",
]


def build_generator(settings: Settings) -> Generator:
    """Makes the generator that the settings name; its weights are for `initialize` or a checkpoint to set."""
    shape = settings.size, settings.channels, settings.width, settings.latent_dim
    match settings.architecture:
        case "dcgan":
            return DcganGenerator(*shape, full_size_map=settings.full_size_map)
        case "keras":
            return KerasGenerator(*shape)
        case "mlp":
            return MlpGenerator(*shape)
        case "residual":
            return ResidualGenerator(*shape)


def build_discriminator(settings: Settings) -> Discriminator:
    """Makes the discriminator that the settings name; its weights are for `initialize` or a checkpoint to set."""
    shape = settings.size, settings.channels, settings.discriminator_width or settings.width
    packing, spectral_norm = settings.packing, settings.spectral_norm
    match settings.architecture:
        case "dcgan":
            return ConvolutionalDiscriminator(
                *shape, packing=packing, kernels=settings.minibatch_kernels, spectral_norm=spectral_norm
            )
        case "keras":
            return KerasDiscriminator(*shape, packing=packing, spectral_norm=spectral_norm)
        case "mlp":
            return MlpDiscriminator(*shape, packing=packing, spectral_norm=spectral_norm)
        case "residual":
            return ResidualDiscriminator(*shape, packing=packing)

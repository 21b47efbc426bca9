"""The DCGAN whose discriminator judges two images at once, stacked along their channels.

Two images that are alike are rarer among real pairs than among pairs of a generator that lost modes. Only the
discriminator's first layer differs. It has no score for one image, so its bundle has none.

Source: Lin, Khetan, Fanti, Oh, 2018, "PacGAN: The power of two samples in generative adversarial networks",
arXiv:1712.04086.
"""

from typing import Final

from dcgan_training.config import Method, Recipe

PACKED: Final = Recipe(
    name="packed",
    summary="PacGAN, Lin et al., 2018: the DCGAN whose discriminator judges two images together",
    method=Method(packing=2),
)

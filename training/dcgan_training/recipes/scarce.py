"""The DCGAN for few images: whatever the discriminator sees is varied first, differentiably.

Brightness, saturation and contrast, shifts, and a cut-out of half the side: real images and fakes alike, and gradients
flow through it, so that the generator learns the images and not the variations. Advised below 20,000 images.

Source: Zhao, Liu, Lin, Zhu, Han, 2020, "Differentiable augmentation for data-efficient GAN training",
arXiv:2006.10738.
"""

from typing import Final

from dcgan_training.config import Method, Recipe

SCARCE: Final = Recipe(
    name="scarce",
    summary="Zhao et al., 2020: the DCGAN with differentiable augmentation, for fewer than 20,000 images",
    method=Method(augment="all"),
)
BELOW_IMAGES: Final = 20_000  # of training data, where this recipe is advised

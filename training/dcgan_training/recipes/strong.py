"""A modern baseline in small: relativistic loss with R1 and R2 on residual networks without normalisation.

From R3GAN: the relativistic pairing loss, both zero-centred gradient penalties, no normalisation of any kind, residual
blocks with fix-up initialisation, bilinear resampling, Adam with beta1 0, latents of 64. It is five to ten times
slower an image than the DCGAN. A preset of its own: its penalties and batch norm can't be mixed, for the gradient of
one image's logit would then depend on its neighbours.

Source: Huang, Gokaslan, Kuleshov, Tompkin, 2024, "The GAN is dead; long live the GAN! A modern GAN baseline",
arXiv:2501.05441.
"""

from typing import Final

from dcgan_training.config import Method, Recipe

STRONG: Final = Recipe(
    name="strong",
    summary="R3GAN in small, Huang et al., 2024: relativistic loss, R1 and R2, residual, no normalisation",
    method=Method(
        architecture="residual",
        width=32,
        latent_dim=64,
        beta1=0.0,
        beta2=0.99,
        objective="relativistic",
        penalty=1.0,
    ),
)

"""The DCGAN of Radford, Metz and Chintala, 2016 (arXiv:1511.06434), with an average of the weights beside it.

From the paper: strided and transposed convolutions, batch norm, ReLU and LeakyReLU 0.2, weights from N(0, 0.02),
Adam at 2e-4 with beta1 0.5, batches of 128. Two departures: latents are normal rather than uniform, and what is
shown and exported is an exponential moving average of the generator, which costs nothing and draws better.
"""

from typing import Final

from dcgan_training.config import Recipe

DCGAN: Final = Recipe(
    name="dcgan",
    summary="Radford et al., 2016: batch norm, non-saturating loss, Adam 2e-4, averaged weights",
    width=64,
    latent_dim=100,
    prior="normal",
    batch_size=128,
    learning_rate=2e-4,
    beta1=0.5,
    average_half_life_images=20_000,
    images=8_000_000,
)

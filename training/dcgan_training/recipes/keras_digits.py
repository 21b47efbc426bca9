"""The convolutional GAN of the Keras books on 28-pixel digits: uniform latents, sigmoid images, minimax, k steps.

100 uniform values in [-1, 1], a projection to 7x7, two transposed convolutions with batch norm and ReLU, a sigmoid:
images in [0, 1]. The discriminator: two convolutions with LeakyReLU 0.2, one sigmoid. The objective is the minimax
game of Goodfellow et al., 2014 (arXiv:1406.2661, algorithm 1): the generator descends log(1 - D(G(z))), the
discriminator takes k steps for each of its steps and is frozen in them.
"""

from typing import Final

from dcgan_training.config import Method, Recipe

KERAS_DIGITS: Final = Recipe(
    name="keras-digits",
    summary="the Keras books' 28-pixel GAN: uniform latents, sigmoid images in [0, 1], minimax, k steps",
    method=Method(
        architecture="keras",
        width=32,
        prior="uniform",
        objective="minimax",
        discriminator_steps=2,
        images=4_000_000,
    ),
    size=28,
    channels=1,
)

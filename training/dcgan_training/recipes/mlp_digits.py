"""The fully connected GAN of the first tutorials on handwritten digits: one hidden layer on either side.

Generator: 100 normal values, 128 LeakyReLU 0.01, 784 tanh; 114,064 parameters. Discriminator: 784, 128 LeakyReLU 0.01,
1; 100,609 parameters. Images in [-1, 1], real labels smoothed to 0.9 (one-sided, arXiv:1606.03498, section 3.4), the
objective of Goodfellow et al., 2014 (arXiv:1406.2661) in its non-saturating form. It averages weights too, so that
what is shown is smoother than the tutorials' last step.
"""

from typing import Final

from dcgan_training.config import Method, Recipe

MLP_DIGITS: Final = Recipe(
    name="mlp-digits",
    summary="the fully connected GAN of tutorials: 100 -> 128 -> 784 and back, label smoothing",
    method=Method(
        architecture="mlp",
        width=128,
        learning_rate=2e-4,
        label_smoothing=0.1,
        images=10_000_000,
    ),
    size=28,
    channels=1,
)

"""The DCGAN of Radford, Metz and Chintala, 2016 (arXiv:1511.06434), with an average of the weights beside it.

From the paper: strided and transposed convolutions, batch norm, ReLU and LeakyReLU 0.2, weights from N(0, 0.02),
Adam at 2e-4 with beta1 0.5, batches of 128. Two departures: latents are normal rather than uniform, and what is
shown and exported is an exponential moving average of the generator, which costs nothing and draws better.
The paper's own: `--set prior=uniform --width 128`.
"""

from typing import Final

from dcgan_training.config import Method, Recipe

DCGAN: Final = Recipe(
    name="dcgan",
    summary="Radford et al., 2016: batch norm, non-saturating loss, Adam 2e-4, averaged weights",
    method=Method(),
)

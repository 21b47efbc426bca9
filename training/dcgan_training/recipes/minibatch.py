"""The DCGAN with minibatch discrimination: each image is judged beside the others of its batch.

A learned tensor takes the last features to B kernels of C values; the distances between an image's and the other
images' values, summed as exp(-L1), are features more. A batch of images that are all alike gives itself away.
B = 100 and C = 5. Its discriminator has no score for one image, so its bundle has none.

Source: Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen, 2016, arXiv:1606.03498, section 3.2.
"""

from typing import Final

from dcgan_training.config import Method, Recipe

MINIBATCH: Final = Recipe(
    name="minibatch",
    summary="Salimans et al., 2016: the DCGAN with minibatch discrimination against collapse",
    method=Method(minibatch_kernels=100),
)

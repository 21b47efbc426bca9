"""Features of images that need no labels: a convolutional network of fixed random weights, the same for ever.

Random convolutions see shape and texture well enough to put generators in the order that a trained classifier puts
them in, and a figure in them means the same on every machine and in every year: the weights are drawn by
`dcgan.latents`, which promises its values, and their sha256 is checked where they are made.

Measured on Fashion-MNIST, Fréchet distance to held-out images as a share of the trace of the real covariance, 4,000
images each, of a generator that has seen 51, 102, 154, 205, 307 thousand and (a wider one) 8 million images:
these features 96, 24, 17, 13, 9, 3 %; the features of a classifier 101, 49, 37, 30, 20, 3 %.
"""

import hashlib
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_avg_pool2d, conv2d, pad

from dcgan import latents
from dcgan_training.batches import batches
from dcgan_training.errors import RunError
from dcgan_training.networks import channels_last, signed

_SEED: Final = 0x646367616E  # "dcgan"; any would do, this one is kept
_WIDTHS: Final = (16, 24, 24, 24, 24)  # maps of each layer; as many layers are used as the images have sides to halve
_FIRST_KERNEL: Final = 5  # px
_KERNEL: Final = 3
_SMALLEST_SIDE: Final = 4  # px, of the last map
_GRAIN: Final = 2.0**-20  # weights are whole multiples of it, whatever order a machine adds in
_SCALE: Final = 16.0  # so that garments vary in these features as much as in a classifier's: a trace of some 900
_BATCH: Final = 128
_SHA256: Final = {
    1: "18e4e5967b6686caa7d3dd700367262bbdbc538df3274dfc593babb0cd2aa2ed",
    3: "79b59d8a9699e6b67607d04160c604f0fc5af0140ebe3c1d13a5788ccbdc9374",
}


class RandomFeatures:
    """A random convolutional network whose pooled maps are the features.

    x                                                   (n, channels, side, side) in [-1, 1]
    until the side is 4 or less: convolution, stride 2, ReLU; 5x5 then 3x3, edges repeated; 16 maps then 24
    of every layer: the deviation of each map; of the last two: its means over the four quarters; of others: its mean
    concatenated, times 16: the features                (n, 80 at 8 px, 272 at 28, 320 at 64, 368 at 128)

    A filter's weights are normal, with mean 0 and squares that add to 2, so that ReLU keeps the scale from layer to
    layer (He et al., 2015, arXiv:1502.01852) and an even area leaves no trace.

    Args:
        channels: 1 or 3.

    Raises:
        RunError: the weights are not those that the figures were measured with.
    """

    name: Final = "random-conv-1"

    def __init__(self, channels: int) -> None:
        self._filters: list[torch.Tensor] = []
        digest, above = hashlib.sha256(), channels
        for layer, count in enumerate(_WIDTHS):
            filters = _filters(layer, count, above)
            digest.update(filters.astype("<f4").tobytes())
            self._filters.append(torch.from_numpy(filters).contiguous(memory_format=torch.channels_last))
            above = count
        if digest.hexdigest() != _SHA256[channels]:
            raise RunError(
                f"the weights of {self.name} have the sha256 {digest.hexdigest()} here but must have "
                f"{_SHA256[channels]}; figures in them would compare with no others"
            )

    @torch.no_grad()
    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Looks at uint8 (n, side, side, channels) images, side 8 or more; gives float32 (n, d)."""
        return torch.cat([self._look(batch) for batch in batches(images, _BATCH)]).mul_(_SCALE).numpy()

    def _look(self, images: NDArray[np.uint8]) -> torch.Tensor:
        maps, layers = channels_last(signed(torch.tensor(images))), []
        for filters in self._filters:
            if maps.shape[2] <= _SMALLEST_SIDE:
                break
            reach = filters.shape[2] // 2
            maps = conv2d(pad(maps, (reach,) * 4, mode="replicate"), filters, stride=2).relu_()
            layers.append(maps)
        coarse = len(layers) - 2
        pooled = [adaptive_avg_pool2d(one, 2 if at >= coarse else 1).flatten(1) for at, one in enumerate(layers)]
        return torch.cat([*pooled, *(one.flatten(2).std(2, unbiased=False) for one in layers)], 1)


def _filters(layer: int, count: int, above: int) -> NDArray[np.float32]:
    """Draws the filters of a layer, float32 (count, above, side, side)."""
    side = _KERNEL if layer else _FIRST_KERNEL
    indices = np.arange(count, dtype=np.uint64) + np.uint64(layer << 32)
    values = latents.draw(_SEED, indices, above * side * side, "normal").astype(np.float64)
    values -= values.mean(1, keepdims=True)
    values *= np.sqrt(2.0 / np.square(values).sum(1, keepdims=True))
    return (np.rint(values / _GRAIN) * _GRAIN).astype(np.float32).reshape(count, above, side, side)

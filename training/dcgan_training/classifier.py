"""A small network that names what is in an image, trained in seconds on a CPU: the finder and the judge of directions.

One trunk, and for each column of the labels one head, a softmax over the column's values. Images are uint8 NHWC, as a
data set and a generator give them; the network sees them as float32 in [-1, 1].
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dcgan.images import Pixels
from dcgan.latents import Floats32
from dcgan_training.batches import batches
from dcgan_training.data import Images, positions
from dcgan_training.labels import UNLABELLED
from dcgan_training.networks import signed

Codes = NDArray[np.int64]
Vary = Callable[[torch.Tensor], torch.Tensor]
"""Changes a batch, float32 (n, channels, size, size) in [-1, 1], as its labels allow."""

FEATURES: Final = 128  # values that the trunk gives for an image
_BATCH: Final = 128
_LARGEST_RATE: Final = 2e-3
_LARGEST_SHIFT: Final = 2  # px; a generator draws things a little beside where the data has them
_DRAWN_TOGETHER: Final = 512  # images in a batch that is only looked at


class Classifier(nn.Module):
    """Images to features to one softmax for each column.

    x                                                    (n, channels, size, size)
    until the side is 7 or less: convolution 3x3 stride 2, batch norm, ReLU; the side halves, the channels double
    flatten, linear, ReLU: the features                   (n, 128)
    for each column: linear                               (n, its number of values)
    """

    def __init__(self, size: int, channels: int, width: int, value_counts: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        side, above, below = size, channels, width
        while side > 7:
            layers += [nn.Conv2d(above, below, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(below), nn.ReLU()]
            side, above, below = -(-side // 2), below, min(2 * below, 4 * width)
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(above * side * side, FEATURES), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(FEATURES, count) for count in value_counts)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Gives the logits of each column, (n, values), for images of shape (n, channels, size, size) in [-1, 1]."""
        features = self.trunk(images)
        return [head(features) for head in self.heads]

    @torch.no_grad()
    def look(self, images: Pixels) -> tuple[Floats32, list[Floats32]]:
        """Looks at uint8 (n, size, size, channels) images.

        Returns:
            The features, float32 (n, 128), and for each column the probabilities of its values, float32 (n, values).
        """
        features = torch.cat(
            [self.trunk(signed(torch.from_numpy(batch))) for batch in batches(images, _DRAWN_TOGETHER)]
        )
        return features.numpy(), [head(features).softmax(1).numpy() for head in self.heads]


def train(
    images: Images,
    codes: Codes,
    value_counts: Sequence[int],
    *,
    width: int,
    seed: int,
    shown: int,
    vary: Vary | None = None,
) -> Classifier:
    """Trains a classifier by Adam, its rate falling to nothing, on images that are varied at random.

    Args:
        images: uint8 (n, size, size, channels).
        codes: int64 (n, columns), which of the column's values each image has; UNLABELLED teaches nothing.
        value_counts: how many values each column has.
        width: channels of the first feature map.
        seed: uint64, of the weights, the order and the shifts.
        shown: images to train on, each of them as often as that takes.
        vary: changes each batch, by torch's own random numbers, which are seeded for it and put back; None shifts and
            mirrors it.
    """
    vary = vary or _varied
    with _randomness(seed):
        network = Classifier(images.shape[1], images.shape[3], width, value_counts)
        batch = min(_BATCH, len(images))
        steps = max(1, shown // batch)
        optimizer = torch.optim.Adam(network.parameters(), lr=_LARGEST_RATE)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        for step in range(steps):
            rows = positions(seed, step * batch, batch, len(images))
            logits = network(vary(signed(torch.from_numpy(images[rows]))))
            losses = [
                nn.functional.cross_entropy(column, target, ignore_index=UNLABELLED, reduction="sum")
                for column, target in zip(logits, torch.from_numpy(codes[rows]).unbind(1), strict=True)
            ]
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(torch.stack(losses).sum() / batch)
            optimizer.step()
            schedule.step()
    return network.eval()


def accuracies(network: Classifier, images: Pixels, codes: Codes) -> list[Floats32]:
    """Gives, for each column and each value, the share of images that are rightly said to have it or not.

    NaN for a column that says nothing of any of them.
    """
    out = []
    for column, probabilities in enumerate(network.look(images)[1]):
        there = codes[:, column] != UNLABELLED
        said, true = probabilities[there].argmax(1)[:, None], codes[there, column][:, None]
        values = np.arange(probabilities.shape[1])
        right = (said == values) == (true == values)
        out.append(right.mean(0, dtype=np.float32) if there.any() else np.full(len(values), np.nan, np.float32))
    return out


@contextmanager
def _randomness(seed: int) -> Iterator[None]:
    """Seeds torch's own random numbers, which layers are drawn from; after it they go on as if nothing had been."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed % (1 << 63))
        yield


def _varied(images: torch.Tensor) -> torch.Tensor:
    """Shifts a batch by up to two pixels, the edge repeated, and mirrors every second batch."""
    size, reach = images.shape[2], _LARGEST_SHIFT
    padded = nn.functional.pad(images, (reach,) * 4, mode="replicate")
    top, left, mirrored = [*torch.randint(2 * reach + 1, (2,)).tolist(), int(torch.randint(2, ()))]
    shifted = padded[:, :, top : top + size, left : left + size]
    return shifted.flip(3) if mirrored else shifted

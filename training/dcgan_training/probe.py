"""How much the discriminator knows: a linear classifier on its maps, beside the same one on raw pixels.

The maps of all convolutions are max-pooled to 4x4 and flattened, and a linear classifier with an L2 penalty learns
1,000 labelled images of them. Ridge regression on the classes stands for the paper's support vectors: it has one
answer, in closed form, and its penalty is chosen by leaving one out.

Source: Radford, Metz, Chintala, 2016, arXiv:1511.06434, section 5.1.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch.nn.functional import adaptive_max_pool2d

from dcgan import bundle
from dcgan.generator.sessions import Session
from dcgan.images import Pixels

LABELLED: Final = 1000
_POOLED: Final = 4  # px
_PENALTIES: Final = tuple(10.0**power for power in range(-4, 5))  # relative to the mean eigenvalue
_ACTIVATIONS: Final = frozenset({"LeakyRelu", "Relu"})

Rows = NDArray[np.float32]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Probe:
    """Shares of held-out images that are classified rightly, 0 to 1."""

    discriminator: float
    pixels: float


@dataclass(frozen=True, slots=True)
class Labelled:
    """Images, uint8 (n, size, size, channels), and the class of each, int64 (n,)."""

    images: Pixels
    codes: Codes


def probe(graph: bytes, train: Labelled, test: Labelled) -> Probe:
    """Measures both classifiers.

    Args:
        graph: of discriminator.onnx.
        train: what to learn from.
        test: what to be judged by.
    """
    maps = Maps(graph)
    return Probe(
        _accuracy(maps(train.images), train.codes, maps(test.images), test.codes),
        _accuracy(_flat(train.images), train.codes, _flat(test.images), test.codes),
    )


def balanced(codes: Codes, order: NDArray[np.int64], count: int = LABELLED) -> NDArray[np.int64]:
    """Chooses up to `count` places, equally many of each class, the first ones in `order`; negative codes are none."""
    classes = np.unique(codes[codes >= 0])
    each = max(1, count // max(1, len(classes)))
    chosen = [order[codes[order] == code][:each] for code in classes]
    return np.concatenate(chosen)


def has_maps(graph: bytes) -> bool:
    """Says whether a discriminator has convolutions, whose maps can be probed."""
    return bool(_map_names(onnx.load_model_from_string(graph)))


class Maps:
    """The maps of all convolutions of a discriminator after their activations, pooled and flattened."""

    def __init__(self, graph: bytes) -> None:
        model = onnx.load_model_from_string(graph)
        self._names = _map_names(model)
        for name in self._names:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        self._session = Session(model.SerializeToString(), Path(bundle.DISCRIMINATOR), "cpu")

    def __call__(self, images: Pixels) -> Rows:
        """Gives float32 (n, d) for uint8 images."""
        size = self._session.largest_batch
        return np.concatenate([self._look(images[first : first + size]) for first in range(0, len(images), size)])

    def _look(self, images: Pixels) -> Rows:
        found = self._session.run({"images": images})
        pooled = [_pool(torch.from_numpy(found[name])).flatten(1) for name in self._names]
        return torch.cat(pooled, 1).numpy()


def _map_names(model: onnx.ModelProto) -> list[str]:
    """Finds the value after each convolution: its activation's where it has one right behind it."""
    after = {node.input[0]: node.output[0] for node in model.graph.node if node.op_type in _ACTIVATIONS}
    found = [node.output[0] for node in model.graph.node if node.op_type == "Conv"]
    return [after.get(name, name) for name in found]


def _pool(maps: torch.Tensor) -> torch.Tensor:
    return maps if maps.shape[2] <= _POOLED else adaptive_max_pool2d(maps, _POOLED)


def _flat(images: Pixels) -> Rows:
    return images.reshape(len(images), -1).astype(np.float32)


def _accuracy(train: Rows, codes: Codes, test: Rows, true: Codes) -> float:
    """Trains by ridge regression in its dual form, for there are more features than rows; float64.

    With K = U diag(e) U' the weights of the rows are U (U'Y / (e + penalty)), and what the i-th row gets from all
    others is y_i - weights_i / inverse_ii (Allen, 1974): so the penalty is chosen without a second set.
    """
    one, two = _standardised(train, test)
    classes = np.unique(codes)
    targets = (codes[:, None] == classes).astype(np.float64)
    centre = targets.mean(0)
    values, vectors = np.linalg.eigh(one @ one.T)
    values, turned = values.clip(0.0), vectors.T @ (targets - centre)
    best, weights = -1.0, np.zeros_like(targets)
    for penalty in np.multiply(_PENALTIES, max(values.mean(), 1e-12)):
        inverse = 1.0 / (values + penalty)
        candidate = vectors @ (inverse[:, None] * turned)
        left_out = targets - centre - candidate / (np.square(vectors) @ inverse)[:, None]
        right = float(np.mean(classes[(left_out + centre).argmax(1)] == codes))
        if right > best:
            best, weights = right, candidate
    said = classes[(two @ (one.T @ weights) + centre).argmax(1)]
    return float(np.mean(said == true))


def _standardised(train: Rows, test: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gives both with the training rows' mean 0 and deviation 1; columns that are constant there are 0."""
    mean, deviation = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    scale = np.where(deviation > 0.0, 1.0 / np.where(deviation > 0.0, deviation, 1.0), 0.0)
    return (train - mean) * scale, (test - mean) * scale

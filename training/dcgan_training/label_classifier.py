"""The classifier of a data set's own labels, which evaluations and the watch of a run see images by.

Both teach it alike, so that figures by either are in the same features: by the nine tenths of the data that would be
trained on if a part were held out by its hash. The last tenth is there to judge it by, also where a test set is held
out instead, for that has no labels.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from dcgan_training import labels
from dcgan_training.classifier import Classifier, train
from dcgan_training.data import Dataset, Selection, split
from dcgan_training.errors import DataError, RunError
from dcgan_training.files import output_error, write_atomically
from dcgan_training.say import Say

_WIDTH: Final = 32
_SHOWN: Final = 300_000  # images
_SEED: Final = 0


def learnable(file: Path, data: Dataset) -> tuple[list[labels.Column], list[str]]:
    """Gives the columns that it may learn, those that directions may be of, so none about race; and why others aren't.

    Raises:
        DataError: the labels can't be read, aren't of these images, or have no such column.
    """
    columns, notes = labels.usable(labels.read(file, data))
    if not columns:
        raise DataError(file, f"has no column that a classifier can learn: {'; '.join(notes)}")
    return columns, notes


def taught(data: Dataset, columns: Sequence[labels.Column], say: Say) -> Classifier:
    """Teaches it these columns; the same data give the same weights."""
    say("training a classifier of the labels")
    rows = split(data.images).train
    codes = np.stack([column.codes[rows] for column in columns], 1)
    counts = [len(column.values) for column in columns]
    return train(Selection(data.images, rows), codes, counts, width=_WIDTH, seed=_SEED, shown=_SHOWN)


def remembered(file: Path, data: Dataset, columns: Sequence[labels.Column], say: Say) -> Classifier:
    """Reads it from a run's file, or teaches it as `taught` does and writes it there.

    Raises:
        RunError: the file holds something else.
        OutputError: it can't be written.
    """
    if not file.exists():
        network = taught(data, columns, say)
        buffer = io.BytesIO()
        torch.save(network.state_dict(), buffer)
        try:
            write_atomically(file, buffer.getvalue())
        except OSError as error:
            raise output_error(error, file) from error
        return network
    network = Classifier(data.size, data.channels, _WIDTH, [len(column.values) for column in columns])
    try:
        network.load_state_dict(torch.load(file, weights_only=True))
    except Exception as error:  # of torch, which names none
        raise RunError(f"{file}: holds no classifier of these labels; delete it, and it is made again") from error
    return network.eval()

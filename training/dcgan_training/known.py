"""Data sets that are known by name: where they are had, what they must hash to, what their licence asks for."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class KnownFile:
    """One gzipped file of a data set.

    Attributes:
        name: below the base URL, and on the disk.
        sha256: of the decompressed content: the same bytes, whichever gzip packed them.
    """

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A data set to fetch, and what to say of a model trained on it.

    Attributes:
        digest: of the training images, as `dcgan_training.data.Dataset` computes it.
    """

    name: str
    base_url: str
    files: tuple[KnownFile, ...]
    digest: str
    licence: str
    attribution: str


FASHION_MNIST: Final = KnownDataset(
    name="fashion-mnist",
    base_url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    files=(
        KnownFile("train-images-idx3-ubyte.gz", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        KnownFile("train-labels-idx1-ubyte.gz", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        KnownFile("t10k-images-idx3-ubyte.gz", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        KnownFile("t10k-labels-idx1-ubyte.gz", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
    digest="533de00e17135d36af316dca0b2dbdae75f8de553d94998855866bbea87dcd66",
    licence="MIT",
    attribution=(
        "Trained on Fashion-MNIST, Copyright (c) 2017 Zalando SE, MIT licence, "
        "https://github.com/zalandoresearch/fashion-mnist; Xiao, Rasul, Vollgraf, arXiv:1708.07747"
    ),
)

DATASETS: Final = {dataset.name: dataset for dataset in (FASHION_MNIST,)}


def by_digest(digest: str) -> KnownDataset | None:
    """Finds a data set by the digest of its training images; None if it isn't a known one."""
    return next((dataset for dataset in DATASETS.values() if dataset.digest == digest), None)

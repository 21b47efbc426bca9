"""The graphs beside the generator: discriminator, encoder, and the generator's gradient.

Each was run on the golden images when it was loaded, in batches of all powers of two: those that a GPU will see.
"""

from typing import Final, Literal, TypeAlias

import numpy as np

from dcgan.bundle import DISCRIMINATOR, ENCODER, LATENT_GRADIENT, Bundle
from dcgan.bundle.graph import GRAPHS, kind_of
from dcgan.errors import BundleError
from dcgan.generator.sessions import Array, Device, Session, rows_per_s

PartName: TypeAlias = Literal["discriminator", "encoder", "latent_gradient"]

_FILES: Final[dict[PartName, str]] = {
    "discriminator": DISCRIMINATOR,
    "encoder": ENCODER,
    "latent_gradient": LATENT_GRADIENT,
}


class Part:
    """One of the graphs on a device, which gives finite numbers for the golden images.

    Attributes:
        largest_batch: rows that one run should have at most.
        rows_per_s: of one thread in batches of that size, as measured at the start.
    """

    def __init__(self, bundle: Bundle, graph: bytes, file: str, device: Device) -> None:
        self._session = Session(graph, bundle.path / file, device)
        self._inputs, self._outputs = GRAPHS[file]
        self.largest_batch = self._session.largest_batch
        self._warm_up(bundle, file)
        golden = self._golden(bundle, self.largest_batch)
        self.rows_per_s = rows_per_s(lambda: self._session.lend(golden), self.largest_batch)

    def run(self, *inputs: Array) -> tuple[Array, ...]:
        """Runs the graph's inputs, n rows each, in the order of `bundle.graph.GRAPHS`; so the outputs."""
        return self._ordered(self._session.run(self._named(inputs)))

    def lend(self, *inputs: Array) -> tuple[Array, ...]:
        """Runs at most `largest_batch` rows as `run` does, but only lends the outputs: see `Session.lend`."""
        return self._ordered(self._session.lend(self._named(inputs)))

    def _named(self, inputs: tuple[Array, ...]) -> dict[str, Array]:
        return dict(zip(self._inputs, inputs, strict=True))

    def _ordered(self, outputs: dict[str, Array]) -> tuple[Array, ...]:
        return tuple(outputs[name] for name in self._outputs)

    def _warm_up(self, bundle: Bundle, file: str) -> None:
        kinds = {name: kind_of(name, bundle.manifest) for name in self._outputs}
        for size in self._session.batch_sizes:
            for name, rows in self._session.checked(self._golden(bundle, size), kinds).items():
                if not np.isfinite(rows).all():
                    raise BundleError(bundle.path / file, f"gives {name} that are not finite for the golden images")

    def _golden(self, bundle: Bundle, count: int) -> dict[str, Array]:
        golden: dict[str, Array] = {"latents": bundle.golden_latents, "images": bundle.golden_images}
        return {name: np.resize(golden[name], (count, *golden[name].shape[1:])) for name in self._inputs}


def parts_of(bundle: Bundle, device: Device) -> dict[PartName, Part]:
    """Loads the graphs beside the generator that a bundle has, by name.

    Raises:
        BundleError: one can't be run, or gives what it should not.
    """
    graphs: dict[PartName, bytes | None] = {
        "discriminator": bundle.discriminator,
        "encoder": bundle.encoder,
        "latent_gradient": bundle.latent_gradient,
    }
    return {name: Part(bundle, graph, _FILES[name], device) for name, graph in graphs.items() if graph is not None}

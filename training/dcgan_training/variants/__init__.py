"""Faster forms of a bundle's generator, each made from generator.onnx, run, and measured against it.

int8 is for CPUs, float16 for CUDA GPUs. Which one draws, if any, is the operator's to say: `dcgan serve --variant`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from dcgan import bundle as bundles
from dcgan import images, latents
from dcgan.bundle import Bundle, variant_file
from dcgan.bundle.manifest import VariantSpec
from dcgan.errors import BundleError
from dcgan.generator import Generator, Images, levels_apart
from dcgan.generator.sessions import Session
from dcgan.latents import Floats32
from dcgan_training import frozen
from dcgan_training.batches import batches
from dcgan_training.card import with_section
from dcgan_training.errors import RunError
from dcgan_training.say import Say, silent
from dcgan_training.variants import float16, int8

PICTURE: Final = "variants.png"
SECTION: Final = "Faster variants"
MOST_MEAN_LEVELS: Final = 1.2  # that a variant may be off in the mean, of 255

_COMPARED: Final = 512
_CALIBRATED_ON: Final = 512
_CALIBRATION_SEED: Final = 1  # other samples than those that are compared
_COLUMNS: Final = 10
_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Variants:
    """The variants of a generator that are close enough.

    Attributes:
        graphs: their bytes, by name.
        specs: how far each is off.
        refused: why others aren't there, by name.
        picture: a PNG file: samples, below each what the variants draw in the order of `graphs`; none without variants.
    """

    graphs: Mapping[str, bytes]
    specs: Mapping[str, VariantSpec]
    refused: Mapping[str, str]
    picture: bytes | None

    @property
    def files(self) -> dict[str, bytes]:
        """What they add to a bundle, by file name."""
        pictures = {} if self.picture is None else {PICTURE: self.picture}
        return {variant_file(name): graph for name, graph in self.graphs.items()} | pictures


def variants_of(bundle: Bundle) -> Variants:
    """Makes the variants of a bundle's generator that there can be, and measures them on the CPU."""
    samples = _samples(bundle, 0, _COMPARED)
    exact = _drawn(bundle.generator, bundle, samples)
    graphs, specs, refused, rows = {}, {}, {}, [exact[:_COLUMNS]]
    for name, make in _MAKERS.items():
        try:
            graph = make(bundle)
            drawn = _drawn(graph, bundle, samples)
            specs[name] = _spec(drawn, exact)
        except (BundleError, RunError) as error:
            refused[name] = error.message
        else:
            graphs[name] = graph
            rows.append(drawn[:_COLUMNS])
    picture = images.encode(images.grid(np.concatenate(rows), _COLUMNS), "png") if graphs else None
    return Variants(graphs, specs, refused, picture)


def add_variants(path: Path, output: Path | None, say: Say = silent) -> Mapping[str, VariantSpec]:
    """Writes a bundle again with the variants of its generator.

    Args:
        path: of the bundle.
        output: of the new bundle, which must not exist; None replaces the old one.
        say: is told why a variant isn't made.

    Returns:
        What the manifest says of the variants.

    Raises:
        BundleError: the bundle is refused.
        OutputError: `output` exists or can't be written.
        RunError: there is no variant that its generator could have.
    """
    bundles.check_new(output)
    bundle = bundles.load(path)
    made = variants_of(bundle)
    for line in told(made):
        say(line)
    if not made.graphs:
        raise RunError(f"{path} can have no variant; it stays as it is")
    card = (path / bundles.MODEL_CARD).read_text() if bundles.MODEL_CARD in bundle.manifest.files else ""
    files = made.files | ({bundles.MODEL_CARD: with_section(card, SECTION, section(made)).encode()} if card else {})
    bundles.extend(path, output, {"variants": made.specs}, files)
    prove(output or path)
    return made.specs


def prove(path: Path) -> None:
    """Loads a bundle from the disk and draws its golden images with every form of the generator, as a server will.

    Raises:
        BundleError: it is refused, or one of them draws something else.
    """
    bundle = bundles.load(path)
    for name in ("float32", *bundle.variants):
        Generator(bundle, "cpu", name)


def told(made: Variants) -> list[str]:
    """Says in a line each what became of the variants."""
    return [
        *(f"variant {name}: {_off(spec)}" for name, spec in made.specs.items()),
        *(f"no variant {name}: {why}" for name, why in made.refused.items()),
    ]


def section(made: Variants) -> str:
    """Writes the card's section on variants."""
    missing = [f"There is no variant {name}: {why}." for name, why in made.refused.items()]
    if not made.specs:
        return "\n".join(missing)
    rows = [
        f"| `{name}` | {spec.mean_levels:.3f} | {spec.max_levels} | {len(made.graphs[name]) / 1e6:.2f} MB |"
        for name, spec in made.specs.items()
    ]
    count = next(iter(made.specs.values())).sample_count
    names = ", ".join(made.specs)
    return "\n".join(
        [
            "`dcgan serve --variant` draws with one of these instead of generator.onnx: int8 on CPUs, float16 on CUDA.",
            f"How far the pixels of {count} samples are off, in grey levels of 255, on a CPU:",
            "",
            "| variant | in the mean | at most | size |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            f"![Ten samples by generator.onnx, and below by {names}]({PICTURE})",
            "",
            f"*Seed 0, images 0 to {_COLUMNS - 1}: generator.onnx, then {names}.*",
            *(["", *missing] if missing else []),
        ]
    )


def _int8(bundle: Bundle) -> bytes:
    return int8.to_onnx(frozen.read(bundle), _samples(bundle, _CALIBRATION_SEED, _CALIBRATED_ON))


def _float16(bundle: Bundle) -> bytes:
    return float16.to_float16(bundle.generator)


_MAKERS: Final[Mapping[str, Callable[[Bundle], bytes]]] = {"int8": _int8, "float16": _float16}


def _spec(drawn: Images, exact: Images) -> VariantSpec:
    """Raises RunError where a variant is too far off."""
    largest, mean = levels_apart(drawn, exact)
    spec = VariantSpec(max_levels=largest, mean_levels=mean, sample_count=len(drawn))
    if spec.mean_levels > MOST_MEAN_LEVELS:
        raise RunError(f"it would be {_off(spec)}, and {MOST_MEAN_LEVELS:g} in the mean are allowed")
    return spec


def _off(spec: VariantSpec) -> str:
    return f"{spec.mean_levels:.3f} of 255 grey levels off in the mean, {spec.max_levels} at most"


def _samples(bundle: Bundle, seed: int, count: int) -> Floats32:
    latent = bundle.manifest.latent
    return latents.draw(seed, np.arange(count, dtype=np.uint64), latent.dim, latent.prior)


def _drawn(graph: bytes, bundle: Bundle, samples: Floats32) -> Images:
    session = Session(graph, bundle.path / bundles.GENERATOR, "cpu")
    return np.concatenate([session.run({"latents": part})["images"] for part in batches(samples, _BATCH)])

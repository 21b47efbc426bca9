"""Model bundles: a directory with a generator, what it must give, and a manifest with the hash of every file.

`load` reads a bundle and checks all of it before anything is used; what it returns was hashed as it was read, so a
file that changes afterwards changes nothing. `write` makes a bundle beside its final place and renames it into it,
the manifest last; `extend` adds parts to one. Running the graphs is `dcgan.generator`'s.
"""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from dcgan.bundle.graph import GRAPHS, check_graph
from dcgan.bundle.manifest import FILE_NAME, FileSpec, Manifest
from dcgan.bundle.versions import stated_by
from dcgan.errors import BundleError, OutputError
from dcgan.latents import Floats32

GENERATOR: Final = "generator.onnx"
GOLDEN: Final = "golden.safetensors"
DIRECTIONS: Final = "directions.safetensors"
DISCRIMINATOR: Final = "discriminator.onnx"
ENCODER: Final = "encoder.onnx"
LATENT_GRADIENT: Final = "latent_gradient.onnx"
MODEL_CARD: Final = "MODEL_CARD.md"

_BUNDLED: Final = Path(__file__).parents[1] / "models"
_MAX_MANIFEST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle, in memory.

    Attributes:
        path: where it was read.
        manifest: what it says of itself.
        digest: sha256 of manifest.json, 64 hexadecimal digits; it covers all files.
        generator: the bytes of generator.onnx.
        golden_latents: float32 (k, dim), and golden_images: uint8 (k, height, width, channels), what they must give.
        directions: float32 (dim,) by name.
        discriminator, encoder, latent_gradient: the bytes of these graphs, None where the bundle has none.
        variants: the bytes of the generator's faster forms, by name.
    """

    path: Path
    manifest: Manifest
    digest: str
    generator: bytes
    golden_latents: Floats32
    golden_images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    directions: Mapping[str, Floats32]
    discriminator: bytes | None = None
    encoder: bytes | None = None
    latent_gradient: bytes | None = None
    variants: Mapping[str, bytes] = field(default_factory=dict)

    def generator_as(self, variant: str) -> bytes:
        """Gives the bytes of a form of the generator; "float32" is generator.onnx.

        Raises:
            BundleError: the bundle has no such form; says which it has.
        """
        graph = self.generator if variant == "float32" else self.variants.get(variant)
        if graph is None:
            there = ", ".join(["float32", *sorted(self.variants)])
            raise BundleError(
                self.path, f"has no variant {variant}, but {there}; `dcgan-train variants` adds what can be made of it"
            )
        return graph

    def without_graphs(self) -> "Bundle":
        """Leaves out what sessions have a copy of: about all of its memory."""
        return replace(self, generator=b"", discriminator=None, encoder=None, latent_gradient=None, variants={})


def variant_file(variant: str) -> str:
    """Names the file of a form of the generator."""
    return GENERATOR if variant == "float32" else f"generator.{variant}.onnx"


def bundled() -> list[str]:
    """Lists the names of the bundles that are shipped with this package."""
    return sorted(path.parent.name for path in _BUNDLED.glob(f"*/{FILE_NAME}"))


def locate(model: str) -> Path:
    """Finds a bundle by the name of a shipped one, or as a directory.

    Raises:
        BundleError: it is neither.
    """
    path = _BUNDLED / model if model in bundled() else Path(model)
    if not path.is_dir():
        there = ", ".join(bundled()) or "none"
        raise BundleError(path, f"is no directory; give a model bundle, or the name of a shipped one ({there})")
    return path


def load(path: Path) -> Bundle:
    """Reads a bundle and verifies every file of it.

    Raises:
        BundleError: names the file that is missing, changed, or not what the manifest says, and why.
    """
    if not path.is_dir():
        raise BundleError(path, "is no directory; give a model bundle")
    text = _read(path, FILE_NAME, None)
    manifest = _parse(text, path)
    for required in (GENERATOR, GOLDEN):
        if required not in manifest.files:
            raise BundleError(path / FILE_NAME, f"lists no {required}")
    contents = {name: _read(path, name, spec) for name, spec in manifest.files.items()}
    _check_parts(manifest, path / FILE_NAME)
    for name in GRAPHS.keys() & contents.keys():
        check_graph(contents[name], name, manifest, str(path / name))
    variants = {variant: contents[variant_file(variant)] for variant in manifest.variants}
    for variant, graph in variants.items():
        check_graph(graph, GENERATOR, manifest, str(path / variant_file(variant)))
    golden = _golden(contents[GOLDEN], manifest, path / GOLDEN)
    directions = _directions(contents.get(DIRECTIONS), manifest, path / DIRECTIONS)
    digest = hashlib.sha256(text).hexdigest()
    discriminator, encoder, gradient = (contents.get(name) for name in (DISCRIMINATOR, ENCODER, LATENT_GRADIENT))
    generator = contents[GENERATOR]
    return Bundle(path, manifest, digest, generator, *golden, directions, discriminator, encoder, gradient, variants)


def check_new(path: Path | None) -> None:
    """Refuses a place for a bundle where there is something, or where nothing can be made.

    Args:
        path: of the bundle to be; None is the place of the bundle that is extended.

    Raises:
        OutputError: `path` exists, or the directory that it would be made in can't be written to.
    """
    if path is None:
        return
    if path.exists():
        raise OutputError(f"{path} exists; name a directory that doesn't")
    ground = next(place for place in path.absolute().parents if place.exists())
    if not (ground.is_dir() and os.access(ground, os.W_OK | os.X_OK)):
        raise OutputError(f"{path} can't be written: {ground} is no directory that this user may write to")


def write(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Writes a bundle of `files`, whose hashes and sizes are filled into the manifest; `path` must not exist.

    Nothing is left behind where it fails.

    Raises:
        OutputError: `path` exists, or the disk refuses.
    """
    check_new(path)
    specs = {
        name: FileSpec(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)) for name, data in files.items()
    }
    text = manifest.model_copy(update={"files": specs}).model_dump_json(indent=2).encode() + b"\n"
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        for name, data in [*files.items(), (FILE_NAME, text)]:
            with (partial / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        raise OutputError(f"{path} can't be written: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def extend(path: Path, output: Path | None, changes: Mapping[str, object], files: Mapping[str, bytes]) -> None:
    """Writes a bundle again with more in it.

    Args:
        path: of a bundle, which is verified first.
        output: of the new one, which must not exist and may be a version's place; None replaces the old one, which
            stays where anything fails.
        changes: fields of the manifest, by name.
        files: that are added or replaced, by name.

    Raises:
        BundleError: the old or the new bundle is refused.
        OutputError: the disk refuses, or `output` exists.
    """
    path = path.resolve()  # a link stays one: what it leads to is replaced
    before = load(path).manifest
    kept = {name: _read(path, name, spec) for name, spec in before.files.items()}
    target = output or path.with_name(f".{path.name}.{os.getpid()}.extended")
    stated = {} if output is None else stated_by(output)
    write(target, before.model_copy(update={**stated, **changes}), {**kept, **files})
    try:
        load(target)
    except BundleError:
        shutil.rmtree(target, ignore_errors=True)
        raise
    if output is None:
        _replace(path, target, {FILE_NAME, *before.files})


def _replace(path: Path, by: Path, ours: set[str]) -> None:
    """Puts one directory in the place of another; a kill between the two renames leaves both, under hidden names.

    What lies in the old one beside `ours`, its own files, is somebody's, and moves along.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.before")
    try:
        path.rename(aside)
        try:
            by.rename(path)
        except OSError:
            aside.rename(path)
            raise
        for other in {entry.name for entry in aside.iterdir()} - ours:
            if not (path / other).exists():
                (aside / other).rename(path / other)
    except OSError as error:
        shutil.rmtree(by, ignore_errors=True)
        raise OutputError(f"{path} can't be replaced: {error.strerror}") from error
    shutil.rmtree(aside, ignore_errors=True)


def _check_parts(manifest: Manifest, file: Path) -> None:
    """Refuses parts that are of no use without each other."""
    for part, needs, there in (
        (DISCRIMINATOR, "calibration", manifest.calibration is not None),
        (ENCODER, "encoder", manifest.encoder is not None),
    ):
        if (part in manifest.files) != there:
            raise BundleError(file, f"must have both {part} and the entry {needs!r}, or neither")
    for variant in manifest.variants:
        if variant == "float32" or variant_file(variant) not in manifest.files:
            raise BundleError(file, f"states the variant {variant!r} but lists no {variant_file(variant)} of it")
    if LATENT_GRADIENT in manifest.files and ENCODER not in manifest.files:
        raise BundleError(file, f"has {LATENT_GRADIENT} but no {ENCODER}")


def _read(directory: Path, name: str, spec: FileSpec | None) -> bytes:
    """Reads a file of the bundle and compares it with its entry; manifest.json itself has none."""
    file = directory / name
    try:
        if not file.resolve(strict=True).is_relative_to(directory.resolve()):
            raise BundleError(file, "is a link that leads out of the bundle")
        with open(file, "rb", opener=_opened_at_once) as opened:
            data = opened.read(_checked_size(opened, file, spec))
    except FileNotFoundError:
        raise BundleError(file, "is missing") from None
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise BundleError(file, f"can't be read: {getattr(error, 'strerror', error)}") from None
    if spec is not None and hashlib.sha256(data).hexdigest() != spec.sha256:
        raise BundleError(file, "is not the file that the manifest describes: its sha256 differs")
    return data


def _opened_at_once(path: str, flags: int) -> int:
    """Opens without waiting, as for a pipe that nobody writes to."""
    return os.open(path, flags | os.O_NONBLOCK)


def _checked_size(opened: BinaryIO, file: Path, spec: FileSpec | None) -> int:
    """Gives the size of a file in bytes, where it is a file and of the size that it may have."""
    found = os.fstat(opened.fileno())
    if not stat.S_ISREG(found.st_mode):
        raise BundleError(file, "is no regular file")
    limit = _MAX_MANIFEST_BYTES if spec is None else spec.size_bytes
    if found.st_size > limit or (spec is not None and found.st_size != limit):
        raise BundleError(file, f"has {found.st_size} bytes; {limit} are {'allowed' if spec is None else 'expected'}")
    return found.st_size


def _parse(text: bytes, path: Path) -> Manifest:
    file = path / FILE_NAME
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(file, f"is not JSON: {error}") from None
    if isinstance(fields, dict) and fields.get("format") != 1:
        raise BundleError(file, f"has format {fields.get('format')!r}; this version of dcgan reads format 1")
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise BundleError(file, f"{where}: {first['msg']}") from None


def _tensors(data: bytes, file: Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BundleError(file, f"is not a safetensors file: {error}") from None


def _golden(
    data: bytes, manifest: Manifest, file: Path
) -> tuple[Floats32, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    tensors = _tensors(data, file)
    if set(tensors) != {"latents", "images"}:
        raise BundleError(file, f"has {sorted(tensors)} where it should have images and latents")
    latents, images = tensors["latents"], tensors["images"]
    image, dim = manifest.image, manifest.latent.dim
    count = latents.size // dim
    if latents.dtype != np.float32 or latents.shape != (count, dim) or count == 0 or not np.isfinite(latents).all():
        raise BundleError(
            file, f"latents are {latents.dtype} {latents.shape} but must be finite float32 (k, {dim}), k > 0"
        )
    if images.dtype != np.uint8 or images.shape != (count, image.height, image.width, image.channels):
        raise BundleError(file, f"images are {images.dtype} {images.shape}, which doesn't fit the manifest")
    return latents, images


def _directions(data: bytes | None, manifest: Manifest, file: Path) -> dict[str, Floats32]:
    tensors = {} if data is None else _tensors(data, file)
    if set(tensors) != set(manifest.directions):
        raise BundleError(file, f"has {sorted(tensors)} but the manifest says {sorted(manifest.directions)}")
    for name, vector in tensors.items():
        if vector.dtype != np.float32 or vector.shape != (manifest.latent.dim,) or not np.isfinite(vector).all():
            raise BundleError(file, f"{name} is not {manifest.latent.dim} finite float32 values")
    return dict(sorted(tensors.items()))

"""Lines of tables for people: scores, and the description of a model."""

import dataclasses
from collections.abc import Iterator
from typing import Final

from dcgan.client import Model, Scores
from dcgan.client.results import DirectionInfo

_NAME: Final = 36  # characters of the first column
SCORE_HEADER: Final = f"{'image':<{_NAME}} {'logit':>9} {'probability':>11} {'percentile':>10}"


def score_line(name: str, scores: Scores, at: int) -> str:
    """Writes the score of one image."""
    numbers = f"{scores.logits[at]:>9.3f} {scores.probabilities[at]:>11.3f} {scores.percentiles[at]:>10.1f}"
    return f"{name:<{_NAME}} {numbers}"


def described(found: Model) -> Iterator[tuple[str, str]]:
    """Describes a model: names and texts, which may be empty."""
    identity, training = found.identity, found.training
    yield "model", f"{identity.name}, version {identity.version}, made {found.created:%Y-%m-%d}"
    yield "digest", identity.manifest_digest
    for refused in found.refused_versions:
        yield "refused", f"version {refused.version} at {refused.refused:%Y-%m-%d %H:%M:%S} UTC: {refused.reason}"
    exact = "byte for byte" if found.golden_exact else "within tolerance"
    yield "runs on", f"{identity.provider}, {identity.variant}, ONNX Runtime {identity.onnxruntime_version}"
    yield "golden", f"images reproduced {exact}"
    yield "images", f"{found.height} x {found.width}, {'grey' if found.channels == 1 else 'RGB'}"
    yield "latents", f"{found.latent_dim} values, {found.prior} prior"
    yield (
        "training",
        (f"recipe {training.recipe} on {training.dataset}, seed {training.seed}, {training.images_seen:,} images seen"),
    )
    for name, figure in sorted(found.figures.items()):
        yield "figure", f"{name} {figure:g}"
    yield from _parts(found)
    for direction in found.directions:
        yield "direction", _direction(direction)
    yield "limits", ", ".join(f"{name} {value:,}" for name, value in dataclasses.asdict(found.limits).items())
    yield "licence", f"{found.licence}{'; ' if found.attribution else ''}{found.attribution}"


def _parts(found: Model) -> Iterator[tuple[str, str]]:
    for variant in found.variants:
        off = f"{variant.mean_levels:.3f} grey levels off in the mean, {variant.max_levels} at most"
        yield "variant", f"{variant.name}, {off}{'; draws here' if variant.name == found.identity.variant else ''}"
    calibration, encoder = found.calibration, found.encoder
    if calibration is not None:
        counts = f"{calibration.real_count:,} held-out real and {calibration.generated_count:,} generated images"
        yield "scores", f"AUC {calibration.auc:.3f} on {counts}; 0.5 is guessing"
    if encoder is not None:
        yield "encoder", "refines its latents" if encoder.refines else "can't refine its latents"
        for name, figure in sorted(encoder.figures.items()):
            yield "encoder", f"{name} {figure:g}"


def _direction(direction: DirectionInfo) -> str:
    span = f"{direction.min_strength:g} to {direction.max_strength:g}"
    turned = f", turns {direction.turned:.0%} of images at {direction.max_strength:g}"
    measured = f"{turned}, where chance turns {direction.turned_by_chance:.0%}" if direction.turned else ""
    return f"{direction.name}, {span}{measured}{': ' if direction.description else ''}{direction.description}"

"""The commands' flags: names, types, ranges, defaults and help, on one line each where they fit."""

import argparse
import math
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from dcgan.errors import InvalidField

_Parser: TypeAlias = argparse.ArgumentParser

_MAX_UINT64: Final = (1 << 64) - 1
_MAX_STRENGTH: Final = 1_000_000  # as of any weight
_POINT: Final = "such as 7, seed(7, 3), mean(1, 2), image(face.png) or 'seed(7) + 1.5*direction(sneaker)'"


def _add_sample(parser: _Parser) -> None:
    parser.add_argument("expressions", nargs="*", metavar="EXPRESSION", help=f"what to draw instead of seeds, {_POINT}")
    _add_target(parser)
    _add_seeds(parser)
    parser.add_argument(
        "--direction",
        type=_direction,
        action="append",
        default=[],
        metavar="NAME=STRENGTH",
        help="add a direction of the model to every latent; may be given again. `dcgan model` lists them",
    )
    parser.add_argument(
        "--keep-best",
        type=whole(1, 256),
        metavar="N",
        help="only the N of --count that score highest, of up to 256. Default: all",
    )
    parser.add_argument("--scores", action="store_true", help="print the score of each image on standard output")
    parser.add_argument(
        "--output",
        metavar="DIR|FILE.zip",
        help="folder for one file an image, named by seed and index; or a zip of any number of images, "
        "drawn by all targets side by side, which the same command goes on with where it was interrupted",
    )
    parser.add_argument("--format", choices=["png", "jpeg", "webp"], default="png", help="of these files. Default: png")
    parser.add_argument("--grid", metavar="FILE", help="one picture of all images instead: .png, .jpg or .webp")
    parser.add_argument("--latents", metavar="FILE", help="keep the latents too: .npy, float32 [count, latent_dim]")


def _add_seeds(parser: _Parser) -> None:
    parser.add_argument("--seed", type=whole(0, _MAX_UINT64), help="0 to 2^64 - 1. Default: one is drawn at random")
    parser.add_argument("--count", type=whole(1, (1 << 63) - 1), help="number of images. Default: 1")
    parser.add_argument("--index", type=whole(0, _MAX_UINT64), help="index of the first under the seed. Default: 0")
    parser.add_argument(
        "--truncation", type=float, metavar="T", help="cut latent values to [-T, T], 0 < T <= 8: more typical images"
    )


def _add_interpolate(parser: _Parser) -> None:
    parser.add_argument("points", nargs="+", metavar="POINT", help=f"two or more latents to go through, {_POINT}")
    _add_target(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="the animation: .gif or .webp")
    parser.add_argument("--frames", type=whole(1, (1 << 31) - 1), default=16, help="of the whole path. Default: 16")
    parser.add_argument("--fps", type=_fps, default=12.0, help="frames per second, at most 50. Default: 12")
    parser.add_argument("--closed", action="store_true", help="return to the first point, to be shown in a loop")
    parser.add_argument("--curve", choices=["linear", "spherical"], help="Default: spherical for a normal prior")
    parser.add_argument(
        "--easing", choices=["linear", "smooth"], default="linear", help="smooth is slow at every point"
    )


def _add_arithmetic(parser: _Parser) -> None:
    parser.add_argument("sum", metavar="SUM", help="such as 'mean(1,2,3) - mean(4,5,6) + mean(7,8,9)'")
    _add_target(parser)
    parser.add_argument("--output", required=True, metavar="FILE", help="the sheet: .png, .jpg or .webp")
    parser.add_argument("--neighbours", type=whole(0, 64), default=8, help="images around the result. Default: 8")
    parser.add_argument("--neighbour-seed", type=whole(0, _MAX_UINT64), default=0, help="of their noise. Default: 0")
    parser.add_argument(
        "--label", action="append", metavar="TEXT", help="what a term shows, once for each term. Default: its formula"
    )
    parser.add_argument("--pixels", action="store_true", help="draw the same sum of pixels below, to compare")
    parser.add_argument("--parts", metavar="DIR", help="folder for each image as a PNG, and for latents.npz")


def _add_encode(parser: _Parser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="images: PNG, JPEG, WebP, GIF or BMP")
    _add_target(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for what the model draws instead")
    parser.add_argument(
        "--refine-steps",
        type=whole(0, (1 << 31) - 1),
        default=0,
        metavar="N",
        help="of descent towards each image, 0 to the server's limit. Default: 0, just what the encoder says",
    )
    parser.add_argument("--latents", metavar="FILE", help="keep the latents: .npy, float32 [files, latent_dim]")


def _add_score(parser: _Parser) -> None:
    parser.add_argument("files", nargs="*", metavar="FILE", help="images, instead of those of a seed")
    _add_target(parser)
    _add_seeds(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_model(parser: _Parser) -> None:
    _add_target(parser)
    parser.add_argument("--json", action="store_true", help="for programs")


def _add_serve(parser: _Parser) -> None:
    from dcgan.cli import operate

    operate.add_settings(parser)


def _add_verify(parser: _Parser) -> None:
    parser.add_argument("bundle", metavar="DIR", help="model bundle, or the name of a shipped one")


def _add_rollback(parser: _Parser) -> None:
    parser.add_argument("directory", metavar="DIR", help="directory of versions, as `dcgan serve --model` takes it")


def _add_health(parser: _Parser) -> None:
    _add_target(parser, timeout_s=5.0)


def _add_target(parser: _Parser, timeout_s: float = 30.0) -> None:
    parser.add_argument(
        "--target",
        type=_address,
        default="localhost:50051",
        metavar="HOST:PORT",
        help="the server; several, separated by commas, are balanced. Default: localhost:50051",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=timeout_s,
        metavar="SECONDS",
        help=f"to wait for an answer. Default: {timeout_s:g}",
    )


ASKING: Final = frozenset({"sample", "interpolate", "arithmetic", "encode", "score", "model"})
COMMANDS: Final[Mapping[str, tuple[Callable[[_Parser], None], str]]] = {
    "serve": (_add_serve, "serve a model bundle over gRPC"),
    "verify": (_add_verify, "check a model bundle: hashes, shapes, and the images that it must give"),
    "rollback": (_add_rollback, "withdraw the newest version in a model directory, so that servers go back"),
    "health": (_add_health, "ask whether a server serves; exit code 0 if so"),
    "model": (_add_model, "describe the model that a server serves"),
    "sample": (_add_sample, "draw images, as files or in one grid"),
    "interpolate": (_add_interpolate, "draw an animation through latents"),
    "arithmetic": (_add_arithmetic, "add and subtract images, drawn as a sheet"),
    "encode": (_add_encode, "find the latents that images come from"),
    "score": (_add_score, "ask the discriminator how like real ones images are"),
}


def whole(low: int, high: int) -> Callable[[str], int]:
    """Makes an argument type for whole numbers from low to high."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text[:30]) <= high):
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number from {low} to {high}")
        return int(text)

    return read


def _direction(text: str) -> tuple[str, float]:
    name, _, strength = text.rpartition("=")
    try:
        value = float(strength)
    except ValueError:
        value = math.nan
    if not name or not abs(value) <= _MAX_STRENGTH:  # also refuses NaN
        allowed = f"NAME=STRENGTH, such as sneaker=2, with a strength of up to +-{_MAX_STRENGTH:,}"
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not {allowed}")
    return name, value


def _address(text: str) -> str:
    """Refuses bytes that Python could only smuggle in: files may be called so, but gRPC takes UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidField("--target", ascii(text), "an address in UTF-8") from None
    return text


def _within(text: str, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= high:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number above 0 and at most {high:g}")
    return value


def _seconds(text: str) -> float:
    return _within(text, 86_400.0)


def _fps(text: str) -> float:
    return _within(text, 50.0)

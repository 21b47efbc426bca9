"""Serve a GAN's latent space over gRPC, and ask such a server for images.

    with dcgan.connect("localhost:50051") as client:
        images = client.sample(16, seed=7).images  # uint8 (16, height, width, channels)

Public are the names in `__all__`. Each loads its module at first use, so that importing dcgan costs nothing.
"""

TYPE_CHECKING = False  # typing's own, which type checkers know by its name; typing would take ten times as long to load

if TYPE_CHECKING:
    from dcgan import errors
    from dcgan.client import (
        Arithmetic,
        AsyncClient,
        Client,
        Encoded,
        Identity,
        Model,
        Samples,
        Scores,
        connect,
        connect_async,
    )
    from dcgan.errors import DcganError
    from dcgan.latents import Expression, Term, direction, image, mean, mix, seed, values

__version__ = "0.1.0"

__all__ = [
    "Arithmetic",
    "AsyncClient",
    "Client",
    "DcganError",
    "Encoded",
    "Expression",
    "Identity",
    "Model",
    "Samples",
    "Scores",
    "Term",
    "connect",
    "connect_async",
    "direction",
    "errors",
    "image",
    "mean",
    "mix",
    "seed",
    "values",
]

_CLIENT = {
    "Arithmetic",
    "AsyncClient",
    "Client",
    "Encoded",
    "Identity",
    "Model",
    "Samples",
    "Scores",
    "connect",
    "connect_async",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name == "errors":
        return import_module("dcgan.errors")
    module = "client" if name in _CLIENT else "errors" if name == "DcganError" else "latents"
    return getattr(import_module(f"dcgan.{module}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]

"""Expressions of a request: read node by node, each checked before anything is computed."""

import math
from collections.abc import Sequence

from dcgan import latents
from dcgan.errors import InvalidField, UnknownDirection
from dcgan.latents import Expression, Normalization
from dcgan.registry import Model
from dcgan.requests.fields import CURVES, NORMALIZATIONS, check_steps, choice, need, truncation_of, weight_of
from dcgan.v1 import dcgan_pb2 as pb


class Reader:
    """Reads expressions of one request, whose nodes and sum terms together are limited, and so are their images.

    Attributes:
        uploads: the images among the nodes, each once, with the field that first named it.
    """

    def __init__(self, model: Model, normalization: Normalization | None = None) -> None:
        self._model, self._normalization = model, normalization
        self._room = model.limits.max_nodes
        self.uploads: dict[latents.Image, str] = {}

    def expressions(self, messages: Sequence[pb.Expression], field: str) -> list[Expression]:
        """Reads a list of expressions; raises InvalidRequest and UnknownDirection."""
        if not messages:
            raise InvalidField(field, "empty", "at least 1 expression")
        return [self._expression(message, f"{field}[{position}]") for position, message in enumerate(messages)]

    def _expression(self, message: pb.Expression, field: str) -> Expression:
        if not message.nodes:
            raise InvalidField(f"{field}.nodes", "empty", "at least 1 node")
        normalization = choice(message.normalization, NORMALIZATIONS, f"{field}.normalization", pb.Normalization)
        nodes = tuple(
            self._node(node, position, f"{field}.nodes[{position}]") for position, node in enumerate(message.nodes)
        )
        for position, node in latents.needed(nodes).items():
            if isinstance(node, latents.Image):
                self._upload(node, f"{field}.nodes[{position}].image")
        return Expression(nodes, self._normalization or normalization)

    def _node(self, node: pb.Node, position: int, field: str) -> latents.Node:
        self._count(1, field)
        match node.WhichOneof("kind"):
            case "seed":
                truncation = truncation_of(node.seed, f"{field}.seed.truncation", self._model)
                return latents.Seed(node.seed.seed, node.seed.index, truncation)
            case "values":
                return self._values(node.values, f"{field}.values.values")
            case "direction":
                return self._direction(node.direction, f"{field}.direction")
            case "image":
                return self._image(node.image, f"{field}.image")
            case "sum":
                return self._sum(node.sum, position, f"{field}.sum.terms")
            case "mix":
                return _mix(node.mix, position, f"{field}.mix")
        raise InvalidField(field, "empty", "one of seed, values, direction, image, sum, mix")

    def _count(self, more: int, field: str) -> None:
        self._room -= more
        if self._room < 0:
            limit = self._model.limits.max_nodes
            raise InvalidField(field, "one too many", f"{limit} nodes and sum terms in one request together")

    def _values(self, node: pb.ValuesNode, field: str) -> latents.Values:
        dim = self._model.bundle.manifest.latent.dim
        if len(node.values) != dim:
            raise InvalidField(field, f"{len(node.values)} values", f"latent_dim = {dim} values")
        values = tuple(node.values)
        if not all(map(math.isfinite, values)):
            raise InvalidField(field, "not finite", "finite values")
        return latents.Values(values)

    def _direction(self, name: str, field: str) -> latents.Direction:
        if name not in self._model.bundle.directions:
            raise UnknownDirection(field, name, list(self._model.bundle.directions))
        return latents.Direction(name)

    def _image(self, node: pb.ImageNode, field: str) -> latents.Image:
        need("encoder", field, self._model)
        check_steps(node.refine_steps, f"{field}.refine_steps", self._model)
        return latents.Image(node.file, node.refine_steps)

    def _upload(self, image: latents.Image, field: str) -> None:
        self.uploads.setdefault(image, f"{field}.file")
        limit = self._model.limits.max_uploads
        if len(self.uploads) > limit:
            raise InvalidField(field, "one too many", f"{limit} images in one request together")

    def _sum(self, node: pb.SumNode, position: int, field: str) -> latents.Sum:
        if not node.terms:
            raise InvalidField(field, "empty", "at least 1 term")
        self._count(len(node.terms), field)
        return latents.Sum(
            tuple(
                (_earlier(term.node, position, f"{field}[{at}].node"), weight_of(term, f"{field}[{at}].weight"))
                for at, term in enumerate(node.terms)
            )
        )


def _mix(node: pb.MixNode, position: int, field: str) -> latents.Mix:
    if not 0.0 <= node.t <= 1.0:
        raise InvalidField(f"{field}.t", node.t, "0 to 1")
    return latents.Mix(
        _earlier(node.start, position, f"{field}.start"),
        _earlier(node.end, position, f"{field}.end"),
        node.t,
        choice(node.curve, CURVES, f"{field}.curve", pb.Curve),
    )


def _earlier(reference: int, position: int, field: str) -> int:
    if not 0 <= reference < position:
        allowed = f"0 to {position - 1}, an earlier node" if position else "nothing, since no node comes before"
        raise InvalidField(field, reference, allowed)
    return reference

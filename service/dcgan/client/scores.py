"""What the discriminator says: requests for it, and its answers as arrays."""

from collections.abc import Sequence

import numpy as np

from dcgan.client.messages import check_same, identity_of
from dcgan.client.results import Identity, Scores
from dcgan.client.sources import SeedSource, Source, What, source_of
from dcgan.client.uploads import PART_IMAGES, Pictures, upload_lists
from dcgan.errors import DcganError, InvalidField
from dcgan.v1 import dcgan_pb2 as pb


class ScoreParts:
    """Images on their way through the discriminator: while not `done`, send `request()` and `accept` the answer.

    Raises InvalidField and ExpressionError for what no request can carry.
    """

    def __init__(
        self,
        what: What | None = None,
        *,
        images: Pictures | None = None,
        seed: int | None = None,
        first_index: int = 0,
        truncation: float | None = None,
        version: str = "",
    ) -> None:
        if images is not None and what is not None:
            raise InvalidField("images", "given", "either images or what to draw")
        drawn = None if images is not None else source_of(1 if what is None else what, seed, first_index, truncation)
        if drawn is None and (seed is not None or first_index or truncation is not None):
            raise InvalidField("seed", seed, "only with a number of images")
        self._source: Source | None = drawn
        self._uploads = [] if images is None else list(upload_lists(images))
        self._count = sum(len(part.files) for part in self._uploads) if drawn is None else drawn.count
        self._version = version
        self._identity: Identity | None = None
        self._answers = 0
        self._scores: list[pb.Score] = []
        self._asked = 0
        self._seed: int | None = None

    @property
    def done(self) -> bool:
        """Whether all images have been scored."""
        return len(self._scores) == self._count

    def request(self) -> pb.ScoreRequest:
        """Asks for the next part."""
        if self._source is None:
            part = self._uploads[self._answers]
            self._asked = len(part.files)
            return pb.ScoreRequest(version=self._version, images=part)
        request = pb.ScoreRequest(version=self._version)
        self._asked = self._source.fill(request, len(self._scores), self._seed, PART_IMAGES)
        return request

    def accept(self, answer: pb.ScoreResponse) -> None:
        """Takes a part. Raises BundleChanged for another bundle's, DcganError for one that contradicts itself."""
        identity = identity_of(answer.identity)
        check_same(self._identity or identity, identity)
        if len(answer.scores) != self._asked:
            raise DcganError(
                f"the server's answer is damaged: {len(answer.scores)} scores where {self._asked} images were asked for"
            )
        self._identity = identity
        self._answers += 1
        self._scores.extend(answer.scores)
        if isinstance(self._source, SeedSource):
            self._seed = answer.seed

    def whole(self) -> Scores:
        """Puts the parts together."""
        assert self._identity is not None
        return scores(self._identity, self._scores, self._seed)


def scores(identity: Identity, messages: Sequence[pb.Score], seed: int | None = None) -> Scores:
    """Reads scores."""
    rows = [(one.logit, one.probability, one.percentile) for one in messages]
    logits, probabilities, percentiles = np.array(rows, np.float64).reshape(len(rows), 3).T
    return Scores(identity, logits, probabilities, percentiles, seed)

"""What the encoder finds: requests for it, and its answers as arrays."""

import numpy as np

from dcgan.client.messages import check_same, format_of, identity_of, joined, samples
from dcgan.client.results import Encoded, Format
from dcgan.client.uploads import MAX_STEPS, Pictures, upload_lists
from dcgan.errors import DcganError, InvalidField
from dcgan.v1 import dcgan_pb2 as pb


class EncodeParts:
    """Images on their way through the encoder: while not `done`, send `request()` and hand the answer to `accept`.

    Raises InvalidField for what no request can carry.
    """

    def __init__(
        self,
        images: Pictures,
        *,
        refine_steps: int = 0,
        format: Format = "raw",  # noqa: A002  # what Pillow, the API and people call it
        version: str = "",
    ) -> None:
        if not 0 <= refine_steps <= MAX_STEPS:
            raise InvalidField("refine_steps", refine_steps, "0 and more, up to the server's limit")
        self._base = pb.EncodeRequest(version=version, refine_steps=refine_steps, format=format_of(format))
        self._parts = list(upload_lists(images))
        self._answers: list[pb.EncodeResponse] = []

    @property
    def done(self) -> bool:
        """Whether all images have been encoded."""
        return len(self._answers) == len(self._parts)

    def request(self) -> pb.EncodeRequest:
        """Asks for the next part."""
        request = pb.EncodeRequest(images=self._parts[len(self._answers)])
        request.MergeFrom(self._base)
        return request

    def accept(self, answer: pb.EncodeResponse) -> None:
        """Takes a part. Raises BundleChanged for another bundle's, DcganError for one that contradicts itself."""
        if self._answers:
            check_same(identity_of(self._answers[0].identity), identity_of(answer.identity))
        count = len(self._parts[len(self._answers)].files)
        if {answer.images.count, answer.latents.count, len(answer.errors)} != {count}:
            raise DcganError(f"the server's answer is damaged: it has not {count} images, latents and errors")
        self._answers.append(answer)

    def whole(self) -> Encoded:
        """Puts the parts together."""
        identity = identity_of(self._answers[0].identity)
        drawn = joined([samples(identity, answer.images, answer.latents) for answer in self._answers])
        errors = np.array([error for answer in self._answers for error in answer.errors], np.float64)
        assert drawn.latents is not None
        return Encoded(identity, drawn.latents, drawn, errors)

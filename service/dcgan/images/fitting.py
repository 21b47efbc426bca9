"""Images of any shape brought to one: the central part of its proportions, resized by a filter that doesn't alias."""

import numpy as np

from dcgan.images.codecs import to_pillow
from dcgan.images.encoders import Pixels


def fitted(image: Pixels, height: int, width: int) -> Pixels:
    """Cuts out the largest central part of the proportions height : width, and resizes it.

    Args:
        image: uint8 (h, w, c).
        height, width: of the result, pixels.

    Returns:
        uint8 (height, width, c); an image that has this shape already comes back as it is.
    """
    from PIL import Image

    if image.shape[:2] == (height, width):
        return image
    picture = to_pillow(image)
    inner_width = min(picture.width, max(1, round(picture.height * width / height)))
    inner_height = min(picture.height, max(1, round(picture.width * height / width)))
    left, top = (picture.width - inner_width) // 2, (picture.height - inner_height) // 2
    part = picture.crop((left, top, left + inner_width, top + inner_height))  # first, or the filter would see past it
    return np.asarray(part.resize((width, height), Image.Resampling.LANCZOS)).reshape(height, width, -1)

"""Images as arrays and files: encoded and decoded, laid out for people, written whole or not at all.

Images are uint8 of shape (h, w, c), many of one shape (n, h, w, c); c is 1 for grey and 3 for RGB, 0 is black.
`codecs` turns them into files' bytes and back, by the fastest of the `encoders` at hand; `fitting` brings them
to one shape, `layout` puts many into one, `sheets` draws the arithmetic sheet, `animations` writes GIF and WebP. Only
`files` touches the disk, and `archive` for what is too large to be written at once.
Pillow and the encoders are loaded at first use.
"""

from dcgan.images.animations import write_animation, writer_of
from dcgan.images.codecs import decode, encode, format_of, from_pillow, to_pillow
from dcgan.images.encoders import Format, Pixels
from dcgan.images.files import replacing, save
from dcgan.images.fitting import fitted
from dcgan.images.layout import enlarge, enlarged_to, grid
from dcgan.images.sheets import SheetTerm, pixel_sum, sheet

__all__ = [
    "Format",
    "Pixels",
    "SheetTerm",
    "decode",
    "encode",
    "enlarge",
    "enlarged_to",
    "fitted",
    "format_of",
    "from_pillow",
    "grid",
    "pixel_sum",
    "replacing",
    "save",
    "sheet",
    "to_pillow",
    "write_animation",
    "writer_of",
]

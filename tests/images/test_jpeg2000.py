from __future__ import annotations

import imagecodecs
import numpy as np
import pytest

from crosslens.images.decode import decode
from testing.picture_files import gradient

COLOUR = gradient()


@pytest.mark.parametrize("form", ["jp2", "j2k"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_depth(channels: int, bits: int, form: str) -> None:
    colours = [COLOUR[..., 2]] if channels < 3 else [*np.moveaxis(COLOUR, -1, 0)]
    opaque = [] if channels % 2 else [np.full((64, 96), 255)]
    shown = np.stack([*colours, *opaque], -1)
    values = np.rint(shown / 255 * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16).squeeze()
    content = imagecodecs.jpeg2k_encode(values, bitspersample=bits, codecformat=form, level=0)
    found = np.asarray(decode(content)).astype(int)
    assert np.abs(found - shown[..., : len(colours)]).max() <= 1

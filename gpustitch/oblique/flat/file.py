"""Read an illumination image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.images.files import read_image
from gpustitch.oblique.flat.flatfield import normalized_flat


def read_flat(path: Path) -> npt.NDArray[np.float32]:
    """The illumination image in a file, in any unit, scaled to maximum 1.

    Raises
    ------
    InputMissingError, DamagedInputError
        If the file is not there or cannot be read.
    ParameterError
        If the file is not one image of finite values, none negative and one above zero; the text names the file.
    """
    image = read_image(path)
    try:
        return normalized_flat(image)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from error

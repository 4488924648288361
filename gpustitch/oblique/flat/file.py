"""Read an illumination image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.errors import ParameterError
from gpustitch.io.images.files import read_image
from gpustitch.model.options import option
from gpustitch.oblique.flat.flatfield import normalized_flat


def flat_file(panel: str) -> Any:
    """The option of a stage that divides frames by a flat; ``panel`` is its heading."""
    return option(
        None,
        flag="--flat -f",
        help="Flat-field image to divide by, as oblique-illum-corr writes it.",
        panel=panel,
    )


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

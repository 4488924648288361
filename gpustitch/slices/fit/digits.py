"""What the digits of written numbers leave open, where a number has so many digits, not so many decimals.

``%g``, numbers cut to a width and binary numbers of 32 bits all write the greater numbers of a series more coarsely.
"""

from __future__ import annotations

import numpy as np

from gpustitch.model.arrays import Floats

# Digits beyond these are noise of binary arithmetic (0.30000000000000004).
_MOST_DIGITS = 14
# Numbers with more digits than these may be binary ones of 32 bits: fewer digits say more about their error.
_SINGLE_DIGITS = 7


def plain_quanta(quanta: Floats, values: Floats) -> Floats:
    """Values of last decimals without those that only binary arithmetic has made.

    Parameters
    ----------
    quanta
        Value of the last decimal of each number as written; 0 for binary numbers.
    values
        The numbers, of the same shape.

    Returns
    -------
    float64 of that shape.
    """
    plain = np.array(quanta, np.float64)
    for index in zip(*np.nonzero(_count_digits(plain, values) > _MOST_DIGITS), strict=True):
        value = float(values[index])
        if float(f"{value:.{_MOST_DIGITS - 3}e}") != value:  # else the last digits are zeros, which say a lot
            plain[index] = quantum_of(value)
    return plain


def quantum_of(value: float) -> float:
    """Value of the last decimal that a number needs, noise of binary arithmetic left out."""
    digits, _, exponent = f"{value:.{_MOST_DIGITS - 3}e}".partition("e")
    decimals = len(digits.rstrip("0").partition(".")[2])
    return float(10.0 ** (int(exponent) - decimals))


def quanta_by_digits(quanta: Floats, values: Floats) -> Floats:
    """Values of last decimals if the numbers were written with one count of digits, zeros at the end left out.

    The count is that of the number with most digits; where a sign takes the place of a digit, one less for numbers
    below 0. No last decimal is finer than the finest in the series.

    Parameters
    ----------
    quanta, values
        float64 (n,): of one coordinate of all slices, as :func:`plain_quanta` gives them.

    Returns
    -------
    float64 (n,)
    """
    digits = _count_digits(quanta, values)
    finest = float(quanta.min())
    if finest <= 0 or not digits.any():
        return np.full(len(values), finest)
    is_below = values < 0
    count = np.where(is_below, max(digits[is_below].max(initial=0.0), digits.max() - 1), digits.max())
    least = np.where(is_below, min(quanta[is_below].min(initial=np.inf), 10 * finest), finest)
    coarse = np.where(values == 0, 0.0, 10.0 ** (_magnitudes(values) + 1 - count))
    # Zeros left out make numbers look coarser than they are, never finer.
    return np.asarray(np.minimum(np.maximum(coarse, least), np.maximum(quanta, finest)))


def single_errors(quanta: Floats, values: Floats) -> Floats:
    """Errors of numbers that were binary ones of 32 bits before they were written; 0 where they need not have been.

    Parameters
    ----------
    quanta, values
        float64 (n,): of one coordinate of all slices, as written.

    Returns
    -------
    float64 (n,): half the distance of neighbouring numbers; all of it where they were written with no more digits than
    it takes to tell them apart.
    """
    single = values.astype(np.float32)
    n_digits = _count_digits(quanta, values).max(initial=0)
    is_shortest = n_digits > _SINGLE_DIGITS and all(float(str(s)) == v for s, v in zip(single, values, strict=True))
    is_whole = n_digits > _SINGLE_DIGITS + 2 and bool((single.astype(np.float64) == values).all())
    if not is_shortest and not is_whole:
        return np.zeros(len(values))
    return np.abs(np.spacing(single)).astype(np.float64) / (1 if is_shortest else 2)


def _magnitudes(values: Floats) -> Floats:
    """Power of ten of the first digit; 0 for 0."""
    sizes = np.abs(values)
    return np.floor(np.log10(np.where(sizes > 0, sizes, 1.0)) + 1e-12)


def _count_digits(quanta: Floats, values: Floats) -> Floats:
    """Digits that numbers are written with, from the first that is not 0; 0 for 0 and for binary numbers."""
    is_written = (quanta > 0) & (values != 0)
    last = np.rint(np.log10(np.where(is_written, quanta, 1.0)))
    return np.where(is_written, np.maximum(_magnitudes(values) + 1 - last, 0.0), 0.0)

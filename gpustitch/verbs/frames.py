"""Steps on camera frames: flat field, destriping, deskew."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpustitch.array import Array, namespace, to_device, to_host
from gpustitch.array.transfer import taken
from gpustitch.errors import ParameterError
from gpustitch.io.frames.format import FRAME_TYPES
from gpustitch.io.frames.opening import Oriented, Slice
from gpustitch.io.frames.readable import Readable
from gpustitch.model import Box, ObliqueScan
from gpustitch.oblique.deskew.deoblique import deoblique
from gpustitch.oblique.deskew.stage import DeobliqueOptions
from gpustitch.oblique.deskew.tile import ObliqueTile
from gpustitch.oblique.destripe.correction import Correction, Method
from gpustitch.oblique.destripe.lightsheet import LightsheetOptions
from gpustitch.oblique.destripe.sampled import brightest, evenly, judged
from gpustitch.oblique.destripe.wavelet_options import WaveletOptions
from gpustitch.oblique.flat import stage as flat_stage
from gpustitch.oblique.flat.options import IlluminationOptions
from gpustitch.running.options import checked_on_error
from gpustitch.verbs.lazy import Computed, ComputedVolume, LazyVolume
from gpustitch.verbs.sources import array_of, choosing, device_of, frames_of, real_numbers, whole_number
from gpustitch.verbs.told import TOLD, tell
from gpustitch.verbs.typed import typed

# Options of the flat field that say where it is written.
_OF_FILES = frozenset({"paths", "output", "intermediate_output", "overwrite"})


@typed(IlluminationOptions)
def flat_field(frames: Any, dark: float = IlluminationOptions.dark, **how: Any) -> npt.NDArray[np.float32] | Array:
    """The illumination of a camera, found in its frames, scaled to maximum 1.

    The model is chosen from the frames: :mod:`gpustitch.oblique.flat.judge`.

    Parameters
    ----------
    frames
        (frame, row, column) of any library, or a path; or a list of them, of one camera.
    dark
        Counts that the camera shows without light.
    **how
        Other fields of :class:`gpustitch.oblique.flat.options.IlluminationOptions`, such as ``n_frames``.

    Returns
    -------
    float32 array (rows, columns)
        Lies where the frames are. Divide frames less ``dark`` by it, or give it to a :class:`gpustitch.Correction`.

    Raises
    ------
    ParameterError
        If an option is out of range or of files, or no flat is better than none.
    MosaicError
        If the frames of a list differ in shape or type.

    Examples
    --------
    >>> import numpy as np
    >>> import gpustitch as gs
    >>> light = 1 - 0.5 * np.linspace(-1, 1, 96) ** 2
    >>> tissue = np.random.default_rng(0).uniform(300, 2000, (200, 64, 96))
    >>> flat = gs.flat_field((100 + light * tissue).astype(np.uint16), dark=100)
    >>> flat.shape, flat.dtype, float(flat.max())
    ((64, 96), dtype('float32'), 1.0)
    """
    for name in _OF_FILES.intersection(how):
        raise ParameterError(f"`{name}` is of files, and none is written; write what this returns")
    several = list(frames) if isinstance(frames, list | tuple) else [frames]
    if not several:
        raise ParameterError("`frames` is an empty list")
    device = device_of(several[0])
    given = {"auto": "model" not in how, "device": device, **choosing(how)}
    names = tuple(Path(one) if isinstance(one, str | Path) else Path(f"frames {k}") for k, one in enumerate(several))
    options = IlluminationOptions(names, Path("flat"), dark=dark, **given)
    skips = checked_on_error(options.on_error)
    reading = {"allow_missing": options.allow_missing, "skip_damaged": skips, "choice": options.choice}
    sources = tuple(Readable(frames_of(one, **reading), skips=skips) for one in several)
    found = flat_stage.estimated(flat_stage.plan_of(sources, options), TOLD)
    if found.verdict.is_refused:
        raise ParameterError(found.verdict.refusal)
    return to_device(found.flat, device)


@typed(WaveletOptions, LightsheetOptions)
def destripe(
    image: Any,
    sigma: float | tuple[float, float] | None = None,
    *,
    wavelet: str = WaveletOptions.wavelet,
    level: int = WaveletOptions.level,
    notch_length_px: float | None = WaveletOptions.notch_length_px,
    method: Method = "wavelet",
    flat: Any = None,
    dark: float = Correction.dark,
    **how: Any,
) -> Array:
    """An image, or a stack of them, without the stripes along its rows.

    Parameters
    ----------
    image
        (rows, columns) or (images, rows, columns) of any library.
    sigma
        Bandwidths of pystripe's filter for foreground and background, or one for both. Without them, and without
        ``notch_length_px``, a guarded filter is chosen from up to eight of the images.
    wavelet, level, notch_length_px
        As of :class:`gpustitch.oblique.destripe.wavelet_options.WaveletOptions`.
    method
        ``"wavelet"`` keeps tissue, ``"lightsheet"`` removes the background too.
    flat, dark
        Illumination to divide by, scaled to maximum 1, and the camera's offset.
    **how
        Other fields of the method's options, such as ``crossover`` or ``artifact_length``.

    Returns
    -------
    array
        New, of the same shape and type, where the image is. Whole numbers are rounded and clipped. Images are continued
        beyond their edges by reflection.

    Raises
    ------
    ParameterError
        If an option is out of range, or the image is not of two or three axes.
    DamagedInputError
        If the image holds NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> import gpustitch as gs
    >>> stripes = np.random.default_rng(0).normal(0, 50, (128, 1))
    >>> image = (1000 + stripes + np.zeros((128, 256))).astype(np.uint16)
    >>> clean = gs.destripe(image, sigma=256)
    >>> bool(clean.mean(1).std() < 0.5 * image.mean(1).std()), clean.dtype
    (True, dtype('uint16'))
    """
    correction = _correction(sigma, wavelet, level, notch_length_px, method, how)
    if flat is not None:
        correction = dataclasses.replace(correction, flat=to_host(flat))
    correction = dataclasses.replace(correction, dark=dark)
    array = array_of(image)
    if array.ndim not in (2, 3):
        raise ParameterError(f"`image` has {array.ndim} axes; it is (rows, columns) or (images, rows, columns)")
    stack = array if array.ndim == 3 else array[None]
    choose = method == "wavelet" and correction.wavelet.is_open
    few = brightest(to_host(stack[k]) for k in evenly(len(stack)))
    found = judged(few, correction, device_of(array), choose=choose)
    for caution in found.cautions():
        tell(caution)
    done = found.correction.apply(stack)
    return done if array.ndim == 3 else done[0]


def _correction(
    sigma: float | tuple[float, float] | None,
    wavelet: str,
    level: int,
    notch_length_px: float | None,
    method: Method,
    how: dict[str, Any],
) -> Correction:
    """The correction that a call asks for; ParameterError for options of the other method."""
    if method != "wavelet":
        given = {"sigma": sigma, "notch_length_px": notch_length_px}
        given |= {"wavelet": wavelet != WaveletOptions.wavelet or None, "level": level != WaveletOptions.level or None}
        for name in (name for name, value in given.items() if value is not None):
            raise ParameterError(f"`{name}` is of `method` wavelet, but `method` is {method}: give one or the other")
        lightsheet = dataclasses.replace(Correction().lightsheet, **how)
        return Correction(method, lightsheet=lightsheet)
    level = whole_number(level, "level")
    options = WaveletOptions(wavelet=wavelet, level=level, notch_length_px=notch_length_px, **how)
    if sigma is not None:
        both = (sigma, sigma) if np.ndim(sigma) == 0 else sigma
        first, second = real_numbers(both, "sigma", 2, "foreground, background")
        options = dataclasses.replace(options, sigma1=first, sigma2=second)
    return Correction(method, options if options.is_open else options.completed)


@typed()
def deskew(
    frames: Any,
    pixel_um: float,
    step_um: float,
    angle_deg: float = DeobliqueOptions.angle_deg,
    correction: Correction | None = None,
    *,
    start: int | None = DeobliqueOptions.start,
    stop: int | None = DeobliqueOptions.stop,
    rotate_90: int = DeobliqueOptions.rotate_90,
    flip_ud: bool = DeobliqueOptions.flip_ud,
) -> LazyVolume:
    """Frames of an oblique sheet as an upright, lazy volume.

    Parameters
    ----------
    frames
        (frame, row, column) of any library, frames of :func:`gpustitch.open_frames`, or a path. Columns run along the
        sheet.
    pixel_um, step_um
        Camera pixel in the sample, and the stage's step from frame to frame, um.
    angle_deg
        Angle between the sheet and the stage's motion, degrees.
    correction
        Flat field and destriping of each frame before interpolation.
    start, stop, rotate_90, flip_ud
        As of :class:`gpustitch.oblique.deskew.stage.DeobliqueOptions`: which frames, and how they are turned.

    Returns
    -------
    LazyVolume
        (z, y, x), of the type of the corrected frames, with its spacing. ``[z0:z1, y0:y1, x0:x1]`` computes a part,
        where the frames' array lies. Voxels outside the coverage are 0: those beyond the sheet, and those of missing
        frames.

    Raises
    ------
    ParameterError
        If a size is out of range, or the frames are of a type that is not interpolated.

    Examples
    --------
    >>> import numpy as np
    >>> import gpustitch as gs
    >>> frames = np.zeros((100, 64, 48), np.uint16)  # (frame, row, column)
    >>> tile = gs.deskew(frames, pixel_um=1.8, step_um=1.28, angle_deg=45)
    >>> tile
    <LazyVolume 48 x 64 x 147 uint16, voxels of 1.27279 x 1.8 x 1.28 um>
    >>> tile[10:20, :, 30:40].shape
    (10, 64, 10)
    """
    if not isinstance(correction, Correction | None):
        raise TypeError(f"`correction` must be a gpustitch.Correction, not {type(correction).__name__}")
    rotate_90 = whole_number(rotate_90, "rotate_90")
    start, stop = (v if v is None else whole_number(v, name) for v, name in ((start, "start"), (stop, "stop")))
    on_device = device_of(frames)
    source = frames_of(frames)
    if np.dtype(source.dtype).name not in FRAME_TYPES:
        raise ParameterError(f"`frames` hold {source.dtype}, not one of {', '.join(FRAME_TYPES)}")
    if start is not None or stop is not None:
        source = Slice(source, start or 0, stop)
    if rotate_90 % 4 or flip_ud:
        source = Oriented(source, rotate_90, flip_ud)
    scan = ObliqueScan(*source.shape, pixel_um, step_um, angle_deg, absent=tuple(source.absent))
    if correction is not None:
        correction.check_shape((scan.n_rows, scan.n_columns))
    if not on_device.is_cuda:
        return LazyVolume(ObliqueTile(source, scan, correction, device=on_device))
    array = _turned(taken(frames)[start:stop], rotate_90, flip_ud)
    return ComputedVolume(_OnDevice(array if correction is None else correction.apply(array), scan))


def _turned(frames: Array, rotate_90: int, flip_ud: bool) -> Array:
    """Frames on a device, as :class:`gpustitch.io.frames.opening.Oriented` turns those of files."""
    xp = namespace(frames)
    turned = xp.rot90(frames, rotate_90, axes=(1, 2)) if rotate_90 % 4 else frames
    found: Array = xp.ascontiguousarray(turned[:, ::-1] if flip_ud else turned)
    return found


class _OnDevice(Computed):
    """Corrected frames on a device as a volume."""

    def __init__(self, frames: Array, scan: ObliqueScan) -> None:
        super().__init__(np.dtype(frames.dtype), scan.spacing, scan.coverage, namespace(frames))
        self._frames, self._scan = frames, scan

    def _inside(self, box: Box) -> Array:
        start, stop = self._scan.frames_of(box)
        if start == stop:
            nothing: Array = self.xp.zeros(box.shape, self.dtype)
            return nothing
        z, y, _ = box.slices()
        return deoblique(self._frames[start:stop, y, z], box, self._scan.shear, first_frame=start)

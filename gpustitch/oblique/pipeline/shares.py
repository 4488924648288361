"""The parts of a pipeline's run, and how long each takes as a rule: for a bar over the whole run."""

from __future__ import annotations

from gpustitch.io.write.formats import OUTPUT_FORMATS
from gpustitch.oblique.pipeline.options import FLAT_FRAMES, PipelineOptions

FLAT_FIELD, DESTRIPING, DAMAGE, TILES, ALIGNMENT, BRIGHTNESS, VOLUME, FORMATS = (
    "flat field", "destriping", "damage", "tiles", "alignment", "brightness", "volume",
    "formats",
)  # fmt: skip

# All in the time of a frame that is read, not corrected, and fused: a corrected one, and what other parts take.
_CORRECTED = {"none": 1.0, "wavelet": 3.0, "lightsheet": 5.0}
_FLAT_FRAME, _JUDGED, _ALIGNED_PER_TILE, _EVENED_PER_TILE, _LOOKED_AT, _WRITTEN_AND_READ = 0.6, 250, 60, 20, 0.2, 1.0
_CONVERTED = 0.5


def shares(options: PipelineOptions, n_frames: int, n_tiles: int) -> dict[str, float]:
    """The parts of a run over so many frames in their order, and how long each takes, in frames without correction."""
    each = _CORRECTED[options.correction.method]
    makes_flat = options.correct_flat and options.flat is None
    found = {
        FLAT_FIELD: _FLAT_FRAME * min(n_frames, options.illumination.n_frames or FLAT_FRAMES) if makes_flat else 0,
        DESTRIPING: _JUDGED if options.correction.destripes else 0,
    }
    aligned = 0 if n_tiles == 1 or options.align_file is not None else _ALIGNED_PER_TILE * n_tiles
    if options.writes_tiles:
        found |= {TILES: each * n_frames, ALIGNMENT: aligned, VOLUME: _WRITTEN_AND_READ * n_frames}
        return found | _of_formats(options, n_frames)
    if options.on_error == "skip":
        found[DAMAGE] = _LOOKED_AT * n_frames
    found[ALIGNMENT] = each * aligned
    if options.stitch.intensity.is_estimated:
        found[BRIGHTNESS] = each * _EVENED_PER_TILE * n_tiles
    return found | {VOLUME: each * n_frames} | _of_formats(options, n_frames)


def _of_formats(options: PipelineOptions, n_frames: int) -> dict[str, float]:
    """The part that makes files of the finished volume, if any are asked for."""
    n = sum(OUTPUT_FORMATS.get(name).in_order for name in options.formats)
    return {FORMATS: _CONVERTED * n * n_frames} if n else {}

"""Step: compression of chunks on the device by nvCOMP, if it is installed: its rate, what it saves, and who reads it.

Chunks of a volume are compressed all at once, each to a body of a file. Readers on the host must get the chunks back.
"""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from bench.gpu_check.step import Asked, SkipError, device_of
from bench.gpu_check.transfers import best_seconds
from gpustitch.array import to_device

CHUNKS, SMALL_CHUNKS = (64, 64, 64, 64), (2, 8, 9, 10)


def nvcomp(asked: Asked) -> None:
    """A row for each way of compressing that volumes may be written with."""
    cupy, device = device_of()
    try:
        library = importlib.import_module("nvidia.nvcomp")
    except ImportError as error:
        raise SkipError("nvCOMP is not installed (pip install nvidia-nvcomp-cu12 or nvidia-nvcomp-cu13)") from error
    chunks = tissue(SMALL_CHUNKS if asked.is_small else CHUNKS)
    there = library.as_arrays([to_device(chunk.reshape(-1).view(np.uint8), device) for chunk in chunks])
    cupy.cuda.Device(0).synchronize()  # the library works on a stream of its own
    wrong = []
    for name, decoded in decoders().items():
        try:
            codec = library.Codec(algorithm=name, bitstream_kind=library.BitstreamKind.RAW)
            bodies = [bytes(body.cpu()) for body in codec.encode(there)]
            seconds = best_seconds(cupy, lambda codec=codec: codec.encode(there))
            is_same = all(decoded(b) == c.tobytes() for b, c in zip(bodies, chunks, strict=True))
        except Exception as error:
            asked.add(name, error=f"{type(error).__name__}: {error}")
            wrong.append(name)
            continue
        ratio = chunks.nbytes / sum(map(len, bodies))
        asked.add(name, {"GB_per_s": chunks.nbytes / seconds / 1e9, "ms": seconds * 1e3}, ratio=ratio, same=is_same)
        if not is_same:
            wrong.append(name)
    if wrong:
        raise AssertionError(f"chunks do not come back: {', '.join(wrong)}")


def tissue(shape: tuple[int, ...]) -> npt.NDArray[np.uint16]:
    """Chunks of smooth texture and the noise of a camera."""
    rng = np.random.default_rng(0)
    texture = ndimage.gaussian_filter(rng.normal(0, 1, shape).astype(np.float32), (0, 2, 2, 2))
    return np.asarray(rng.poisson(np.clip(150 + 2000 * texture, 20, None)), np.uint16)


def decoders() -> dict[str, Callable[[bytes], bytes]]:
    """For each way of compressing what reads it on the host; Zstandard's only where it is installed."""
    found: dict[str, Callable[[bytes], bytes]] = {"Deflate": lambda body: zlib.decompress(body, wbits=-zlib.MAX_WBITS)}
    try:
        codecs: Any = importlib.import_module("imagecodecs")
    except ImportError:
        return found
    return found | {"Zstd": lambda body: bytes(codecs.zstd_decode(body))}

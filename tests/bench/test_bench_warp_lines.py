"""What is counted of warps is what a body was written to ask for."""

from __future__ import annotations

import numpy as np
import pytest

from bench import bench_warp_lines as bench
from tests.cuda_cpu import build, module, shim

pytestmark = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works")
BODY = """
extern "C" __global__ void copied(const unsigned short* given, unsigned short* out, long long step) {
    __shared__ unsigned short shared[64];
    const long long i = (blockIdx.x * blockDim.x + threadIdx.x) * step;
    shared[threadIdx.x] = given[i];
    out[i] = shared[threadIdx.x];
}
extern "C" __global__ void copied_words(const uint4* given, uint4* out) {
    const long long i = blockIdx.x * blockDim.x + threadIdx.x;
    const uint4 word = given[i];
    out[i] = make_uint4(word.x + 1, word.y, word.z, word.w);
}
"""


@pytest.mark.parametrize(
    ("name", "step", "n_bytes", "lines", "part"),
    [("copied", 1, 64, 1, 1.0), ("copied", 4, 64, 2, 0.25), ("copied", 64, 64, 32, 1 / 16),
     ("copied_words", None, 512, 4, 1.0)],
)  # fmt: skip
def test_a_request_is_what_a_warp_asks_for(name, step, n_bytes, lines, part):
    found: bench.Found = {}
    with shim.installed() as cupy, bench.noted(found):
        given, out = cupy.zeros(64 * 64, "uint16"), cupy.zeros(64 * 64, "uint16")
        body = module.RawModule(code=BODY).get_function(name)
        numbers = () if step is None else (np.int64(step),)
        body((1,), (64,), (given, out, *numbers))
        rows = bench.rows_of("copy", found)
    assert [row[""] for row in rows] == ["reads", "writes"]
    for row in rows:
        assert (row["requests"], row["bytes of a request"], row["lines of a request"]) == (2, n_bytes, lines)
        assert row["asked of sectors"] == pytest.approx(part)
    assert build.library is not None and module.Function.__call__.__name__ == "__call__"

"""The emulator runs CUDA C as a device would: threads, barriers, warps, shared memory, arithmetic."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.cuda_cpu import build, module
from tests.cuda_cpu.module import ORDERS, RawModule

pytestmark = pytest.mark.skipif(bool(module.why_not()), reason=module.why_not())


def body(name: str, parameters: str, text: str, *options: str, before: str = "") -> Any:
    """A function of CUDA C; the first line of its text is line 2 of kernels/test.cu."""
    code = f'#line 0 "kernels/test.cu"\n{before}\nextern "C" __global__ void {name}({parameters}) {{\n{text}\n}}\n'
    return RawModule(code=code, options=options).get_function(name)


@pytest.fixture(params=ORDERS)
def order(request):
    with module.settings(order=request.param, seed=5):
        yield request.param


def test_threads_and_blocks_in_three_dimensions(order):
    numbers = body(
        "numbers", "long long* out",
        """const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        const int n_threads = blockDim.x * blockDim.y * blockDim.z;
        const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
        out[block * n_threads + thread] += block * n_threads + thread;""",
    )  # fmt: skip
    out = np.zeros(2 * 3 * 4 * 5 * 6 * 7, np.int64)
    numbers((2, 3, 4), (5, 6, 7), (out,))
    np.testing.assert_array_equal(out, np.arange(out.size))


def test_order_of_threads_is_the_one_asked_for():
    arrivals = body("arrivals", "int* out, int* n", "out[(*n)++] = blockIdx.x * blockDim.x + threadIdx.x;")
    found = {}
    for order, seed in (("forward", 0), ("reverse", 0), ("random", 1), ("random", 2)):
        out, n = np.zeros(4 * 64, np.int32), np.zeros(1, np.int32)
        with module.settings(order=order, seed=seed):
            arrivals((4,), (64,), (out, n))
        assert sorted(out) == list(range(out.size))
        found[order, seed] = out
    np.testing.assert_array_equal(found["forward", 0], np.arange(256))
    np.testing.assert_array_equal(found["reverse", 0], np.arange(256)[::-1])
    assert len({tuple(out) for out in found.values()}) == 4


def test_barriers_in_a_loop(order):
    scan = body(
        "scan", "const int* a, int* out",
        """__shared__ int sums[2][96];
        int now = 0;
        sums[0][threadIdx.x] = a[blockIdx.x * 96 + threadIdx.x];
        for (int step = 1; step < 96; step *= 2) {
            __syncthreads();
            sums[1 - now][threadIdx.x] =
                sums[now][threadIdx.x] + (threadIdx.x >= step ? sums[now][threadIdx.x - step] : 0);
            now = 1 - now;
        }
        out[blockIdx.x * 96 + threadIdx.x] = sums[now][threadIdx.x];""",
    )  # fmt: skip
    a = np.random.default_rng(0).integers(0, 9, (5, 96), np.int32)
    out = np.zeros_like(a)
    scan((5,), (96,), (a, out))
    np.testing.assert_array_equal(out, a.cumsum(axis=1))


def test_barriers_that_count(order):
    counts = body(
        "counts", "int* out",
        """out[0 * 50 + threadIdx.x] = __syncthreads_count(threadIdx.x % 3 == 0);
        out[1 * 50 + threadIdx.x] = __syncthreads_or(threadIdx.x == 49);
        out[2 * 50 + threadIdx.x] = __syncthreads_and(threadIdx.x < 49);
        out[3 * 50 + threadIdx.x] = __syncthreads_and(threadIdx.x < 50);""",
    )  # fmt: skip
    out = np.full((4, 50), -1, np.int32)
    counts((1,), (50,), (out,))
    np.testing.assert_array_equal(out, np.repeat([[17], [1], [0], [1]], 50, axis=1))


def test_shuffles_and_votes(order):
    warps = body(
        "warps", "int* out",
        """const unsigned all = 0xffffffffu;
        const int i = threadIdx.x, lane = i % warpSize;
        out[0 * 64 + i] = __shfl_sync(all, i, 5);
        out[1 * 64 + i] = __shfl_up_sync(all, i, 3);
        out[2 * 64 + i] = __shfl_down_sync(all, i, 3, 8);
        out[3 * 64 + i] = (int)__shfl_xor_sync(all, (double)i, 6);
        out[4 * 64 + i] = (int)__ballot_sync(all, i == 3 || i == 40);
        out[5 * 64 + i] = __any_sync(all, i == 40) * 2 + __all_sync(all, i < 32);
        out[6 * 64 + i] = lane < 16 ? __shfl_sync(0xffffu, i, 15) : __shfl_sync(0xffff0000u, i, 16);
        __syncwarp();""",
    )  # fmt: skip
    out = np.zeros((7, 2, 32), np.int32)
    warps((1,), (64,), (out,))
    lane = np.arange(32)
    wanted = [
        lane * 0 + 5, np.where(lane < 3, lane, lane - 3), np.where(lane % 8 < 5, lane + 3, lane), lane ^ 6,
    ]  # fmt: skip
    for found, expected in zip(out[:4], wanted, strict=True):
        np.testing.assert_array_equal(found, [expected, expected + 32])
    assert {int(v) for v in out[4, 0]} == {1 << 3} and {int(v) for v in out[4, 1]} == {1 << 8}
    assert set(out[5, 0]) == {1} and set(out[5, 1]) == {2}
    np.testing.assert_array_equal(out[6, 0], np.where(lane < 16, 15, 16))


def test_threads_of_a_partial_warp_meet(order):
    total = body(
        "total", "int* out",
        """int v = threadIdx.x;
        for (int d = 4; d; d /= 2) v += __shfl_xor_sync(0xffffffffu, v, d);
        out[threadIdx.x] = v + (int)__ballot_sync(0xffffffffu, 1);""",
    )  # fmt: skip
    out = np.zeros(40, np.int32)
    total((1,), (40,), (out,))
    np.testing.assert_array_equal(out[32:], sum(range(32, 40)) + 0xFF)


def test_shared_memory_is_filled_before_every_block(order):
    fresh = body(
        "fresh", "float* out",
        """out[blockIdx.x * 3 + 0] = in_template<float, 7>()[6];
        __shared__ float here[3][5];
        out[blockIdx.x * 3 + 1] = here[2][4];
        out[blockIdx.x * 3 + 2] = in_function()[2];
        here[2][4] = in_template<float, 7>()[6] = in_function()[2] = 1.0f;""",
        before="template <typename V, int N> __device__ V* in_template() { __shared__ V a[N]; return a; }"
        "__device__ inline float* in_function() { __shared__ float a[3]; return a; }",
    )  # fmt: skip
    out = np.zeros((4, 3), np.float32)
    fresh((4,), (1,), (out,))
    assert np.isnan(out).all()


def test_dynamic_shared_memory(order):
    backwards = body(
        "backwards", "float* out",
        """extern __shared__ __align__(16) float kept[];
        out[threadIdx.x] = kept[threadIdx.x];
        __syncthreads();
        kept[threadIdx.x] = threadIdx.x;
        __syncthreads();
        out[blockDim.x + threadIdx.x] = kept[blockDim.x - 1 - threadIdx.x];""",
    )  # fmt: skip
    out = np.zeros((2, 70), np.float32)
    backwards((1,), (70,), (out,), shared_mem=280)
    assert np.isnan(out[0]).all()
    np.testing.assert_array_equal(out[1], np.arange(70)[::-1])


def test_atomic_operations_lose_nothing(order):
    several = body(
        "several", "int* i, unsigned* u, unsigned long long* l, float* f, double* d",
        """const int n = threadIdx.x;
        atomicAdd(i, n), atomicMax(i + 1, n), atomicMin(i + 2, -n), atomicOr(u, 1u << n % 32), atomicAdd(l, 1);
        atomicAdd(f, 0.5f), atomicAdd(d, 0.25);
        int seen = i[3], before;
        do before = seen, seen = atomicCAS(i + 3, before, before + 2);
        while (seen != before);
        if (atomicExch(u + 1, 7u) == 0u) atomicAdd(u + 2, 1u);""",
    )  # fmt: skip
    i, u, n = np.zeros(4, np.int32), np.zeros(3, np.uint32), np.zeros(1, np.uint64)
    f, d = np.zeros(1, np.float32), np.zeros(1)
    several((1,), (100,), (i, u, n, f, d))
    assert (i.tolist(), u.tolist()) == ([4950, 99, -99, 200], [2**32 - 1, 7, 1])
    assert (n[0], f[0], d[0]) == (100, 50, 25)


def test_arithmetic_is_that_of_a_device():
    several = body(
        "several", "float* out, float nan, float x",
        """out[0] = fminf(nan, 2.0f), out[1] = max(3.0f, nan), out[2] = rintf(2.5f) + rintf(3.5f);
        out[3] = x * x - 1.0f, out[4] = fmaf(x, x, -1.0f);
        out[5] = __popc(0xf0u) + 10 * __clz(1) + 1000 * __ffs(8) + 10000 * __clz(0);
        out[6] = min(-1ll, 3ll) + max(2, 7) + min(5u, 6u), out[7] = __float2int_rn(2.5f) + __float_as_int(0.0f);
        out[8] = rsqrtf(0.25f) + sqrtf(9.0f) + floorf(-0.5f) + ceilf(0.5f) + fabsf(-2.0f);
        out[9] = make_float4(1, 2, 3, 4).w + make_ushort2(5, 6).y + sizeof(float4) + alignof(uchar4) + sizeof(T);""",
        "--std=c++17", "--fmad=false", before="using T = unsigned short;",
    )  # fmt: skip
    x = np.float32(1 + 2**-12)
    out = np.zeros(10, np.float32)
    several((1,), (1,), (out, np.float32(np.nan), x))
    fused = np.float32(float(x) * float(x) - 1)
    assert fused != x * x - np.float32(1)
    np.testing.assert_array_equal(out, np.float32([2, 3, 6, x * x - np.float32(1), fused, 324314, 11, 2, 7, 32]))


def test_language_of_the_bodies(order):
    mixed = body(
        "mixed", "const T* __restrict__ a, long long n, const T* const* tables, T* out",
        """static constexpr int offset = 3;
        #pragma unroll
        for (int k = 0; k < 2; ++k)
            if (threadIdx.x < n) out[threadIdx.x] += twice<T>(a[threadIdx.x]) + tables[1][threadIdx.x] * (T)weights[k];
        if constexpr (sizeof(T) == 2) out[threadIdx.x] += offset;""",
        before="using T = unsigned short; __constant__ float weights[2] = {1.0f, 2.0f};"
        "template <typename V> __host__ __device__ __forceinline__ V twice(V v) { return v + v; }",
    )  # fmt: skip
    a, out = np.arange(9, dtype=np.uint16), np.zeros(9, np.uint16)
    tables = np.array([0, a.ctypes.data], np.uint64)
    mixed((1,), (9,), (a, np.int64(9), tables, out))
    np.testing.assert_array_equal(out, 7 * a + 3)


def test_compile_error_names_the_line():
    with pytest.raises(module.CompileError, match=r"kernels/test\.cu:3.*\n?.*undeclared"):
        body("wrong", "float* out", "out[0] = 1.0f;\nout[1] = undeclared;")


def test_no_body_of_that_name():
    code = 'extern "C" __global__ void here(float* out) {}'
    with pytest.raises(module.EmulatorError, match="there"):
        RawModule(code=code).get_function("there")


def test_unknown_option_is_refused():
    with pytest.raises(module.CompileError, match="--use_fast_math"):
        body("plain", "float* out", "", "--use_fast_math")


def test_a_text_is_compiled_once(monkeypatch):
    body("once", "float* out", "out[0] = 1.0f;")
    monkeypatch.setattr(build, "_compile", None)
    body("once", "float* out", "out[0] = 1.0f;")


def test_a_text_is_compiled_by_many_at_once(monkeypatch, tmp_path):
    compile_to, made = build._compile, []
    monkeypatch.setattr(build, "folder", lambda: tmp_path)
    monkeypatch.setattr(build, "_compile", lambda path, *more: (made.append(path.suffix), compile_to(path, *more)))
    code = 'extern "C" __global__ void many(int* out) { out[threadIdx.x] = 3; }'
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(build.library, [code] * 4))
    assert len(paths) == 1
    assert sorted(p.suffix for p in tmp_path.iterdir() if p.suffix != ".lock") == [".cpp", ".o", ".so"]
    assert sorted(made) == [".o", ".so"], "once each: the others wait"
    out = np.zeros(2, np.int32)
    RawModule(code=code).get_function("many")((1,), (2,), (out,))
    assert out.tolist() == [3, 3]


def test_without_a_compiler_there_is_a_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build, "compiler", build.compiler.__wrapped__)
    assert "C++ compiler" in module.why_not()
    with pytest.raises(module.CompileError, match="PATH"):
        build.library("", ())


def test_a_big_volume_takes_little_time():
    add = body(
        "add", "const unsigned short* a, long long n, unsigned short* out",
        """const long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
        if (i < n) out[i] = a[i] + 1;""",
    )  # fmt: skip
    a = np.arange(256 * 256 * 64).astype(np.uint16)
    out = np.zeros_like(a)
    start = time.process_time()
    add((a.size // 256,), (256,), (a, np.int64(a.size), out))
    assert time.process_time() - start < 2.5  # of the processor; it takes 0.02 s
    np.testing.assert_array_equal(out, a + np.uint16(1))

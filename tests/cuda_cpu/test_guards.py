"""Planted mistakes that the emulator itself notices, and those that the parity test does."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from tests.cuda_cpu import module
from tests.cuda_cpu.module import ORDERS, EmulatorError
from tests.cuda_cpu.test_emulator import body
from tests.kernels.case import Case
from tests.kernels.compare import compare

pytestmark = pytest.mark.skipif(bool(module.why_not()), reason=module.why_not())


@pytest.fixture(params=ORDERS)
def order(request):
    with module.settings(order=request.param, seed=5):
        yield request.param


def launch(text, n_threads=64, n_blocks=1, **keywords):
    """Run a body on ``int* out`` and return it."""
    out = np.zeros(n_threads * n_blocks, np.int32)
    body("planted", "int* out", text)((n_blocks,), (n_threads,), (out,), **keywords)
    return out


def test_missing_barrier_shows_in_the_result():
    text = """__shared__ int kept[64];
        kept[threadIdx.x] = threadIdx.x;
        BARRIER
        out[threadIdx.x] = kept[(threadIdx.x + 1) % 64];"""
    wanted = (np.arange(64) + 1) % 64
    for order in ORDERS:
        with module.settings(order=order):
            np.testing.assert_array_equal(launch(text.replace("BARRIER", "__syncthreads();")), wanted)
            found = launch(text.replace("BARRIER", ""))
        assert (found == -1).any(), "what no thread has written yet is -1, or NaN"


def test_missing_barrier_before_the_next_round_shows_in_one_order_at_least():
    text = """__shared__ int kept[64];
        for (int k = 0; k < 3; ++k) {
            kept[threadIdx.x] = threadIdx.x + 100 * k;
            __syncthreads();
            out[threadIdx.x] += kept[63 - threadIdx.x] - 100 * k;
            BARRIER
        }"""
    right, wanted = [], 3 * np.arange(64)[::-1]
    for order in ORDERS:
        with module.settings(order=order):
            np.testing.assert_array_equal(launch(text.replace("BARRIER", "__syncthreads();")), wanted)
            right.append(np.array_equal(launch(text.replace("BARRIER", "")), wanted))
    assert not all(right)


def test_missing_barrier_within_a_warp_shows_in_one_order_at_least():
    text = """__shared__ volatile int kept[32];
        kept[threadIdx.x] = threadIdx.x;
        out[threadIdx.x] = kept[31 - threadIdx.x];"""
    right = []
    for order in ORDERS:
        with module.settings(order=order):
            right.append(np.array_equal(launch(text, 32), np.arange(32)[::-1]))
    assert not any(right)


def test_threads_that_write_to_one_place_show_in_the_order():
    found = set()
    for order in ORDERS:
        with module.settings(order=order):
            found.add(int(launch("out[0] = threadIdx.x + 64 * blockIdx.x;", n_blocks=3)[0]))
    assert len(found) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("if (threadIdx.x == 5) return; __syncthreads();", r"divergent barrier.*thread \(5, 0, 0\) has finished"),
        (
            "if (threadIdx.x < 9) __syncthreads();\nelse __syncthreads();",
            r"divergent barrier.*__syncthreads \(kernels/test.cu:[23]\), .*__syncthreads \(kernels/test.cu:[23]\)",
        ),
        (
            "if (threadIdx.x < 9) __syncthreads(); else __syncthreads_or(1);",
            "divergent barrier.*__syncthreads.*__syncthreads",
        ),
        ("for (int k = 0; k < threadIdx.x % 2 + 1; ++k) __syncthreads();", "divergent barrier.*has finished"),
        (
            "if (threadIdx.x < 32) __syncthreads(); else __syncwarp(); __syncthreads();",
            "divergent barrier|deadlock",
        ),
    ],
    ids=["early return", "two places", "two kinds", "rounds", "barrier and warp"],
)  # fmt: skip
def test_a_barrier_that_some_threads_miss_is_an_error(order, text, said):
    with pytest.raises(EmulatorError, match=r"planted: block \(\d, 0, 0\), thread .*" + said):
        launch(text, n_blocks=3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("if (threadIdx.x) __syncwarp(); else __syncthreads();", "deadlock"),
        ("if (threadIdx.x % 2) __syncwarp(0xffffffffu);", "deadlock.*has finished"),
        ("if (threadIdx.x % 32 < 16) __syncwarp(0xffffu); else __syncwarp(0xfffffff0u);", "deadlock"),
        ("while (atomicCAS(out, 0, 1) != 0) {} __syncthreads(); atomicExch(out, 0);", "deadlock: atomicCAS"),
    ],
    ids=["lane at a barrier", "lane has finished", "masks differ", "lock held at a barrier"],
)
def test_threads_that_wait_for_each_other_are_an_error(order, text, said):
    with pytest.raises(EmulatorError, match=said):
        launch(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("out[0] = __shfl_sync(0xffu, 1, threadIdx.x < 8 ? 9 : 0);", "lane"),
        ("if (threadIdx.x < 8) out[0] = __shfl_sync(0xffu, 1, 9);", "reads lane 9, which does not take part"),
        ("__syncwarp(0xfffffffeu);", "leaves out its own lane 0"),
        ("out[0] = __shfl_down_sync(0xffffffffu, 1, 16);", "reads lane (1[6-9]|2[0-9]|3[01]), which does not"),
    ],
    ids=["not in the mask itself", "source not in the mask", "own lane", "source beyond the block"],
)
def test_lanes_that_do_not_take_part(order, text, said):
    with pytest.raises(EmulatorError, match=said):
        launch(text, 48)


def test_an_assertion_that_fails_names_thread_and_line():
    with pytest.raises(EmulatorError, match=r"thread \(7, 0, 0\): assert\(threadIdx.x < 7\) fails \(kernels/test.cu:2"):
        launch("assert(threadIdx.x < 7);")


def test_next_launch_is_not_disturbed(order):
    for _ in range(3):
        with pytest.raises(EmulatorError):
            launch("if (threadIdx.x % 2) __syncthreads();", 1024)
        np.testing.assert_array_equal(launch("__syncthreads(); out[threadIdx.x] = threadIdx.x;"), np.arange(64))


@pytest.mark.parametrize(
    ("grid", "block", "shared"),
    [
        ((1,), (1025,), 0),
        ((1,), (32, 33), 0),
        ((1,), (1, 1, 65), 0),
        ((1,), (0,), 0),
        ((0,), (1,), 0),
        ((-1,), (1,), 0),
        ((2**31,), (1,), 0),
        ((1, 65536), (1,), 0),
        ((1, 1, 65536), (1,), 0),
        ((1,), (1,), 48 * 1024 + 1),
        ((1,), (1,), -1),
    ],
)
def test_launches_beyond_what_devices_take_are_refused(grid, block, shared):
    with pytest.raises(EmulatorError, match="planted: "):
        body("planted", "int* out", "")(grid, block, (np.zeros(1, np.int32),), shared_mem=shared)


def test_launch_bounds_and_static_shared_memory():
    code = """extern "C" __global__ void __launch_bounds__(4 * 32, 2) few(int* out) { out[0] = 1; }
        extern "C" __global__ void much(int* out) {
            __shared__ volatile int kept[4096][3]; kept[0][0] = 1; out[0] = kept[0][0];
        }"""
    few, much = (module.RawModule(code=code).get_function(name) for name in ("few", "much"))
    out = np.zeros(1, np.int32)
    few((1,), (128,), (out,))
    much((1,), (128,), (out,))
    with pytest.raises(EmulatorError, match="more than 128 threads"):
        few((1,), (129,), (out,))
    with pytest.raises(EmulatorError, match="49153 bytes of shared memory"):
        much((1,), (1,), (out,), shared_mem=1)


@pytest.mark.parametrize(
    ("place", "wrong", "said"),
    [
        (1, np.int64(1), "argument 2 is int64, but the body takes a signed integer of 32 bits"),
        (1, np.uint32(1), "argument 2 is uint32, but the body takes a signed integer"),
        (1, np.float32(1), "argument 2 is float32, but the body takes a signed integer"),
        (1, 1, "argument 2 is int, not an array or a NumPy scalar"),
        (2, np.int32(1), "argument 3 is int32, but the body takes a signed integer of 64 bits"),
        (3, np.float32(1), "argument 4 is float32, but the body takes a floating number of 64 bits"),
        (3, np.int64(1), "argument 4 is int64, but the body takes a floating number"),
        (1, np.zeros(1, np.int32), "argument 2 is an array, but the body takes a number"),
        (0, np.float32(1), "argument 1 is a number, but the body takes an array"),
        (0, np.zeros(1), "argument 1 is an array of float64, but the elements .* floating number of 32 bits"),
        (0, np.zeros(1, np.int32), "argument 1 is an array of int32"),
        (0, np.zeros((4, 4), np.float32)[:, 1:3], "not C-contiguous"),
        (4, np.zeros(1, np.float32), "argument 5 is an array of float32, but .* pointers"),
    ],
)
def test_arguments_of_another_type_are_refused(place, wrong, said):
    takes = body("planted", "const float* a, int i, long long l, double d, const float* const* tables", "")
    right = [np.zeros(1, np.float32), np.int32(1), np.int64(1), np.float64(1), np.zeros(1, np.uint64)]
    takes((1,), (1,), right)
    with pytest.raises(EmulatorError, match=said):
        takes((1,), (1,), [*right[:place], wrong, *right[place + 1 :]])


def test_number_of_arguments():
    takes = body("planted", "int i, int j", "")
    for n in (0, 1, 3):
        with pytest.raises(EmulatorError, match=re.escape(f"planted takes 2 arguments, not {n}")):
            takes((1,), (1,), [np.int32(0)] * n)


CASE = Case("twin", "id", lambda: {"a": np.array([1.0, 2.0]), "out": np.zeros(3), "n": 2})


@pytest.mark.parametrize(
    ("changes", "tolerances"),
    [
        ({"out": [1, np.nan, -1e-9]}, {}),
        ({"out": [1, 0, 0]}, {"atol": 1e-6}),
        ({"out": [np.nan, np.nan, 0]}, {"rtol": 1e-6}),
        ({"out": [1, np.nan, -0.0]}, {}),
        ({"a": [1, 3]}, {"atol": 10}),
    ],
    ids=["almost equal", "NaN is missing", "NaN instead of a number", "sign of zero", "an argument that is only read"],
)
def test_parity_notices(changes, tolerances):
    case = dataclasses.replace(CASE, **tolerances)
    expected = {"a": np.array([1.0, 2.0]), "out": np.array([1, np.nan, 0.0]), "n": 2}
    compare(case, expected, expected)
    with pytest.raises(AssertionError):
        compare(case, expected, expected | {name: np.array(value, float) for name, value in changes.items()})

"""The stand-in for CuPy is as strict as CuPy, and has nothing that CuPy lacks."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

from gpustitch.array import Device, choose_device, library_of, namespace, on, resident, scipy_of, skimage_of, to_host
from gpustitch.errors import DeviceError
from tests.cuda_cpu import module, shim


@pytest.fixture
def cp():
    with shim.installed() as stand_in:
        yield stand_in


@pytest.fixture
def a(cp):
    return cp.asarray(np.arange(12, dtype=np.float32).reshape(3, 4))


def host(array):
    return shim.asnumpy(array)


def test_it_is_there_only_inside():
    before = sys.modules.get("cupy")
    with shim.installed() as stand_in:
        import cupy.cuda.memory

        assert importlib.import_module("cupyx.scipy.ndimage") is sys.modules["cupyx.scipy.ndimage"]
        assert cupy is stand_in
        assert cupy.cuda.memory.OutOfMemoryError is stand_in.cuda.memory.OutOfMemoryError
    assert sys.modules.get("cupy") is before
    assert sys.modules.get("cupy.cuda.memory") is not stand_in.cuda.memory


def test_arrays_are_those_of_cupy(cp, a):
    assert library_of(a) == "cupy"
    assert namespace(a) is cp
    assert scipy_of(a).__name__ == "cupyx.scipy"
    assert skimage_of(a).__name__ == "cucim.skimage"
    assert isinstance(a, cp.ndarray)
    assert not isinstance(a, np.ndarray)
    with pytest.raises(TypeError, match="unhashable"):
        hash(a)


def test_an_array_describes_itself(a):
    part = a[::2, 1:]
    assert (part.shape, part.ndim, part.size, part.dtype, part.nbytes, len(part)) == ((2, 3), 2, 6, np.float32, 24, 2)
    assert part.strides == (32, 4)
    assert a.flags.c_contiguous
    assert not part.flags.c_contiguous
    assert part.data.ptr == a.data.ptr + 4
    interface = part.__cuda_array_interface__
    assert (interface["shape"], interface["typestr"], interface["strides"]) == ((2, 3), "<f4", (32, 4))
    assert a.__cuda_array_interface__["strides"] is None
    assert a.device.id == 0
    assert (a.T.shape, str(a[0, 1]), f"{a[0, 1]:.1f}") == ((4, 3), "1.0", "1.0")


@pytest.mark.parametrize("convert", [np.asarray, np.array, np.float32(1).__class__, lambda a: np.zeros(12) + [a]])
def test_nothing_becomes_a_numpy_array_by_itself(convert, a):
    with pytest.raises(TypeError, match=r"Implicit conversion|not allowed"):
        convert(a)


def test_elements_come_back_by_get(cp, a):
    expected = np.arange(12, dtype=np.float32).reshape(3, 4)
    copy = a.get()
    np.testing.assert_array_equal(copy, expected)
    copy[...] = 0
    np.testing.assert_array_equal(cp.asnumpy(a), expected)
    out = np.empty((3, 4), np.float32)
    assert a.get(out=out) is out
    np.testing.assert_array_equal(to_host(a), expected)
    with pytest.raises(TypeError):
        a.get(out=np.empty((3, 4), np.float64))
    with pytest.raises(ValueError, match="Shape mismatch"):
        a.get(out=np.empty((4, 3), np.float32))
    with pytest.raises(TypeError):
        a.get(out=a)


def test_elements_arrive_by_set(cp, a):
    a.set(np.ones((3, 4), np.float32))
    assert float(a.sum()) == 12
    for wrong, error in ((np.ones((3, 4)), TypeError), (np.ones((4, 3), np.float32), ValueError), (a, TypeError)):
        with pytest.raises(error):
            a.set(wrong)


def test_asarray_copies_from_the_host_and_leaves_arrays_of_the_device(cp, a):
    source = np.arange(3, dtype=">u2")
    moved = cp.asarray(source)
    source[0] = 9
    assert moved.dtype.isnative
    assert moved.tolist() == [0, 1, 2]
    assert cp.asarray(a) is a
    assert cp.asarray(a, dtype=np.float64).dtype == np.float64
    assert cp.asarray([a[0], a[1]]).shape == (2, 4)
    with pytest.raises(TypeError, match="Implicit conversion"):
        cp.asarray([a[0, 0], 1.0])
    with pytest.raises(ValueError, match="Unsupported dtype"):
        cp.asarray(np.array(["text"]))


OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "<", "<=", ">", ">=", "==", "!="]


@pytest.mark.parametrize("text", OPERATORS)
def test_operators_take_arrays_of_the_device_and_numbers(text, cp, a):
    def apply(left, right):
        return eval(f"left {text} right", {"left": left, "right": right})

    values = host(a)
    for other in (2, 2.5, True, np.float32(1.5), np.int64(2), np.float64(2)):
        with np.errstate(all="ignore"):
            results = [(apply(a, other), apply(values, other)), (apply(other, a), apply(other, values))]
        for ours, theirs in results:
            assert type(ours) is cp.ndarray
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(host(ours), theirs)
    np.testing.assert_array_equal(host(apply(a + 1, a + 1)), apply(values + 1, values + 1))
    for wrong in (values, [1, 2, 3, 4], values[0, 0, ...], None):
        with pytest.raises(TypeError, match="Unsupported type"):
            apply(a, wrong)
    with pytest.raises(TypeError, match="Unsupported type"):
        apply(values, a)


def test_operators_in_place(cp, a):
    same = a
    a += 1
    a *= a
    assert same is a
    np.testing.assert_array_equal(host(a), (np.arange(12, dtype=np.float32).reshape(3, 4) + 1) ** 2)
    counts = cp.zeros(3, np.uint16)
    with pytest.raises(TypeError):
        counts += 0.5
    with pytest.raises(TypeError, match="Unsupported type"):
        a += np.ones((3, 4), np.float32)
    with pytest.raises(TypeError):
        host(a).__iadd__(a)


def test_matrix_products(cp, a):
    np.testing.assert_array_equal(host(a @ a.T), host(a) @ host(a).T)
    for wrong in (lambda: a @ host(a).T, lambda: host(a) @ a.T, lambda: cp.matmul(host(a), a.T)):
        with pytest.raises(TypeError):
            wrong()


def test_reductions_give_arrays(cp, a):
    for result in (a.sum(), a.mean(), a.max(), a.argmax(), cp.median(a), cp.count_nonzero(a), a[0, 1], (a > 3).any()):
        assert type(result) is cp.ndarray
        assert result.shape == ()
    assert float(a.sum()) == 66
    assert int(a.argmax()) == 11
    assert bool((a > 3).any())
    assert type(a.sum().item()) is float
    with pytest.raises(ValueError, match="truth value"):
        bool(a)
    with pytest.raises(TypeError):
        range(a.argmax())
    assert a[0][: a[0].argmax()].shape == (3,), "CuPy takes it for the end of a slice all the same"


def test_one_element_is_a_view(cp, a):
    element = a[1, 2]
    element[...] = 100
    assert float(a.max()) == 100
    row = a[1]
    row += 1
    assert float(a.max()) == 101
    assert [float(r[0]) for r in a] == [0, 5, 8]


def test_indexing_with_arrays(cp, a):
    np.testing.assert_array_equal(host(a[a > 5]), np.arange(6, 12))
    rows = cp.asarray([2, 0])
    assert host(a[rows]).tolist() == host(a)[[2, 0]].tolist()
    assert host(a[np.array([2, 0])]).tolist() == host(a)[[2, 0]].tolist(), "CuPy moves it by itself"
    assert host(a[:, [1]]).shape == (3, 1)
    copy = a[rows]
    copy += 1
    assert float(a[2, 0]) == 8
    with pytest.raises(IndexError):
        a[a]
    with pytest.raises(IndexError):
        a[3]


def test_assignment(cp, a):
    a[0] = 7
    a[:, 1] = cp.asarray([1, 2, 3])
    a[a > 10] = 0
    a[cp.asarray([1]), cp.asarray([0])] = np.float32(5)
    a[2, 2:] = a[1, 2:]
    np.testing.assert_array_equal(host(a), [[7, 1, 7, 7], [5, 2, 6, 7], [8, 3, 6, 7]])
    with pytest.raises(ValueError, match="non-scalar"):
        a[0] = np.zeros(4, np.float32)
    with pytest.raises(ValueError, match="non-scalar"):
        a.fill(np.zeros(4))
    with pytest.raises(TypeError):
        a[0] = [1, 2, 3, 4]
    a[...] = np.array(3)
    assert a.tolist() == [[3] * 4] * 3


def test_functions_take_arrays_of_the_device_only(cp, a):
    values = host(a)
    for call in (
        lambda: cp.sum(values), lambda: cp.stack([values, values]), lambda: cp.concatenate([a, values]),
        lambda: cp.where(a > 3, values, 0), lambda: cp.maximum(a, values), lambda: cp.sqrt(values),
        lambda: cp.bincount([1, 2]), lambda: cp.percentile(a, values[0]), lambda: cp.full((2,), values[0, 0, ...]),
        lambda: cp.add(a, a, out=values), lambda: a.sum(out=values), lambda: a.clip(values, 1),
    ):  # fmt: skip
        with pytest.raises(TypeError):
            call()


def test_out_is_written_and_given_back(cp, a):
    out = cp.empty((3, 4), np.float32)
    for call in (
        lambda: cp.add(a, a, out=out), lambda: cp.add(a, a, out), lambda: cp.clip(a, 1, 2, out),
        lambda: cp.clip(a, 1, 2, out=out), lambda: a.clip(1, 2, out=out), lambda: cp.concatenate([a], out=out),
    ):  # fmt: skip
        assert call() is out
    assert out.tolist() == host(a).tolist()


@pytest.mark.parametrize("name", ["nanpercentile", "insert", "apply_over_axes", "vectorize", "memmap", "nditer"])
def test_what_cupy_lacks_is_not_there(name, cp):
    with pytest.raises(AttributeError):
        getattr(cp, name)


@pytest.mark.parametrize(
    "name", ["ctypes", "newbyteorder", "byteswap_", "__array_interface__", "__index__", "_anything"]
)
def test_attributes_that_cupy_lacks_are_not_there(name, a):
    with pytest.raises(AttributeError):
        getattr(a, name)
    with pytest.raises(AttributeError):
        a.something = 1


@pytest.mark.parametrize(
    "call",
    [
        lambda cp, a: cp.add(a, a, where=a > 3),
        lambda cp, a: cp.sum(a, where=a > 3),
        lambda cp, a: cp.max(a, initial=0),
        lambda cp, a: cp.asarray(a, like=a),
        lambda cp, a: cp.where(a > 3, a, 0, a),
        lambda cp, a: cp.clip(a, min=0, max=1),
        lambda cp, a: cp.sort(a, stable=True),
        lambda cp, a: cp.sort(a, 1, None),
        lambda cp, a: a.item(0),
        lambda cp, a: a.partition(1, 0, "introselect"),
        lambda cp, a: cp.partition(a, 1, kind="introselect"),
    ],
)
def test_keywords_that_cupy_lacks_are_refused(call, cp, a):
    with pytest.raises(TypeError):
        call(cp, a)


def test_numpy_functions_go_to_those_of_cupy(cp, a):
    assert type(np.sum(a)) is cp.ndarray
    assert type(np.sqrt(a)) is cp.ndarray
    assert type(np.stack([a, a])) is cp.ndarray
    with pytest.raises(TypeError):
        np.add(host(a), a)
    with pytest.raises(TypeError):
        np.trapezoid(a)


def test_scipy_and_skimage(cp, a):
    scipy, skimage = scipy_of(a), skimage_of(a)
    spectrum = scipy.fft.rfftn(a, [4, 8])
    assert (type(spectrum), spectrum.dtype, spectrum.shape) == (cp.ndarray, np.complex64, (4, 5))
    assert scipy.fft.next_fast_len(11, True) == 12
    assert type(scipy.ndimage.gaussian_filter(a, 1.0)) is cp.ndarray
    assert type(skimage.filters.threshold_otsu(a)) is cp.ndarray
    for call in (
        lambda: scipy.fft.rfftn(a, workers=2), lambda: scipy.fft.rfftn(host(a)), lambda: scipy.signal,
        lambda: scipy.ndimage.gaussian_filter(host(a), 1.0), lambda: skimage.filters.threshold_otsu(host(a)),
        lambda: skimage.filters.gabor(a, 1),
    ):  # fmt: skip
        with pytest.raises((TypeError, AttributeError)):
            call()


def test_the_device_is_chosen_and_its_memory_is_limited(cp):
    device = choose_device("cuda", 1 << 20)
    assert device == Device(0, "cuda:0: Emulated CUDA device", 1 << 20)
    before = cp.get_default_memory_pool().used_bytes()
    with on(device):
        kept = cp.zeros(1 << 18, np.uint8)
        assert cp.get_default_memory_pool().used_bytes() == before + kept.nbytes
    with pytest.raises(DeviceError, match=r"memory of cuda:0.*1,048,576 bytes"), on(device):
        cp.zeros(1 << 20, np.uint8)
    del kept
    assert cp.get_default_memory_pool().used_bytes() == before
    with pytest.raises(DeviceError, match="there are 1 CUDA devices"):
        choose_device("cuda:1")


@pytest.mark.skipif(bool(module.why_not()), reason=module.why_not() or "the emulator works")
def test_bodies_run_on_arrays_of_the_device(cp, a):
    text = 'extern "C" __global__ void twice(float* a, long long n) { if (threadIdx.x < n) a[threadIdx.x] *= 2; }'
    twice = cp.RawModule(code=text, options=("--std=c++17",)).get_function("twice")
    twice((1,), (32,), (a, np.int64(a.size)))
    assert float(a.sum()) == 2 * 66
    for wrong in (host(a), 3, [a]):
        with pytest.raises(TypeError, match="Unsupported type"):
            twice((1,), (32,), (wrong, np.int64(1)))
    with pytest.raises(cp.cuda.compiler.CompileException, match="no_such_name"):
        cp.RawModule(code=text.replace("*= 2", "*= no_such_name")).get_function("twice")


def test_streams_and_events(cp):
    null = cp.cuda.get_current_stream()
    with cp.cuda.Device(0) as device, cp.cuda.Stream(non_blocking=True) as stream:
        assert device.id == 0
        assert cp.cuda.get_current_stream() is stream
        first, second = cp.cuda.Event(), cp.cuda.Event()
        first.record()
        second.record(stream)
        second.synchronize()
        assert cp.cuda.get_elapsed_time(first, second) >= 0
    assert cp.cuda.get_current_stream() is null


def test_residents_do_not_outlive_the_stand_in():
    table = np.arange(4)
    with shim.installed() as cp:
        like = cp.zeros(1)
        assert resident(table, like) is resident(table, like)
    with shim.installed() as cp:
        assert resident(table, cp.zeros(1)).tolist() == [0, 1, 2, 3]

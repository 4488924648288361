"""Kernel twins: NumPy runs the definition, device arrays launch the body, one registry holds all."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bench.variants import twins
from gpustitch.array import kernel, kernels, sources
from gpustitch.errors import DeviceError
from tests.array.fake_cupy import FakeArray


@pytest.fixture
def bodies(tmp_path, monkeypatch):
    """A folder of CUDA sources in place of the installed ones."""
    monkeypatch.setattr(sources, "own_folder", lambda: tmp_path)
    return tmp_path


BODY = """
extern "C" __global__ void shift(
    const T* values, long long rows, long long columns,  // two axes
    R* __restrict__ out, long long out_rows, long long out_columns, long long offset, double scale) {}
"""


def zeros(*shape, dtype=np.float32):
    return FakeArray(np.zeros(shape, dtype))


@pytest.fixture
def shift(registry):
    @kernel("shift.cu", T="values: uint8 uint16 float32", R="out: float32 float64")
    def shift(values: np.ndarray, out: np.ndarray, offset: int, scale: float = 2.0) -> None:
        """Out = values * scale + offset."""
        out[...] = values * scale + offset

    return shift


def test_numpy_arrays_run_the_definition(shift):
    out = np.zeros(3)
    shift(np.arange(3), out, 1, scale=3.0)
    np.testing.assert_array_equal(out, [1, 4, 7])


def test_a_twin_keeps_name_and_documentation(shift):
    assert (shift.name, shift.__name__, shift.source) == ("shift", "shift", "shift.cu")
    assert shift.__doc__ == "Out = values * scale + offset."
    assert dict(kernels()) == {"shift": shift}


def test_the_registry_cannot_be_changed_from_outside(shift):
    kernels().clear()
    assert "shift" in kernels()


def test_two_twins_of_one_name_are_refused(shift):
    with pytest.raises(ValueError, match="two kernels are called shift"):
        kernel("other.cu")(shift.definition)


def test_without_a_body_a_device_array_is_an_error(shift, bodies, cupy):
    assert not shift.has_cuda_body
    with pytest.raises(DeviceError, match="no CUDA body"):
        shift(zeros(1, 3), zeros(1, 3), 1)
    assert cupy.launches == []


def test_mixed_arrays_never_launch(shift, bodies, cupy):
    (bodies / "shift.cu").write_text(BODY)
    with pytest.raises(TypeError, match="mixed"):
        shift(np.zeros(3), zeros(1, 3), 1)
    assert cupy.launches == []


def test_a_launch_passes_arguments_in_the_order_of_the_definition(shift, bodies, cupy):
    (bodies / "shift.cu").write_text(BODY)
    values, out = zeros(2, 3, dtype=np.uint16), zeros(5, 103)
    shift(scale=0.5, out=out, values=values, offset=7)
    text, name, options, grid, block, arguments = cupy.launches[0]
    assert text == 'using R = float;\nusing T = unsigned short;\n#line 1 "kernels/shift.cu"\n' + BODY
    assert name == "shift"
    assert "--fmad=false" in options
    assert (grid, block) == ((3,), (256,)), "515 elements need 3 blocks of 256 threads"
    assert [type(a).__name__ for a in arguments] == [
        "FakeArray", "int64", "int64", "FakeArray", "int64", "int64", "int64", "float64",
    ]  # fmt: skip
    assert (arguments[0], arguments[3]) == (values, out)
    assert [int(a) for a in (*arguments[1:3], *arguments[4:7])] == [2, 3, 5, 103, 7]
    assert arguments[7] == 0.5


def test_a_default_is_passed_too(shift, bodies, cupy):
    (bodies / "shift.cu").write_text(BODY)
    shift(zeros(1, 1), zeros(1, 1), 0)
    assert cupy.launches[0][5][-1] == 2.0


def test_a_whole_number_is_passed_as_a_float_where_one_is_taken(shift, bodies, cupy):
    (bodies / "shift.cu").write_text(BODY)
    shift(zeros(1, 1), zeros(1, 1), np.int32(3), 4)
    assert [type(a).__name__ for a in cupy.launches[0][5][-2:]] == ["int64", "float64"]
    with pytest.raises(TypeError, match="offset"):
        shift(zeros(1, 1), zeros(1, 1), 3.0, 4)


def test_headers_stand_in_the_text_once_and_lines_keep_their_numbers(shift, bodies, cupy):
    (bodies / "own.cuh").write_text("typedef int word;")
    (bodies / "shift.cu").write_text('// first\n#include "own.cuh"\n#include "own.cuh"\n' + BODY)
    shift(zeros(1, 1), zeros(1, 1), 0)
    text = cupy.launches[0][0]
    assert text.count("typedef int word;") == 1
    assert text.startswith(
        'using R = float;\nusing T = float;\n#line 1 "kernels/shift.cu"\n// first\n'
        '#line 1 "kernels/own.cuh"\ntypedef int word;\n'
        '#line 3 "kernels/shift.cu"\n'
    )


def test_a_header_that_is_not_there_is_named(shift, bodies, cupy):
    (bodies / "shift.cu").write_text('#include "lost.cuh"\n' + BODY)
    with pytest.raises(DeviceError, match=r"kernels/lost\.cuh"):
        shift(zeros(1, 1), zeros(1, 1), 0)


@pytest.mark.parametrize("tile", [(1, 1), (2, 64), (None, 10), (7, None)])
def test_tiles_cover_out(tile, bodies, cupy, registry):
    @kernel("shift.cu", T="values: float32", R="out: float32", tile=tile, threads=(32, 4))
    def shift(values: np.ndarray, out: np.ndarray, offset: int, scale: float) -> None:
        """Nothing."""

    (bodies / "shift.cu").write_text(BODY)
    shift(zeros(1, 1), zeros(5, 103), 0, 1.0)
    _, _, _, grid, block, _ = cupy.launches[0]
    rows, columns = (1 if t is None else -(-n // t) for t, n in zip(tile, (5, 103), strict=True))
    assert (grid, block) == ((rows * columns,), (32, 4))


def test_lists_of_arrays_are_tables_of_pointers_and_shapes(bodies, cupy, registry):
    @kernel("pick.cu", T="parts: uint16")
    def pick(parts: list, out: np.ndarray) -> None:
        """Nothing."""

    (bodies / "pick.cu").write_text(
        'extern "C" __global__ void pick(const T* const* parts, const long long* shapes, long long n_parts,'
        " float* out, long long n) {}"
    )
    parts = [zeros(2, 3, dtype=np.uint16), FakeArray(np.zeros((4, 8), np.uint16)[:, ::2])]
    pick(parts, zeros(5))
    pointers, shapes, count, *_ = cupy.launches[0][5]
    assert pointers.host[0] == parts[0].host.ctypes.data
    assert pointers.host[1] != parts[1].host.ctypes.data, "a view is packed first"
    assert shapes.host.tolist() == [[2, 3], [4, 4]]
    assert count == 2
    with pytest.raises(TypeError, match="one dtype"):
        pick([zeros(1), zeros(1, dtype=np.uint16)], zeros(5))
    assert len(cupy.launches) == 1


@pytest.mark.parametrize(("dtype", "c_type"), [("uint8", "unsigned char"), ("uint16", "unsigned short")])
def test_types_are_given_to_the_compiler(dtype, c_type, shift, bodies, cupy):
    (bodies / "shift.cu").write_text(BODY)
    shift(zeros(1, 1, dtype=dtype), zeros(1, 1, dtype=np.float64), 0)
    assert cupy.launches[0][0].startswith(f"using R = double;\nusing T = {c_type};\n")


@pytest.mark.parametrize("dtype", ["int32", "float64", "complex64"])
def test_types_that_the_body_is_not_made_for_are_refused(dtype, shift, bodies, cupy):
    (bodies / "shift.cu").write_text(BODY)
    with pytest.raises(TypeError, match=f"shift takes values of uint8, uint16, float32, not of {dtype}"):
        shift(zeros(1, 1, dtype=dtype), zeros(1, 1), 0)
    assert cupy.launches == []


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (BODY.replace("const T* values", "const float* values"), TypeError, "values of uint16 would be passed as"),
        (BODY.replace("long long offset", "int offset"), TypeError, "offset"),
        (BODY.replace("double scale", "float scale"), TypeError, "scale"),
        (BODY.replace("long long columns, ", ""), TypeError, "declares float\\* out"),
        (BODY.replace("long long columns, ", "int columns, "), TypeError, "columns"),
        (BODY.replace("double scale", "double scale, long long more"), DeviceError, "from more on"),
        (BODY.replace(", double scale", ""), DeviceError, "does not take scale"),
        (BODY.replace("offset", "shift_px"), DeviceError, "does not take offset"),
    ],
)
def test_a_body_that_declares_something_else_is_not_launched(wrong, error, said, shift, bodies, cupy):
    (bodies / "shift.cu").write_text(wrong.replace("// two axes", ""))
    with pytest.raises(error, match=said):
        shift(zeros(1, 1, dtype=np.uint16), zeros(1, 1), 0)
    assert cupy.launches == []


def test_an_array_of_another_rank_is_not_launched(shift, bodies, cupy):
    (bodies / "shift.cu").write_text(BODY)
    with pytest.raises((TypeError, DeviceError), match="shift"):
        shift(zeros(2, 2, 2), zeros(1, 1), 0)
    assert cupy.launches == []


def test_errors_of_compiler_and_driver_name_the_body(shift, bodies, cupy):
    (bodies / "shift.cu").write_text(BODY)

    def fail(_):
        raise cupy.cuda.compiler.CompileException("kernels/shift.cu(3): error: no such type")

    cupy.on_launch = fail
    with pytest.raises(DeviceError, match=r"shift \(kernels/shift.cu\) failed: .*no such type"):
        shift(zeros(1, 1), zeros(1, 1), 0)


def test_a_missing_compiler_is_an_error_of_one_line_that_names_the_body(shift, bodies, cupy):
    (bodies / "shift.cu").write_text(BODY)

    def missing(code, options):
        raise RuntimeError("CuPy failed to load libnvrtc.so.12: OSError: libnvrtc.so.12:\n no such file")

    cupy.RawModule = missing
    with pytest.raises(
        DeviceError, match=r"shift \(kernels/shift.cu\) failed: .*: no such file; pip install 'gpustitch"
    ):
        shift(zeros(1, 1), zeros(1, 1), 0)
    cupy.RawModule = lambda code, options: 1 / 0
    with pytest.raises(ZeroDivisionError):
        shift(zeros(1, 1), zeros(1, 1), 0)


def test_threads_that_need_the_same_body_compile_it_once(shift, bodies, cupy):
    (bodies / "shift.cu").write_text(BODY)
    compile_text, compiled = cupy.RawModule, []

    def slow(code, options):
        compiled.append(code)
        time.sleep(0.02)
        return compile_text(code, options)

    cupy.RawModule = slow
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: shift(zeros(1, 1), zeros(1, 1), 0), range(4)))
    assert (len(compiled), len(cupy.launches)) == (1, 4)


def test_nothing_is_launched_for_an_empty_out(shift, bodies, cupy):
    (bodies / "shift.cu").write_text(BODY)
    shift(zeros(0, 3), zeros(0, 3), 0)
    assert cupy.launches == []


def test_views_are_packed_for_the_body_and_written_back(shift, bodies, cupy):
    (bodies / "shift.cu").write_text(BODY)
    whole = np.zeros((4, 6), np.float32)
    values = FakeArray(np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::3])
    out = FakeArray(whole[1:3, ::2])

    def body(arguments):
        assert arguments[0].host.flags.c_contiguous
        assert arguments[3].host.flags.c_contiguous
        arguments[0].host[...] = 7
        arguments[3].host[...] = 5

    cupy.on_launch = body
    shift(values, out, 0)
    assert whole.sum() == 5 * 6
    assert (whole[1:3, ::2] == 5).all()
    assert values.host[0, 0] == 0, "what is only read is not copied back"


def test_a_body_is_compiled_once_for_each_type(shift, bodies, cupy):
    (bodies / "shift.cu").write_text("// first\n" + BODY)
    shift(zeros(1, 1), zeros(1, 1), 0)
    (bodies / "shift.cu").write_text("// second\n" + BODY)
    shift(zeros(1, 1), zeros(1, 1), 0)
    shift(zeros(1, 1, dtype=np.uint8), zeros(1, 1), 0)
    assert ["first" in launch[0] for launch in cupy.launches] == [True, True, False]


def test_every_twin_of_the_operations_documents_itself_and_writes_out():
    found = twins()
    assert "histogram" in found
    for name, twin in found.items():
        assert twin.source.endswith(".cu"), name
        assert twin.__doc__, name
        assert "out" in twin.definition.__annotations__, name
        assert twin.__module__ in sys.modules, name

"""An operation of another package, its body in a file of its own, runs as those of gpustitch do."""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import sys
import textwrap

import numpy as np
import pytest

from bench import nvrtc
from gpustitch.array import Kernel, kernel
from gpustitch.array.launch import OPTIONS, launched_text
from gpustitch.errors import DeviceError, ParameterError
from gpustitch.ops.pyramid import halve
from tests.cuda_cpu import module, shim

kernel_module = sys.modules[kernel.__module__]
needs_emulator = pytest.mark.skipif(bool(module.why_not()), reason=module.why_not() or "the emulator works")
needs_nvrtc = pytest.mark.skipif(bool(nvrtc.why_not()), reason=nvrtc.why_not() or "NVRTC is installed")

ADD = 'extern "C" __global__ void {name}(float* out, long long n) {{ if (threadIdx.x < n) out[threadIdx.x] {text}; }}\n'


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """An empty registry of kernels for the test's own twins."""
    monkeypatch.setattr(kernel_module, "_REGISTRY", {})


@pytest.fixture
def example(tmp_path):
    """The operation that the documentation of twins shows, in a package of its own."""
    python, cuda = map(_indented, inspect.getdoc(kernel_module).split("::\n")[1:])
    (tmp_path / "invert.cu").write_text(cuda)
    (tmp_path / "my_ops.py").write_text(
        "from pathlib import Path\nimport numpy as np\nfrom gpustitch.array import Array, kernel\n" + python
    )
    spec = importlib.util.spec_from_file_location("my_ops", tmp_path / "my_ops.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded.invert


def _indented(text):
    """The lines at the start of a text that are indented or empty."""
    lines = itertools.takewhile(lambda line: not line.strip() or line.startswith(" "), text.splitlines())
    return textwrap.dedent("\n".join(lines))


def added(path, name, text) -> Kernel:
    """A twin of that name whose body does ``text`` to every element."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(ADD.format(name=name, text=text))

    def definition(out: np.ndarray) -> None:
        """Nothing."""

    definition.__name__ = name
    return kernel(path)(definition)


def launched(twin, n=5):
    with shim.installed():
        out = shim.asarray(np.zeros(n, np.float32))
        twin(out)
        return out.get()


@needs_emulator
def test_the_documented_example_runs_on_both(example):
    values = np.arange(700, dtype=np.uint16)
    expected = np.empty_like(values)
    example(values, expected, 1000)
    assert expected[:3].tolist() == [1000, 999, 998]
    with shim.installed():
        before = module.launches()
        out = shim.asarray(np.zeros_like(values))
        example(shim.asarray(values), out, 1000)
        assert module.launches() == before + 1
        np.testing.assert_array_equal(out.get(), expected)


@needs_nvrtc
def test_the_documented_example_compiles(example):
    for c_type in ("unsigned char", "unsigned short"):
        result = nvrtc.compile_text(launched_text(example.source, {"T": c_type}), OPTIONS, 90)
        assert "invert" in result.resources and not result.warnings


@needs_emulator
def test_a_header_beside_the_file_goes_before_one_of_gpustitch(tmp_path):
    (tmp_path / "common.cuh").write_text("#define MINE 3\n")
    twin = added(tmp_path / "mine.cu", "mine", "= MINE")
    text = twin.source.read_text()
    twin.source.write_text('#include "common.cuh"\n' + text)
    assert launched(twin).tolist() == [3] * 5
    assert "thread_number" not in launched_text(twin.source, {})
    (tmp_path / "common.cuh").unlink()
    twin.source.write_text('#include "common.cuh"\n' + text)
    assert "thread_number" in launched_text(twin.source, {})


def test_lines_are_those_of_the_true_files(tmp_path):
    folder = tmp_path / 'odd "folder"'
    twin = added(folder / "mine.cu", "mine", "= 1")
    (folder / "parts").mkdir()
    (folder / "parts" / "a.cuh").write_text('#include "b.cuh"\n#include "dwt.cuh"\n')
    (folder / "parts" / "b.cuh").write_text("typedef int word;\n")
    twin.source.write_text('#include "parts/a.cuh"\n#include "common.cuh"\n' + twin.source.read_text())
    lines = [line for line in launched_text(twin.source, {}).splitlines() if line.startswith("#line")]
    quoted = folder.as_posix().replace('"', '\\"')
    assert lines[:3] == [f'#line 1 "{quoted}/{name}"' for name in ("mine.cu", "parts/a.cuh", "parts/b.cuh")]
    assert '#line 1 "kernels/dwt.cuh"' in lines
    assert lines.count('#line 1 "kernels/common.cuh"') == 1, "a header stands in the text once"


@needs_nvrtc
def test_errors_of_the_compiler_name_the_true_file(tmp_path):
    twin = added(tmp_path / "mine.cu", "mine", "= no_such_name")
    with pytest.raises(nvrtc.CompileError, match=rf"{twin.source.as_posix()}\(1\).*no_such_name"):
        nvrtc.compile_text(launched_text(twin.source, {}), OPTIONS, 90)


@needs_emulator
def test_files_of_one_name_are_not_mixed(tmp_path):
    one = added(tmp_path / "a" / "pyramid.cu", "one", "= 1")
    two = added(tmp_path / "b" / "pyramid.cu", "two", "= 2")
    again = added(tmp_path / "c" / "pyramid.cu", "halve", "= 3")
    assert [launched(twin).tolist() for twin in (one, two, again)] == [[1] * 5, [2] * 5, [3] * 5]
    with shim.installed():
        out = shim.asarray(np.zeros((1, 1, 1), np.uint16))
        halve(shim.asarray(np.full((2, 2, 2), 8, np.uint16)), out)
        assert out.get().tolist() == [[[8]]]


def test_one_file_has_one_name(tmp_path):
    twin = added(tmp_path / "a" / "mine.cu", "mine", "= 1")
    (tmp_path / "b").mkdir()
    assert kernel(tmp_path / "b" / ".." / "a" / "mine.cu")(_other).source == twin.source


def _other(out: np.ndarray) -> None:
    """Nothing."""


@needs_emulator
def test_a_file_that_is_not_there_is_named(tmp_path):
    twin = added(tmp_path / "mine.cu", "mine", "= 1")
    twin.source.unlink()
    assert not twin.has_cuda_body
    with pytest.raises(
        DeviceError, match=r"mine has no CUDA body: there is no file .*mine\.cu; `device` cpu"
    ) as caught:
        launched(twin)
    assert caught.value.parameter == "device"


@needs_emulator
def test_a_file_without_the_body_is_named(tmp_path):
    added(tmp_path / "mine.cu", "mine", "= 1")
    twin = kernel(tmp_path / "mine.cu")(_other)
    with pytest.raises(
        DeviceError, match=r'_other has no CUDA body: .*mine\.cu holds no extern "C" __global__ void _ot'
    ):
        launched(twin)


def test_a_header_that_is_nowhere_is_named(tmp_path):
    twin = added(tmp_path / "mine.cu", "mine", "= 1")
    twin.source.write_text('#include "lost.cuh"\n' + twin.source.read_text())
    with pytest.raises(DeviceError, match=rf"includes lost.cuh, which is neither in {tmp_path} nor in .*kernels"):
        launched_text(twin.source, {})


@pytest.mark.parametrize("source", ["a/b.cu", "/a/b.cu", "../b.cu", ""])
def test_a_text_is_a_name_alone(source):
    with pytest.raises(ParameterError, match="absolute Path") as caught:
        kernel(source)
    assert caught.value.parameter == "source"


def test_a_path_is_absolute(tmp_path):
    with pytest.raises(ParameterError, match=r"with_name\('b.cu'\)"):
        kernel(tmp_path.relative_to(tmp_path.parent) / "b.cu")

"""A copy of gpustitch runs its own bodies and tells its own version, whatever else is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
import tomllib

import pytest

from tests.cuda_cpu import build
from tests.paths import ROOT

pytestmark = pytest.mark.long

needs_emulator = pytest.mark.skipif(bool(build.why_not()), reason=build.why_not() or "the emulator works")

HALVE = """
    import numpy as np
    import gpustitch
    from gpustitch.ops.pyramid import halve
    from tests.cuda_cpu import shim

    with shim.installed():
        out = shim.asarray(np.zeros((1, 1, 1), np.uint16))
        halve(shim.asarray(np.arange(8, dtype=np.uint16).reshape(2, 2, 2)), out)
        print(gpustitch.__file__, int(out.get()[0, 0, 0]))
"""
COMMAND = """
    import sys
    from gpustitch.cli.main import main
    from tests.cuda_cpu import shim

    with shim.installed():
        main()
"""
WHERE = "from gpustitch.array.sources import own_folder; print(own_folder())"
VERSION = "import gpustitch; print(gpustitch.__version__)"


@pytest.fixture
def copy(tmp_path):
    """The package and its kernels in another folder."""
    # With its bytecode, where there is some: each test would compile the whole package again.
    shutil.copytree(ROOT / "gpustitch", tmp_path / "gpustitch")
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(folder, code, *arguments):
    """Run Python with the copy before this checkout, where the emulator is."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "COLUMNS": "400"}
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)


def printed(folder, code, *arguments):
    done = run(folder, code, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@needs_emulator
def test_a_copy_runs_its_own_bodies(copy):
    package = copy / "gpustitch" / "__init__.py"
    assert printed(copy, HALVE) == f"{package} 4", "the mean of 0 to 7, to even"
    source = copy / "kernels" / "pyramid.cu"
    text = source.read_text()
    assert "halve_with<Mean>(volume" in text
    source.write_text(text.replace("halve_with<Mean>(volume", "halve_with<Max>(volume"))
    assert printed(copy, HALVE) == f"{package} 7"


@needs_emulator
def test_without_its_kernels_a_copy_refuses_a_device(copy):
    shutil.rmtree(copy / "kernels")
    done = run(copy, COMMAND, "info", "--device", "cuda")
    assert done.returncode == 9
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert f"neither in {copy / 'kernels'} nor in {copy / 'gpustitch' / 'kernels'}" in line
    told = printed(copy, COMMAND, "info")
    assert "kernels: NOT FOUND: gpustitch's CUDA bodies are neither in" in told
    assert "DOES NOT WORK: halve has no CUDA body: gpustitch's CUDA bodies are neither in" in told
    assert "commands take device cpu: gpustitch's CUDA bodies are neither in" in told


def test_without_its_kernels_a_copy_computes_on_the_cpu(copy):
    shutil.rmtree(copy / "kernels")
    code = "from gpustitch.ops.pyramid import downsample; import numpy; print(downsample(numpy.ones((2, 2, 2))).sum())"
    assert printed(copy, code) == "1.0"


def test_kernels_of_another_project_are_not_taken(copy):
    # As a wheel is installed: gpustitch's own are inside the package, and beside it lie those of the other project.
    shutil.copytree(copy / "kernels", copy / "gpustitch" / "kernels")
    assert printed(copy, WHERE) == str(copy / "kernels"), "a checkout's are beside it"
    (copy / "kernels" / "__init__.py").write_text('"""Kernels of another project, not of gpustitch."""\n')
    assert printed(copy, WHERE) == str(copy / "gpustitch" / "kernels")
    (copy / "kernels" / "__init__.py").unlink()
    assert printed(copy, WHERE) == str(copy / "gpustitch" / "kernels")


def test_a_copy_tells_its_own_version(copy):
    assert printed(copy, VERSION) == "0+unknown"
    assert "gpustitch 0+unknown" in printed(copy, "from gpustitch.cli.main import main; main()", "--version")
    assert "gpustitch 0+unknown" in printed(copy, "from gpustitch.cli.main import main; main()", "info")
    (copy / "pyproject.toml").write_text('[project]\nname = "another"\nversion = "7.0"\n')
    assert printed(copy, VERSION) == "0+unknown", "the project is another"
    (copy / "pyproject.toml").write_text('[project]\nname = "gpustitch"\nversion = "7.1"\n')
    assert printed(copy, VERSION) == "7.1"
    code = "from gpustitch.io.provenance import provenance; print(provenance({}, [])['version'])"
    assert printed(copy, code) == "7.1"


def test_an_installed_package_tells_the_version_beside_it(copy):
    for name, version in (("other", "5.0"), ("gpustitch", "8.2")):
        folder = copy / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    assert printed(copy, VERSION) == "8.2"


def test_this_checkout_tells_what_its_project_states():
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert printed(ROOT, VERSION) == stated


def test_benches_run_where_packages_have_no_metadata(copy):
    shutil.copytree(ROOT / "bench", copy / "bench", ignore=shutil.ignore_patterns("__pycache__", "results"))
    code = """
        import importlib.metadata as m
        def missing(name): raise m.PackageNotFoundError(name)
        m.version = missing
        from bench.common import machine
        print(machine())
    """
    told = printed(copy, code)
    assert "'gpustitch': '0+unknown'" in told and "'numpy': 'unknown'" in told

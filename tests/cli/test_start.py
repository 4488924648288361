"""The program's beginning: one line where it is stopped while it is imported, and open standard streams."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.paths import ROOT

pytestmark = pytest.mark.posix

# The first heavy import never ends.
_SLOW = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup leaves it ignored
class Slow:
    def find_spec(self, name, *_):
        if name == "typer":
            print("importing", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
from gpustitch.cli.start import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_stopped_while_it_is_imported(number: signal.Signals) -> None:
    line = [sys.executable, "-c", _SLOW, "info"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout and process.stdout.readline() == "importing\n"
            process.send_signal(number)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 128 + number
    assert len(said.splitlines()) == 1 and said.startswith("gpustitch: ")


def test_closed_standard_streams_give_no_output_their_number() -> None:
    code = (
        "import os, sys\n"
        "for number in range(3): os.close(number)\n"
        "sys.modules['gpustitch.cli.main'] = type(sys)('main')\n"
        "sys.modules['gpustitch.cli.main'].main = lambda: os._exit(os.open('/dev/null', os.O_RDONLY))\n"
        "from gpustitch.cli.start import main\n"
        "main()"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode >= 3


def test_what_waits_in_a_broken_stream_does_not_change_the_exit_code() -> None:
    code = (
        "import sys\n"
        "sys.modules['gpustitch.cli.main'] = type(sys)('main')\n"
        "sys.modules['gpustitch.cli.main'].main = lambda: (sys.stdout.write('text'), sys.exit(7))\n"
        "from gpustitch.cli.start import main\n"
        "main()"
    )
    source, target = os.pipe()
    os.close(source)
    line, buffered = [sys.executable, "-c", code], {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(line, stdout=target, stderr=subprocess.PIPE, cwd=ROOT, env=buffered, check=False)
    os.close(target)
    assert done.returncode == 7 and not done.stderr


@pytest.mark.parametrize("stated", [{}, {"OMP_NUM_THREADS": "3"}, {"MKL_NUM_THREADS": "2"}], ids=str)
def test_products_take_one_thread_unless_the_user_says_how_many(stated: dict[str, str]) -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
    code = (
        "import os, sys\n"
        "sys.modules['gpustitch.cli.main'] = type(sys)('main')\n"
        f"sys.modules['gpustitch.cli.main'].main = lambda: print([os.environ.get(name) for name in {names}])\n"
        "from gpustitch.cli.start import main\n"
        "assert 'numpy' not in sys.modules  # which reads them once\n"
        "main()"
    )
    environment = {name: value for name, value in os.environ.items() if name not in names} | stated
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert said.stdout.strip() == str([stated.get(name) for name in names] if stated else ["1"] * 4)


def test_the_package_runs_as_the_command() -> None:
    said = [
        subprocess.check_output([sys.executable, *line, "--version"], cwd=ROOT, text=True)
        for line in (["-m", "gpustitch"], ["-c", "from gpustitch.cli.start import main; main()"])
    ]
    assert said[0].startswith("gpustitch ") and said[0] == said[1]


@pytest.mark.parametrize("encoding", ["latin-1", "ascii:surrogateescape", "utf-8:strict"])
def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path: Path, encoding: str) -> None:
    names = ["\u65e5\u672c \u00b1.npy", os.fsdecode(b"\xe4\xff.npy")]
    for name in names:
        np.save(tmp_path / name, np.zeros((2, 3, 4), np.uint8))
    line = [sys.executable, "-c", "from gpustitch.cli.start import main; main()", "info"]
    line += [str(tmp_path / name) for name in names]
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(line, capture_output=True, cwd=ROOT, env=env, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.count(b"2 planes of 3 rows") == 2


@pytest.mark.parametrize(("allowed_kb", "code"), [(300_000, 12), (400_000, 12), (976_000, 12), (1_000_000, 0)])
def test_too_little_address_space_is_said_at_once(allowed_kb: int, code: int) -> None:
    limits = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({allowed_kb * 1024},) * 2)"
    line = [sys.executable, "-c", f"{limits}; from gpustitch.cli.start import main; main()", "pipeline", "--help"]
    found = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert found.returncode == code, found.stderr
    assert ("ulimit -v" in found.stderr) == bool(code)
    assert len(found.stderr.splitlines()) == bool(code)

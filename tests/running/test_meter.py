"""What a run uses is what the system says of its processes, and nothing where the system does not say."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from gpustitch.running import meter
from gpustitch.running.meter import Used, Watch, used_now

PAGE, TICKS = (os.sysconf(name) for name in ("SC_PAGE_SIZE", "SC_CLK_TCK"))
OWN = str(os.getpid())


def process(
    proc: Path, number: str, parent: str, children: str, *, cpu: int, read: int, pages: tuple[int, int]
) -> None:
    """A process as /proc shows it."""
    thread = proc / number / "task" / number
    thread.mkdir(parents=True)
    (thread / "children").write_text(children)
    (proc / number / "io").write_text(f"rchar: {read}\nwchar: {2 * read}\nread_bytes: {3 * read}\nwrite_bytes: 0\n")
    (proc / number / "statm").write_text(f"999 {pages[0]} {pages[1]} 5 0 1 0\n")
    # The name of a program may hold anything.
    (proc / number / "stat").write_text(f"{number} (a ) b) S {parent} " + "0 " * 9 + f"{cpu} {cpu} {cpu} {cpu} 20 0\n")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process, which began two others, one of which began a third."""
    monkeypatch.setattr(meter, "_PROC", tmp_path)
    process(tmp_path, OWN, "1", "11 12", cpu=0, read=100, pages=(50, 10))
    process(tmp_path, "11", OWN, "13 ", cpu=TICKS, read=10, pages=(30, 20))
    process(tmp_path, "12", OWN, "", cpu=0, read=1, pages=(3, 1))
    process(tmp_path, "13", "11", "", cpu=TICKS, read=1000, pages=(7, 0))
    process(tmp_path, "14", "1", "", cpu=TICKS, read=10**6, pages=(10**4, 0))  # of others
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("Name:\tx\nVmHWM:\t   7 kB\n")
    (tmp_path / "pressure").mkdir()
    for of, stalled in (("io", 1_500_000), ("cpu", 250_000)):
        text = f"some avg10=0.1 avg60=0.2 avg300=0.3 total={stalled}\nfull avg10=0.0 avg60=0.0 avg300=0.0 total=9\n"
        (tmp_path / "pressure" / of).write_text(text)
    return tmp_path


@pytest.mark.parametrize("are_listed", [True, False])
def test_processes_are_counted_together_and_what_they_share_once(proc: Path, are_listed: bool) -> None:
    if not are_listed:
        for file in proc.rglob("children"):
            file.unlink()
    before = sum(os.times()[:4])
    used = used_now()
    assert (used.bytes_in, used.bytes_out, used.disk_bytes_in, used.disk_bytes_out) == (1111, 2222, 3333, 0)
    assert used.held_bytes == PAGE * (50 + (30 - 20) + (3 - 1) + 7)
    assert used.peak_bytes == 7 * 1024 and (used.stalled_s, used.queued_s) == (1.5, 0.25)
    assert before + 8 <= used.cpu_s <= sum(os.times()[:4]) + 8


def test_a_process_that_ends_meanwhile_is_no_error(proc: Path) -> None:
    for name in ("io", "stat", "statm"):
        (proc / "11" / name).unlink()
    assert used_now().bytes_in == 1101


def test_what_the_system_does_not_say_is_not_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "_PROC", tmp_path / "none")
    used = used_now()
    assert used == Used(used.at_s, used.cpu_s)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="no /proc")
def test_what_is_written_and_read_is_counted(tmp_path: Path) -> None:
    before = used_now()
    (tmp_path / "a").write_bytes(bytes(1 << 20))
    (tmp_path / "a").read_bytes()
    after = used_now()
    for name in ("bytes_in", "bytes_out"):
        assert 1 << 20 <= getattr(after, name) - getattr(before, name) < 2 << 20
    assert after.held_bytes and after.peak_bytes and after.peak_bytes >= 0.5 * after.held_bytes


def test_the_most_memory_that_was_seen_is_kept_until_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "_WATCHED_EVERY_S", 0.001)
    looked, held = threading.Event(), iter([3, 9, 4])

    def look() -> Used:
        found = next(held, None)
        if found is None:
            looked.set()
        return Used(0, 0, held_bytes=found)

    with Watch(look) as watch:
        assert looked.wait(10)
        assert (watch.most(), watch.most()) == (9, None)


def test_a_run_goes_on_without_a_thread_to_watch_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", none_left)
    with Watch(used_now) as watch:
        time.sleep(0)
        assert watch.most() is None

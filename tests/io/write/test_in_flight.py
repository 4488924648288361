"""Bytes handed over and not yet written: bounds, order, failures."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpustitch.errors import OutputError
from gpustitch.io.write.in_flight import InFlight, InTurn, Stopped


def test_who_is_over_the_bound_waits_for_others_to_leave(tmp_path):
    account, entered = InFlight(tmp_path, 100, "a chunk"), threading.Event()
    account.enter(60)

    def enter():
        account.enter(50)
        entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.05) and account.n_bytes == 60
    account.leave(60)
    assert entered.wait(5) and account.n_bytes == 50
    thread.join()


def test_more_than_the_bound_goes_alone(tmp_path):
    account = InFlight(tmp_path, 100, "a chunk")
    account.enter(1000)
    assert account.n_bytes == 1000
    account.leave(1000)
    account.wait_for_all()


def test_the_first_failure_is_raised_for_all_who_follow_and_who_wait(tmp_path):
    account, caught = InFlight(tmp_path / "v", 10, "a chunk"), []
    account.enter(10)

    def enter():
        with pytest.raises(OutputError, match="v: a chunk could not be written: odd"):
            account.enter(5)
        caught.append(1)

    thread = threading.Thread(target=enter)
    thread.start()
    account.leave(5, ValueError("odd"))
    account.leave(5, ValueError("even"))
    thread.join(5)
    assert caught == [1] and account.has_failed and account.n_bytes == 0
    with pytest.raises(OutputError, match="odd"):
        account.raise_failure()


def test_what_the_system_says_is_kept(tmp_path):
    account = InFlight(tmp_path / "v", 10, "a chunk")
    account.leave(0, OSError(28, "No space left on device"))
    with pytest.raises(OutputError, match="the disk is full"):
        account.enter(1)


def test_pieces_are_taken_in_order_and_released_when_the_next_is_asked_for(tmp_path):
    account, released = InFlight(tmp_path, 1 << 10, "a plane"), []
    with ThreadPoolExecutor(3) as pool:
        pieces = InTurn(account, pool)
        for number in range(4):
            account.enter(2)

            def make(number=number):
                time.sleep(0.02 * (4 - number))
                return bytes([number])

            pieces.put([make, make], 2, lambda number=number: released.append(number))
        pieces.complete()
        taken = pieces.taken()
        assert [next(taken), next(taken)] == [b"\0", b"\0"] and released == [] and account.n_bytes == 8
        assert next(taken) == b"\1" and released == [0] and account.n_bytes == 6
        assert b"".join(taken) == b"\1\2\2\3\3" and released == [0, 1, 2, 3] and account.n_bytes == 0


def test_what_is_given_up_ends(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        pieces = InTurn(InFlight(tmp_path, 10, "a plane"), pool)
        pieces.stop()
        with pytest.raises(Stopped):
            list(pieces.taken())
        pieces.complete()
        pieces.stop()
        assert list(pieces.taken()) == []


def test_a_piece_that_cannot_be_made_is_said_to_who_takes_it(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        pieces = InTurn(InFlight(tmp_path, 10, "a plane"), pool)
        pieces.put([lambda: 1 // 0], 1)
        with pytest.raises(ZeroDivisionError):
            next(pieces.taken())

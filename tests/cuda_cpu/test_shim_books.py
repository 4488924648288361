"""The books of streams: what a device would let go wrong is a fault, what it orders is none."""

from __future__ import annotations

import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpustitch.array import Device, handed_over, on, resident, to_device, to_host
from gpustitch.running.threads import ordered_map
from tests.cuda_cpu import shim
from tests.cuda_cpu.shim_books import Books, Clock, StreamFault

DEVICE = Device(0, "cuda:0: emulated", 1 << 30)


def in_thread(work, *args):
    """The result of work in a thread of its own."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work(*args)))
    thread.start()
    thread.join()
    return found[0]


def made(n=8):
    with on(DEVICE):
        return to_device(np.arange(n), DEVICE)


def summed(array):
    with on(DEVICE):
        return int(array.sum())


@pytest.fixture
def cp():
    with shim.installed() as stand_in:
        yield stand_in


def test_an_array_of_another_thread_may_be_read_and_freed_after_the_reader(cp):
    array = in_thread(made)
    assert summed(array) == 28
    del array


def test_an_array_that_is_freed_while_another_stream_may_read_it_is_a_fault():
    said = r"is freed at test_shim_books.py:\d+ without waiting for the stream that may still read it, at test_shim"
    with pytest.raises(StreamFault, match=said), shim.installed(), on(DEVICE):
        array = in_thread(made)
        array + 1
        del array


def test_unless_it_is_handed_over(cp):
    with on(DEVICE):
        array = in_thread(made)
        with handed_over(array):
            array + 1
        del array


def test_an_array_that_another_stream_has_not_finished_is_a_fault():
    said = r"is read .* without waiting for the stream that wrote it"
    with pytest.raises(StreamFault, match=said), shim.installed(), on(DEVICE):
        array = to_device(np.arange(8), DEVICE)
        in_thread(summed, array)


def test_an_array_that_is_written_while_another_stream_reads_it_is_a_fault():
    with pytest.raises(StreamFault, match=r"is written .* that reads it"), shim.installed() as cp:
        array = cp.zeros(8)
        cp.cuda.Device(0).synchronize()
        with cp.cuda.Stream(non_blocking=True):
            array + 1
        array += 1
        cp.cuda.Device(0).synchronize()


def test_what_the_caller_has_made_is_there_for_the_block_and_what_the_block_has_made_for_the_caller(cp):
    mine = to_device(np.arange(8), DEVICE)
    with on(DEVICE):
        theirs = mine + 1
    del mine
    assert to_host(theirs + 1).tolist() == list(range(2, 10))


def test_after_an_error_arrays_of_other_threads_may_go(cp):
    array = in_thread(made)
    with pytest.raises(ValueError, match="own"), on(DEVICE):
        array + 1
        raise ValueError("of its own")
    del array


def test_residents_are_complete_for_all_and_go_when_nobody_reads_them(cp):
    for number in range(3):
        table = np.full(4, number)
        with on(DEVICE):
            assert in_thread(summed, resident(table, cp.zeros(1))) == 4 * number


def in_a_block_each(arrays):
    for array in arrays:
        summed(array)


def handed(arrays):
    with on(DEVICE):
        for array in arrays:
            with handed_over(array):
                array.sum()


def dropped(arrays):
    with on(DEVICE):
        for array in arrays:
            array.sum()


@settings(max_examples=15)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.sampled_from([in_a_block_each, handed, dropped]))
def test_what_goes_through_threads_is_a_fault_just_where_it_is_dropped_before_its_reader_ends(n, workers, held, read):
    def run():
        with shim.installed():
            read(ordered_map(made, range(1, n + 1), workers, in_flight=held))

    # The last array is dropped when all is done.
    if read is dropped and n > 1:
        with pytest.raises(StreamFault, match="may still read it"):
            run()
    else:
        run()


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("rwsev"), st.integers(0, 2), st.integers(0, 2)), max_size=14))
def test_books_are_those_of_all_orders_that_a_device_may_take(steps):
    """A fault is found just where two uses of the memory, one a write, may come in either order."""
    books, clocks, block = Books(), [Clock() for _ in range(3)], np.zeros(2)
    books.make(block, clocks[0])
    # Uses of the block, by number of step and whether it is written; the steps before the next one of a stream, before
    # an event, and before whatever the host asks for next.
    uses, last, events, host, expected = [(0, True)], {0: {0}}, {}, set(), False
    for number, (what, stream, other) in enumerate(steps, 1):
        done = last.setdefault(stream, set()) | host
        if what in "rw":
            books.use(block, clocks[stream], writes=what == "w")
            expected |= any(earlier not in done for earlier, wrote in uses if wrote or what == "w")
            uses.append((number, what == "w"))
            last[stream] = done | {number}
        elif what == "s":
            books.done(clocks[stream].reached())
            host = host | last[stream]
        elif what == "e":
            events[stream] = clocks[stream].reached(), set(last[stream])
        elif other in events:
            clocks[stream].wait_for(events[other][0])
            last[stream] = last[stream] | events[other][1]
    assert bool(books.forget_faults()) == expected


@pytest.mark.parametrize("waited", [None, "event", "stream", "device", "earlier event"])
def test_a_copy_to_the_host_is_there_once_it_or_what_comes_after_is_waited_for(cp, waited):
    stream, host = cp.cuda.Stream(non_blocking=True), np.zeros(4, np.uint16)
    with stream:
        array = to_device(np.arange(4, dtype=np.uint16), DEVICE)
        earlier = stream.record()
        array.get(out=host, blocking=False)
        event = stream.record()
    {"event": event.synchronize, "stream": stream.synchronize, "device": cp.cuda.Device(0).synchronize,
     "earlier event": earlier.synchronize, None: bool}[waited]()  # fmt: skip
    assert (host.tolist() == [0, 1, 2, 3]) == (waited in ("event", "stream", "device"))
    stream.synchronize()


@pytest.mark.parametrize("waits", [False, True])
def test_memory_of_the_host_that_changes_while_it_is_copied_is_a_fault(waits):
    def run():
        with shim.installed() as cp:
            stream, host = cp.cuda.Stream(non_blocking=True), np.zeros(4, np.uint16)
            with stream:
                array = cp.empty(4, np.uint16)
            array.set(host, stream)
            if waits:
                stream.record().synchronize()
            host[2] = 5
            stream.synchronize()

    if waits:
        run()
    else:
        with pytest.raises(StreamFault, match=r"memory of the host changes .* at test_shim_books"):
            run()


@pytest.mark.parametrize("how", ["changed", "copied to", "copied from", "waited for", "beside"])
def test_memory_of_the_host_that_a_copy_is_on_its_way_to_is_left_alone_until_it_is_waited_for(how):
    def run():
        with shim.installed() as cp:
            stream, memory = cp.cuda.Stream(non_blocking=True), np.zeros(8, np.uint16)
            host = memory[:4]
            array = to_device(np.arange(4, dtype=np.uint16), DEVICE)
            cp.cuda.Device(0).synchronize()
            array.get(stream, out=host, blocking=False)
            if how == "waited for":
                stream.synchronize()
            if how in ("changed", "waited for"):
                host[2] = 5
            if how in ("copied to", "beside", "waited for"):
                array.get(stream, out=memory[4:] if how == "beside" else host, blocking=False)
            if how == "copied from":
                cp.empty(4, np.uint16).set(host, stream)
            cp.cuda.Device(0).synchronize()

    said = {
        "changed": r"memory of the host changes before the copy to it is waited for, at test_shim_books",
        "copied to": r"copied to at test_shim_books.py:\d+ before an earlier copy to it is waited for",
        "copied from": r"copied from at test_shim_books.py:\d+ before an earlier copy to it is waited for",
    }
    if how in said:
        with pytest.raises(StreamFault, match=said[how]):
            run()
    else:
        run()


def test_pinned_memory_is_counted_as_it_is_kept(cp):
    pool, empty = cp.get_default_pinned_memory_pool(), sys.modules["cupyx"].empty_pinned
    pool.free_all_blocks()
    before = pool.total_bytes()
    first, other = empty((10,), np.uint16), empty(8, np.uint8)
    part = first[3:]
    del first
    assert pool.total_bytes() - before == 28 and pool.n_free_blocks() == 0
    del part, other
    assert pool.total_bytes() - before == 28 and pool.n_free_blocks() == 2
    again = empty(20, np.uint8)
    assert pool.total_bytes() - before == 28 and pool.n_free_blocks() == 1
    pool.free_all_blocks()
    assert pool.total_bytes() - before == again.nbytes

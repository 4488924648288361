// The emulator's runtime, linked into every compiled body: threads of a block take turns on fibers of one OS thread.
//
// A worker fiber calls the body for one thread after another. When a thread waits, its worker stays suspended with it,
// and a ready thread or another worker goes on. When nothing can run any more and threads still wait, they wait in vain:
// the scheduler gets control back, and the launch ends with a report.
// Compiled with -fno-zero-initialized-in-bss and without sanitizers: .bss is left to the bodies' shared arrays.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fiber.h"
#include "cuda_vectors.h"
#include "cuda_entry.h"

struct dim3 {
    unsigned x, y, z;
};

// The numbers and arrays of a launch, as module.py fills them in.
struct Launch {
    dim3 grid, block;
    unsigned shared_bytes;
    int order;  // 0 forward, 1 reverse, 2 random
    unsigned long long seed;
    void* const* values;
};

extern "C" {
uint3 threadIdx = {0, 0, 0}, blockIdx = {0, 0, 0};
dim3 blockDim = {1, 1, 1}, gridDim = {1, 1, 1};
extern char __bss_start[] __attribute__((visibility("hidden")));
extern char _end[] __attribute__((visibility("hidden")));
}

namespace {

enum { most_threads = 1024, lanes = 32, most_spins = 100000 };
enum Order { forward, reverse, shuffled };
enum State : char { unstarted, running, ready, at_barrier, at_lanes, done };

// Where a thread waits, and what it brought.
struct Thread {
    Fiber* fiber;
    State state;
    const char *what, *file;
    int line, predicate, source;
    unsigned mask, ballot;
    unsigned long long bits, result;
};

Thread threads[most_threads] = {};
uint3 place[most_threads] = {};
int permutation[most_threads] = {}, ready_ring[most_threads] = {};
int n_threads = 0, n_taken = 0, n_done = 0, n_ready = 0, first_ready = 0, current = 0;
int n_at_lanes[most_threads / lanes] = {};  // by warp
int n_arrived = 0, first_arrived = 0, barrier_count = 0, barrier_result = 0;
int n_spins = 0;
bool failed = false;
char report[4096] = "";
char* dynamic_shared = nullptr;
const cuda_cpu::Entry* entry = nullptr;
const Launch* launch = nullptr;
unsigned long long random_state = 0;

unsigned long long random_bits() {  // splitmix64
    unsigned long long z = random_state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

unsigned long long random_below(unsigned long long n) { return (unsigned long long)((unsigned __int128)random_bits() * n >> 64); }

void permute_threads() {
    for (int i = 0; i < n_threads; ++i) permutation[i] = launch->order == reverse ? n_threads - 1 - i : i;
    if (launch->order != shuffled) return;
    for (int i = n_threads - 1; i > 0; --i) {
        const int j = (int)random_below(i + 1), kept = permutation[i];
        permutation[i] = permutation[j];
        permutation[j] = kept;
    }
}

void add_text(const char* format, va_list values) {
    const size_t used = strlen(report);
    vsnprintf(report + used, sizeof report - used, format, values);
}

void add(const char* format, ...) {
    va_list values;
    va_start(values, format);
    add_text(format, values);
    va_end(values);
}

void add_place(int thread) { add("thread (%u, %u, %u)", place[thread].x, place[thread].y, place[thread].z); }

void add_wait(int thread) {
    const Thread& t = threads[thread];
    add_place(thread);
    if (t.state == done) add(" has finished");
    else if (t.state == at_barrier) add(" waits at %s (%s:%d)", t.what, t.file, t.line);
    else add(" waits at %s with mask 0x%x (%s:%d)", t.what, t.mask, t.file, t.line);
}

void begin_report(int thread) {
    failed = true;
    report[0] = 0;
    add("%s: block (%u, %u, %u), ", entry->name, blockIdx.x, blockIdx.y, blockIdx.z);
    add_place(thread);
    add(": ");
}

// Ends the launch from within a thread.
[[noreturn]] void fail(const char* file, int line, const char* format, ...) {
    begin_report(current);
    va_list values;
    va_start(values, format);
    add_text(format, values);
    va_end(values);
    add(" (%s:%d)", file, line);
    fiber_to_scheduler(threads[current].fiber);
    __builtin_trap();
}

void make_ready(int thread) {
    threads[thread].state = ready;
    ready_ring[(first_ready + n_ready++) % most_threads] = thread;
}

bool is_same(const char* what, const char* other) { return what == other || !strcmp(what, other); }

void suspend(State state, const char* what, const char* file, int line) {
    Thread& thread = threads[current];
    thread.state = state, thread.what = what, thread.file = file, thread.line = line;
}

void release_barrier() {
    barrier_result = barrier_count;
    barrier_count = n_arrived = 0;
    permute_threads();
    for (int i = 0; i < n_threads; ++i) make_ready(permutation[i]);
}

// Whether every lane of the mask waits for the same thing as the current thread; only lanes that exist are counted.
bool all_lanes_met(int start, unsigned mask) {
    const Thread& mine = threads[current];
    if (n_at_lanes[start / lanes] < (mask == ~0u ? lanes : __builtin_popcount(mask))) return false;
    for (unsigned rest = mask; rest; rest &= rest - 1) {
        const Thread& other = threads[start + __builtin_ctz(rest)];
        if (other.state != at_lanes || other.mask != mask || other.line != mine.line || !is_same(other.what, mine.what))
            return false;
    }
    return true;
}

void release_lanes(int start, unsigned mask) {
    unsigned ballot = 0;
    for (unsigned rest = mask; rest; rest &= rest - 1) {
        const int lane = __builtin_ctz(rest);
        if (threads[start + lane].predicate) ballot |= 1u << lane;
    }
    for (int i = 0; i < lanes; ++i) {
        const int lane = launch->order == reverse ? lanes - 1 - i : i;
        if (!(mask >> lane & 1)) continue;
        Thread& thread = threads[start + lane];
        thread.ballot = ballot;
        if (thread.source >= 0) thread.result = threads[start + thread.source].bits;
        make_ready(start + lane);
        --n_at_lanes[start / lanes];
    }
}

// Which comes first tells bodies that lack a barrier from those that have it: all orders are right.
bool start_before_resuming() {
    return n_taken < n_threads && (n_ready == 0 || launch->order == reverse || (launch->order == shuffled && random_bits() & 1));
}

void worker();

// The fiber that goes on, with the thread that it runs as the current one; null where none can.
Fiber* next_fiber() {
    if (failed) return nullptr;
    if (start_before_resuming()) {
        current = permutation[n_taken];
        return threads[current].fiber = fresh_fiber(worker);
    }
    if (!n_ready) return nullptr;
    current = ready_ring[first_ready];
    first_ready = (first_ready + 1) % most_threads;
    --n_ready;
    threads[current].state = running;
    threadIdx = place[current];
    n_spins = 0;
    return threads[current].fiber;
}

// Has another thread go on; comes back when it is the turn of what runs on this fiber.
void give_way(Fiber* fiber) {
    if (Fiber* next = next_fiber()) fiber_to_fiber(fiber, next);
    else fiber_to_scheduler(fiber);
}

void worker() {
    fiber_entered(nullptr);
    Fiber* fiber = threads[current].fiber;
    while (n_taken < n_threads) {
        current = permutation[n_taken++];
        threads[current].fiber = fiber;
        threads[current].state = running;
        threadIdx = place[current];
        n_spins = 0;
        entry->run(launch->values);
        threads[current].state = done;
        ++n_done;
    }
    fiber->next_free = free_fibers;
    free_fibers = fiber;
    give_way(fiber);
}

// Waits for the lanes that the mask names.
void meet_lanes(const char* what, unsigned mask, const char* file, int line) {
    const int own = current % lanes, start = current - own, existing = n_threads - start;
    if (existing < lanes) mask &= (1u << existing) - 1;
    if (!(mask >> own & 1)) fail(file, line, "%s with mask 0x%x, which leaves out its own lane %d", what, mask, own);
    Thread& mine = threads[current];
    if (mine.source >= 0 && !(mine.source < lanes && mask >> mine.source & 1))
        fail(file, line, "%s reads lane %d, which does not take part (mask 0x%x)", what, mine.source, mask);
    mine.mask = mask;
    suspend(at_lanes, what, file, line);
    ++n_at_lanes[start / lanes];
    if (all_lanes_met(start, mask)) release_lanes(start, mask);
    give_way(mine.fiber);
}

}  // namespace

extern "C" {

int cuda_cpu_barrier(const char* what, int predicate, const char* file, int line) {
    if (n_arrived == 0) first_arrived = current;
    const Thread& first = threads[first_arrived];
    suspend(at_barrier, what, file, line);
    if (first.line != line || !is_same(first.what, what)) {
        begin_report(current);
        add("divergent barrier: ");
        add_wait(current);
        add(", ");
        add_wait(first_arrived);
    } else {
        barrier_count += predicate;
        if (++n_arrived == n_threads) release_barrier();
    }
    give_way(threads[current].fiber);
    return barrier_result;
}

unsigned cuda_cpu_vote(const char* what, unsigned mask, int predicate, const char* file, int line) {
    threads[current].predicate = predicate;
    threads[current].source = -1;
    meet_lanes(what, mask, file, line);
    return threads[current].ballot;
}

unsigned long long cuda_cpu_shuffle(
    const char* what, unsigned mask, unsigned long long bits, int source, const char* file, int line) {
    if (source < 0) fail(file, line, "%s reads lane %d", what, source);
    threads[current].bits = bits;
    threads[current].source = source;
    meet_lanes(what, mask, file, line);
    return threads[current].result;
}

int cuda_cpu_lane() { return current % lanes; }

unsigned cuda_cpu_started_lanes() {
    unsigned mask = 0;
    const int start = current - current % lanes;
    for (int lane = 0; lane < lanes && start + lane < n_threads; ++lane)
        if (threads[start + lane].state != done) mask |= 1u << lane;
    return mask;
}

void* cuda_cpu_dynamic_shared() { return dynamic_shared; }

void cuda_cpu_fail(const char* text, const char* file, int line) { fail(file, line, "%s", text); }

void cuda_cpu_spin(const char* file, int line) {
    if (++n_spins > most_spins) fail(file, line, "deadlock: atomicCAS fails for ever");
}

}  // extern "C"

namespace {

void report_stall() {
    int waits = 0, missing = -1;
    while (threads[waits].state == done) ++waits;
    const bool barrier = threads[waits].state == at_barrier;
    const unsigned mask = threads[waits].mask;
    for (int i = 0; i < n_threads && missing < 0; ++i) {
        const bool expected = barrier || (i / lanes == waits / lanes && mask >> i % lanes & 1);
        if (expected && i != waits && (threads[i].state == done || threads[i].state != threads[waits].state ||
                                      threads[i].line != threads[waits].line || (!barrier && threads[i].mask != mask)))
            missing = i;
    }
    begin_report(waits);
    const bool divergent = barrier && missing >= 0 && threads[missing].state == done;
    add(divergent ? "divergent barrier: " : "deadlock: ");
    add_wait(waits);
    if (missing >= 0) {
        add(" for ever, ");
        add_wait(missing);
    }
}

void fill_shared() {
#ifdef CUDA_CPU_ASAN
    // Eight bytes at a time, by no function that the sanitizer looks at.
    volatile char* byte = __bss_start;
    for (; byte < _end && (size_t)byte % 8; ++byte) *byte = (char)0xff;
    for (; byte + 8 <= _end; byte += 8) *(volatile unsigned long long*)byte = ~0ull;
    for (; byte < _end; ++byte) *byte = (char)0xff;
#else
    memset(__bss_start, 0xff, (size_t)(_end - __bss_start));
#endif
    if (launch->shared_bytes) memset(dynamic_shared, 0xff, launch->shared_bytes);
}

void run_block() {
    fill_shared();
    n_taken = n_done = n_ready = n_arrived = barrier_count = 0;
    for (int& n : n_at_lanes) n = 0;
    permute_threads();
    for (int i = 0; i < n_threads; ++i) threads[i].state = unstarted;
    while (Fiber* fiber = next_fiber()) scheduler_to_fiber(fiber);
    if (!failed && n_done < n_threads) report_stall();
}

unsigned long long greatest_common_divisor(unsigned long long a, unsigned long long b) {
    while (b) {
        const unsigned long long rest = a % b;
        a = b, b = rest;
    }
    return a;
}

void run_blocks() {
    const dim3 grid = launch->grid;
    const unsigned long long n = (unsigned long long)grid.x * grid.y * grid.z;
    unsigned long long factor = 1, offset = 0;
    if (launch->order == shuffled && n > 1) {
        offset = random_below(n);
        do factor = 1 + random_below(n - 1);
        while (greatest_common_divisor(factor, n) != 1);
    }
    for (unsigned long long i = 0; i < n && !failed; ++i) {
        const unsigned long long straight = launch->order == reverse ? n - 1 - i : i;
        const unsigned long long block = (unsigned long long)(((unsigned __int128)straight * factor + offset) % n);
        blockIdx = {(unsigned)(block % grid.x), (unsigned)(block / grid.x % grid.y), (unsigned)(block / grid.x / grid.y)};
        run_block();
    }
}

void place_threads() {
    const dim3 block = launch->block;
    n_threads = (int)(block.x * block.y * block.z);
    for (int i = 0; i < n_threads; ++i)
        place[i] = {(unsigned)i % block.x, (unsigned)i / block.x % block.y, (unsigned)i / block.x / block.y};
}

}  // namespace

// Runs all blocks; null, or a text that says what went wrong. Sizes have been checked by the caller.
extern "C" __attribute__((visibility("default"))) const char* cuda_cpu_launch(
    const cuda_cpu::Entry* body, const Launch* wanted) {
    entry = body, launch = wanted, failed = false, random_state = wanted->seed;
    gridDim = launch->grid, blockDim = launch->block;
    dynamic_shared = (char*)malloc(launch->shared_bytes);
    place_threads();
    run_blocks();
    free(dynamic_shared);
    if (!failed) return nullptr;
    free_all_fibers();
    return report;
}

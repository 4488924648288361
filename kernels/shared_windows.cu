// Percentiles of windows that overlap, from short sorted runs that they share: each sample is sorted once.
//
// The ends of all windows cut an image into cells, so that each window consists of whole cells. The samples of a cell
// lie behind each other, in runs of 128 that a warp sorts in registers. A window's percentile is then found bit by bit:
// how many samples lie below a value is a binary search in each of its runs.
#include "common.cuh"
#include "key.cuh"

constexpr int THREADS = 256, WARP = 32, WARPS = THREADS / WARP, EACH = 4, RUN = WARP * EACH, COLUMNS = 3, HELD = 4;
constexpr unsigned ALL = 0xffffffffu;

// Samples first <= i < stop along an axis, of those that begin at pixel ``phase``.
struct Span {
    int phase, first, stop;
    __device__ explicit Span(const long long* cell) : phase((int)cell[0]), first((int)cell[1]), stop((int)cell[2]) {}
    __device__ int size() const { return stop - first; }
};

// Lines of pixels along an axis, of which every ``step``-th is sampled. An axis has fewer than 2^31 pixels.
struct Lines {
    int length, step;
    __device__ int from(int phase) const { return (length - phase + step - 1) / step; }
    // Number of samples from each of the first ``phases`` pixels on, all together.
    __device__ int before(int phases) const {
        int sum = 0;
        for (int phase = 0; phase < phases; ++phase) sum += from(phase);
        return sum;
    }
};

// Where the samples of a cell begin among those of an image: phase by phase, then cell by cell.
__device__ inline int64 place_of(Span down, Span across, Lines rows, Lines columns) {
    return (int64)rows.before(down.phase) * columns.length + (int64)rows.from(down.phase) * columns.before(across.phase)
        + (int64)down.first * columns.from(across.phase) + (int64)down.size() * across.first;
}

// Sorts the numbers of a warp, of which lane i holds those from 4 i on.
__device__ inline void sort_warp(unsigned (&keys)[EACH]) {
    const int lane = threadIdx.x % WARP;
#pragma unroll
    for (int size = 2; size <= RUN; size *= 2) {
#pragma unroll
        for (int distance = size / 2; distance; distance /= 2) {
#pragma unroll
            for (int k = 0; k < EACH; ++k) {
                const bool ascends = ((EACH * lane + k) & size) == 0;
                if (distance >= EACH) {
                    const unsigned other = __shfl_xor_sync(ALL, keys[k], distance / EACH);
                    const bool is_lower = (lane & (distance / EACH)) == 0;
                    keys[k] = ascends == is_lower ? min(keys[k], other) : max(keys[k], other);
                } else if ((k & distance) == 0) {
                    const unsigned low = min(keys[k], keys[k | distance]), high = max(keys[k], keys[k | distance]);
                    keys[k] = ascends ? low : high;
                    keys[k | distance] = ascends ? high : low;
                }
            }
        }
    }
}

// A warp takes a cell at a time, and sorts one run after the other.
extern "C" __global__ void __launch_bounds__(THREADS) sort_runs(
    const T* images, long long n_images, long long rows, long long columns, const long long* row_cells,
    long long n_row_cells, long long row_numbers, const long long* column_cells, long long n_column_cells,
    long long column_numbers, T* out, long long out_images, long long out_rows, long long out_columns, long long step) {
    const int lane = threadIdx.x % WARP;
    const Lines down_lines = {(int)rows, (int)step}, across_lines = {(int)columns, (int)step};
    const int64 n_warps = (int64)gridDim.x * WARPS, n_cells = n_images * n_row_cells * n_column_cells;
    for (int64 cell = (int64)blockIdx.x * WARPS + threadIdx.x / WARP; cell < n_cells; cell += n_warps) {
        const int64 image = cell / n_column_cells / n_row_cells;
        const Span down(row_cells + cell / n_column_cells % n_row_cells * COLUMNS);
        const Span across(column_cells + cell % n_column_cells * COLUMNS);
        const int width = across.size(), count = down.size() * width;
        const T* corner = images + (image * rows + down.phase + down.first * step) * columns + across.phase
            + across.first * step;
        T* to = out + image * rows * columns + place_of(down, across, down_lines, across_lines);
        for (int first = 0; first < count; first += RUN) {
            unsigned keys[EACH];
#pragma unroll
            for (int k = 0; k < EACH; ++k) {
                const int i = first + EACH * lane + k;
                keys[k] = i < count ? Key<T>::of(corner[(i / width * columns + i % width) * step]) : ALL;
            }
            sort_warp(keys);
#pragma unroll
            for (int k = 0; k < EACH; ++k) {
                const int i = first + EACH * lane + k;
                if (i < count) to[i] = Key<T>::back(keys[k]);
            }
        }
    }
}

// A sorted run, and how many of its samples lie below the values in question: between ``low`` and ``high``.
struct Run {
    const T* first;
    int low, high;
    // Number of samples below ``key``.
    __device__ int below(unsigned key) const {
        int from = low, to = high;
        while (from < to) {
            const int middle = (from + to) / 2;
            if (Key<T>::of(first[middle]) < key) from = middle + 1;
            else to = middle;
        }
        return from;
    }
};

// The cells of a window and the runs in them, in turn for the lanes of a warp.
struct Window {
    const T* samples;
    const long long *row_cells, *column_cells;
    Lines rows, columns;
    int top, left, across, n_runs, n_cells;

    __device__ int n() const { return n_cells * n_runs; }
    // Run ``number``; an empty one where a cell has fewer.
    __device__ Run run(int number) const {
        if (number >= n()) return {samples, 0, 0};
        const int cell = number / n_runs, skipped = number % n_runs * RUN;
        const Span down(row_cells + (int64)(top + cell / across) * COLUMNS);
        const Span side(column_cells + (int64)(left + cell % across) * COLUMNS);
        const int count = max(0, min(RUN, down.size() * side.size() - skipped));
        return {samples + place_of(down, side, rows, columns) + (count ? skipped : 0), 0, count};
    }
};

__device__ inline unsigned warp_sum(unsigned value) {
#pragma unroll
    for (int distance = WARP / 2; distance; distance /= 2) value += __shfl_xor_sync(ALL, value, distance);
    return value;
}

__device__ inline unsigned warp_min(unsigned value) {
#pragma unroll
    for (int distance = WARP / 2; distance; distance /= 2) value = min(value, __shfl_xor_sync(ALL, value, distance));
    return value;
}

// A warp finds the sample of a rank of one window, from the highest bit on. Of its first runs a lane remembers between
// which samples the value lies.
extern "C" __global__ void __launch_bounds__(THREADS) percentiles_of_runs(
    const T* runs, long long n_images, long long rows, long long columns, const long long* row_cells,
    long long n_row_cells, long long row_numbers, const long long* column_cells, long long n_column_cells,
    long long column_numbers, const long long* row_ranges, long long n_row_ranges, long long row_ends,
    const long long* column_ranges, long long n_column_ranges, long long column_ends, float* out, long long out_images,
    long long out_rows, long long out_columns, long long step, long long n_runs, double fraction) {
    const int lane = threadIdx.x % WARP;
    const unsigned blocks_across = (unsigned)((out_columns + WARPS - 1) / WARPS), row = blockIdx.x / blocks_across;
    const unsigned j = blockIdx.x % blocks_across * WARPS + threadIdx.x / WARP, i = row % (unsigned)out_rows;
    if (j >= out_columns) return;
    const long long *down = row_ranges + 2 * i, *side = column_ranges + 2 * j;
    const Window window = {
        runs + row / (unsigned)out_rows * rows * columns, row_cells, column_cells, {(int)rows, (int)step},
        {(int)columns, (int)step}, (int)down[0], (int)side[0], (int)(side[1] - side[0]), (int)n_runs, (int)((down[1] - down[0]) * (side[1] - side[0]))};
    Run held[HELD];
    unsigned total = 0;
#pragma unroll
    for (int k = 0; k < HELD; ++k) held[k] = window.run(lane + WARP * k), total += held[k].high;
    for (int n = lane + WARP * HELD; n < window.n(); n += WARP) total += window.run(n).high;
    const double at = fraction * (warp_sum(total) - 1);
    const unsigned rank = (unsigned)at;
    const double share = at - rank;

    unsigned key = 0;
    for (int bit = 8 * (int)sizeof(T) - 1; bit >= 0; --bit) {
        const unsigned candidate = key | 1u << bit;
        int places[HELD];
        unsigned below = 0;
#pragma unroll
        for (int k = 0; k < HELD; ++k) places[k] = held[k].below(candidate), below += places[k];
        for (int n = lane + WARP * HELD; n < window.n(); n += WARP) below += window.run(n).below(candidate);
        const bool is_reached = warp_sum(below) <= rank;
        if (is_reached) key = candidate;
#pragma unroll
        for (int k = 0; k < HELD; ++k) {
            held[k].low = is_reached ? places[k] : held[k].low;
            held[k].high = is_reached ? held[k].high : places[k];
        }
    }
    unsigned up_to = 0, next = ALL;  // samples up to the key, and the least above it
    const auto look = [&](const Run& run, int end, int stop) {
        up_to += end;
        if (end < stop) next = min(next, Key<T>::of(run.first[end]));
    };
#pragma unroll
    for (int k = 0; k < HELD; ++k) look(held[k], held[k].high, window.run(lane + WARP * k).high);
    for (int n = lane + WARP * HELD; n < window.n(); n += WARP) {
        const Run run = window.run(n);
        look(run, key == ALL ? run.high : run.below(key + 1), run.high);
    }
    const bool is_last = rank + 1 >= warp_sum(up_to);
    next = warp_min(next);
    if (lane == 0) {
        const double lower = Key<T>::value(key), upper = is_last ? Key<T>::value(next) : lower;
        out[row * out_columns + j] = (float)(share > 0 ? lower + share * (upper - lower) : lower);
    }
}

// The guarded notch down the columns of its grid: running medians, and low and high passes of all levels.
#include "common.cuh"

constexpr int WARP = 32, THREADS = 128, RUN = 32, DOWN = THREADS / WARP * RUN;

// Where sample i of n is stored; mirrored copies continue the samples on both sides.
__device__ inline int mirrored(int i, int n) {
    if (i >= 0 && i < n) return i;
    i %= 2 * n;
    if (i < 0) i += 2 * n;
    return min(i, 2 * n - 1 - i);
}

// Unsigned numbers that sort like the values, and the way back.
__device__ inline unsigned key_of(float value) {
    const unsigned bits = __float_as_uint(value);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}
__device__ inline float value_of(unsigned key) { return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key); }

// One column of a grid, mirrored at its ends.
struct Column {
    const float* values;
    int64 pitch;
    int rows;

    __device__ unsigned key(int row) const { return key_of(values[mirrored(row, rows) * pitch]); }

    // Calls use(key) for the rows from `first` up to `last`.
    template <typename Use> __device__ void for_keys(int first, int last, Use use) const {
        if (first >= 0 && last < rows) {
            const float* at = values + first * pitch;
#pragma unroll 4
            for (int row = first; row <= last; ++row, at += pitch) use(key_of(*at));
        } else {
            for (int row = first; row <= last; ++row) use(key(row));
        }
    }
};

// The median of a window that moves down a column, and how many keys lie below it, and below or at it.
struct Median {
    unsigned key;
    int below, up_to;

    // The key of the middle, bit by bit: the greatest that at most `reach` keys lie below.
    __device__ Median(const Column& column, int row, int reach) : key(0), below(0), up_to(0) {
        for (unsigned bit = 1u << 31; bit; bit >>= 1) {
            int smaller = 0;
            column.for_keys(row - reach, row + reach, [&](unsigned k) { smaller += k < (key | bit); });
            if (smaller <= reach) key |= bit;
        }
        column.for_keys(row - reach, row + reach, [&](unsigned k) { below += k < key, up_to += k <= key; });
    }

    // Moves on to `row`. The new median is the old one or its neighbour in order; complements turn the order round, so
    // that lanes which look for the next greater and for the next smaller key go together.
    __device__ void move(const Column& column, int row, int reach) {
        const unsigned gone = column.key(row - 1 - reach), come = column.key(row + reach);
        below += (come < key) - (gone < key);
        up_to += (come <= key) - (gone <= key);
        if (below <= reach && reach < up_to) return;
        const unsigned turned = below > reach ? 0u : 0xffffffffu;
        unsigned nearest = 0;
        int equal = 0;
        column.for_keys(row - reach, row + reach, [&](unsigned k) {
            k ^= turned;
            if (k >= (key ^ turned) || k < nearest) return;
            equal = k > nearest ? 1 : equal + 1;
            nearest = k;
        });
        key = nearest ^ turned;
        if (turned) {
            below = up_to, up_to += equal;
        } else {
            up_to = below, below -= equal;
        }
    }
};

// A block takes 128 rows of 32 columns, a warp 32 of these rows, a lane one column: reads are coalesced, and values are
// read again from the L1 cache. A lane moves its window down 32 rows, which takes one pass over it or none for a row.
extern "C" __global__ void __launch_bounds__(THREADS) running_medians(
    const float* grid, long long n_frames, long long rows, long long windows, float* out, long long out_frames,
    long long out_rows, long long out_windows, long long reach) {
    const int64 across = (windows + WARP - 1) / WARP, down = (rows + DOWN - 1) / DOWN;
    const int64 window = blockIdx.x % across * WARP + threadIdx.x % WARP, frame = blockIdx.x / across / down;
    const int64 first = blockIdx.x / across % down * DOWN + threadIdx.x / WARP * RUN;
    if (window >= windows || first >= rows) return;
    const Column column = {grid + frame * rows * windows + window, windows, (int)rows};
    float* to = out + (frame * rows + first) * windows + window;
    const int stop = (int)min(first + RUN, (int64)rows);
    Median median(column, (int)first, (int)reach);
    *to = value_of(median.key);
    for (int row = (int)first + 1; row < stop; ++row) {
        median.move(column, row, (int)reach);
        *(to += windows) = value_of(median.key);
    }
}

// All levels of a block's columns: eight of a frame, which fill a sector; 32 threads share a column. A level is read back
// by other threads of the block that wrote it, so its rows stay in the caches.
constexpr int COLUMNS = 8, SHARES = 256 / COLUMNS;

// Rows of the next coarser level.
__device__ inline int halved(int rows, int length) { return (rows + length - 1) / 2; }

extern "C" __global__ void __launch_bounds__(256) analyse_columns(
    const float* grid, long long n_frames, long long n_rows, long long windows, const float* weights,
    long long weight_frames, long long weight_rows, long long weight_windows, const float* taps, long long n_filters,
    long long n_taps, float* lows, long long low_frames, long long low_rows, long long low_windows, float* least,
    long long least_frames, long long least_rows, long long least_windows, float* out, long long out_frames,
    long long n, long long out_windows) {
    const int64 across = (windows + COLUMNS - 1) / COLUMNS, frame = blockIdx.x / across;
    const int64 window = blockIdx.x % across * COLUMNS + threadIdx.x % COLUMNS;
    const int length = (int)n_taps;
    const float *from = grid + frame * n_rows * windows + window, *heavy = weights + frame * n_rows * windows + window;
    int rows = (int)n_rows, next;
    for (int64 at = 0; at < n; at += next, rows = next) {
        next = halved(rows, length);
        const int64 begin = (frame * n + at) * windows + window;
        if (window < windows) {
            for (int row = threadIdx.x / COLUMNS; row < next; row += SHARES) {
                const int place = 2 * row + 1, middle = place - length / 2;
                float low = 0.0f, high = 0.0f, weight = heavy[min(max(middle - 1, 0), rows - 1) * windows];
#pragma unroll 4
                for (int m = 0; m < length; ++m) {
                    const float value = from[mirrored(place - m, rows) * windows];
                    low += taps[m] * value, high += taps[length + m] * value;
                }
#pragma unroll
                for (int step = 0; step < 3; ++step) {
                    weight = fminf(weight, heavy[min(max(middle + step, 0), rows - 1) * windows]);
                }
                const int64 to = begin + row * windows;
                lows[to] = low, out[to] = high, least[to] = weight;
            }
        }
        __syncthreads();
        from = lows + begin, heavy = least + begin;
    }
}

// A block takes 32 columns of a frame. Two warps find the medians at both ends, then all copy rows.
extern "C" __global__ void __launch_bounds__(THREADS) continued(
    const float* grid, long long n_frames, long long rows, long long windows, float* out, long long out_frames,
    long long out_rows, long long out_windows, long long reach) {
    __shared__ float medians[2][WARP];
    const int64 across = (windows + WARP - 1) / WARP, frame = blockIdx.x / across;
    const int64 window = blockIdx.x % across * WARP + threadIdx.x % WARP;
    const int warp = threadIdx.x / WARP, half = (int)min(reach / 4, (rows - 1) / 2), edge = 2 * half;
    const float* values = grid + frame * rows * windows + window;
    float* to = out + frame * out_rows * windows + window;
    if (window < windows && warp < 2) {
        const Column column = {values, windows, (int)rows};
        medians[warp][threadIdx.x % WARP] = value_of(Median(column, warp ? (int)rows - 1 - half : half, half).key);
    }
    __syncthreads();
    if (window >= windows) return;
    for (int64 row = warp; row < out_rows; row += THREADS / WARP) {
        // How far the row lies beyond an end, from 0 on; negative inside.
        const int64 above = reach - 1 - row, below = row - reach - rows;
        float value;
        if (above < 0 && below < 0) {
            value = values[(row - reach) * windows];
        } else {
            const int64 source = min(edge + 1 + max(above, below), rows - 1);
            const int end = above < 0;
            value = 2.0f * medians[end][threadIdx.x % WARP] - values[(end ? rows - 1 - source : source) * windows];
        }
        to[row * windows] = value;
    }
}

// A block takes eight columns of a frame; 32 threads share a column.
extern "C" __global__ void __launch_bounds__(256) less_medians(
    const float* grid, long long n_frames, long long rows, long long windows, float* out, long long out_frames,
    long long out_rows, long long out_windows) {
    __shared__ int counts[COLUMNS];
    const int64 across = (windows + COLUMNS - 1) / COLUMNS, frame = blockIdx.x / across;
    const int mine = threadIdx.x % COLUMNS;
    const int64 window = blockIdx.x % across * COLUMNS + mine;
    const bool is_there = window < windows;
    const float* column = grid + frame * rows * windows + window;
    // The two values in the middle, one for odd numbers of rows: bit by bit the greatest key that few enough lie below.
    unsigned middle[2] = {0, 0};
    for (int which = 0; which < 2; ++which) {
        const int rank = (int)((which ? rows : rows - 1) / 2);
        for (unsigned bit = 1u << 31; bit; bit >>= 1) {
            if (threadIdx.x < COLUMNS) counts[threadIdx.x] = 0;
            __syncthreads();
            const unsigned key = middle[which] | bit;
            int smaller = 0;
            if (is_there) {
#pragma unroll 4
                for (int64 row = threadIdx.x / COLUMNS; row < rows; row += SHARES) {
                    smaller += key_of(column[row * windows]) < key;
                }
                atomicAdd(counts + mine, smaller);
            }
            __syncthreads();
            if (counts[mine] <= rank) middle[which] = key;
            __syncthreads();
        }
    }
    if (!is_there) return;
    const float low = value_of(middle[0]), median = rows % 2 ? low : (low + value_of(middle[1])) * 0.5f;
    float* to = out + frame * rows * windows + window;
    for (int64 row = threadIdx.x / COLUMNS; row < rows; row += SHARES) to[row * windows] = column[row * windows] - median;
}

// As analyse_columns, from the coarsest level on, which has no low pass.
extern "C" __global__ void __launch_bounds__(256) synthesise_columns(
    const float* details, long long n_frames, long long n, long long windows, const float* taps, long long n_filters,
    long long n_taps, float* lows, long long low_frames, long long low_rows, long long low_windows, float* out,
    long long out_frames, long long out_rows, long long out_windows) {
    const int64 across = (windows + COLUMNS - 1) / COLUMNS, frame = blockIdx.x / across;
    const int64 window = blockIdx.x % across * COLUMNS + threadIdx.x % COLUMNS;
    const int length = (int)n_taps;
    int levels = 0;
    for (int64 at = 0, rows = out_rows; at < n; ++levels) rows = halved((int)rows, length), at += rows;
    for (int level = levels - 1; level >= 0; --level) {
        // The rows of the finer level, and where it and this one begin.
        int rows = (int)out_rows;
        int64 finer = 0, begin = 0;
        for (int k = 0; k < level; ++k) finer = begin, rows = halved(rows, length), begin += rows;
        float* to = level ? lows + (frame * n + finer) * windows : out + frame * out_rows * windows;
        const int64 here = (frame * n + begin) * windows + window;
        if (window < windows) {
            for (int row = threadIdx.x / COLUMNS; row < rows; row += SHARES) {
                const float *c = lows + here + row / 2 * windows, *d = details + here + row / 2 * windows;
                const float* filter = taps + length - 2 + row % 2;
                float sum = 0.0f;
#pragma unroll 4
                for (int t = 0; t < length / 2; ++t, c += windows, d += windows, filter -= 2) {
                    if (level < levels - 1) sum += filter[0] * *c;
                    sum += filter[length] * *d;
                }
                to[row * windows + window] = sum;
            }
        }
        __syncthreads();
    }
}

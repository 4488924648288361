// Light-sheet destriping: percentiles of windows, and frames less what these say of light and stripes.
#include "common.cuh"
#include "key.cuh"

constexpr int THREADS = 256, WARP = 32, WARPS = THREADS / WARP;

// A thread's samples of a window: every 256th, row after row.
struct Samples {
    const T* first;
    int count, column, width;   // count of this thread's samples, column and number of columns of samples
    int across;                 // columns from one sample to the next
    int64 jump, wrap;           // elements to the next sample, and from beyond the end of a row to the next row

    __device__ Samples(const T* corner, int64 columns, int64 height, int64 width_, int64 step) {
        const int64 total = height * width_;
        width = (int)width_;
        count = threadIdx.x < total ? (int)((total - 1 - threadIdx.x) / THREADS) + 1 : 0;
        column = threadIdx.x % width;
        across = THREADS % width;
        first = corner + threadIdx.x / width * step * columns + column * step;
        jump = THREADS / width * step * columns + across * step;
        wrap = step * (columns - width);
    }

    // Calls use(key) for all of the thread's samples; four reads overlap.
    template <typename Use> __device__ void for_keys(Use use) const {
        constexpr int batch = 4;
        const T* at = first;
        int place = column;
        for (int left = count; left > 0; left -= batch) {
            T values[batch] = {};
#pragma unroll
            for (int k = 0; k < batch; ++k) {
                if (k < left) values[k] = *at;
                at += jump, place += across;
                if (place >= width) place -= width, at += wrap;
            }
#pragma unroll
            for (int k = 0; k < batch; ++k) {
                if (k < left) use(Key<T>::of(values[k]));
            }
        }
    }
};

constexpr int DIGITS = 256, COPY_BITS = 4, MANY_SAMPLES = 1024;

// Number of samples with this thread's digit, over all copies; threads read the copies in turns, from different banks.
__device__ inline unsigned digit_count(const unsigned* counters, int copy_bits) {
    const unsigned mine = threadIdx.x << copy_bits, turn = threadIdx.x >> (5 - copy_bits), copies = 1u << copy_bits;
    unsigned sum = 0;
    for (unsigned copy = 0; copy < copies; ++copy) sum += counters[mine + (copy + turn) % copies];
    return sum;
}

// Sum of value over the threads before this one. Synchronises the block.
__device__ inline unsigned sum_before(unsigned value, unsigned* warp_sums) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    unsigned sum = value;
    for (int distance = 1; distance < WARP; distance *= 2) {
        const unsigned other = __shfl_up_sync(0xffffffffu, sum, distance);
        if (lane >= distance) sum += other;
    }
    if (lane == WARP - 1) warp_sums[warp] = sum;
    __syncthreads();
    unsigned before = sum - value;
    for (int w = 0; w < warp; ++w) before += warp_sums[w];
    return before;
}

// The least key above a given key. All threads of a block call it; *shared must be 0xffffffff before.
__device__ inline unsigned least_above(const Samples& samples, unsigned key, unsigned* shared) {
    unsigned least = 0xffffffffu;
    samples.for_keys([&](unsigned sample) { least = sample > key ? min(least, sample) : least; });
    for (int distance = WARP / 2; distance; distance /= 2) {
        least = min(least, __shfl_xor_sync(0xffffffffu, least, distance));
    }
    if (threadIdx.x % WARP == 0) atomicMin(shared, least);
    __syncthreads();
    return *shared;
}

// A block takes one window and finds the sample of a rank by its digits of 8 bits, the highest first: one pass over the
// window for each byte of T. Windows overlap, so that passes mostly read the caches. Many samples often share their
// highest digit. For many samples a block keeps 16 copies of the counters: at most two threads of a warp meet in a
// bank.
extern "C" __global__ void __launch_bounds__(THREADS) window_percentiles(
    const T* images, long long n_images, long long rows, long long columns, const long long* row_starts,
    long long n_row_starts, const long long* row_stops, long long n_row_stops, const long long* column_starts,
    long long n_column_starts, const long long* column_stops, long long n_column_stops, float* out,
    long long out_images, long long out_rows, long long out_columns, long long step, double fraction) {
    __shared__ unsigned counters[DIGITS << COPY_BITS], warp_sums[WARPS], above;
    __shared__ struct { unsigned digit, rank, count; } chosen;
    const int64 j = blockIdx.x % out_columns, i = blockIdx.x / out_columns % out_rows;
    const int64 top = blockIdx.x / out_columns / out_rows * rows + row_starts[i], left = column_starts[j];
    const int64 height = (row_stops[i] - row_starts[i] + step - 1) / step;
    const int64 width = (column_stops[j] - left + step - 1) / step;
    const Samples samples(images + top * columns + left, columns, height, width, step);
    const double at = fraction * (height * width - 1);
    const int copy_bits = height * width < MANY_SAMPLES ? 0 : COPY_BITS;
    const unsigned copy = threadIdx.x % (1 << copy_bits);

    unsigned key = 0, rank = (unsigned)at, equal = 0;  // digits known; rank among samples with them, their number
    const double share = at - rank;
    if (threadIdx.x == 0) above = 0xffffffffu;
    for (int shift = 8 * (int)sizeof(T) - 8; shift >= 0; shift -= 8) {
        for (int n = threadIdx.x; n < DIGITS << copy_bits; n += THREADS) counters[n] = 0;
        __syncthreads();
        samples.for_keys([&](unsigned sample) {
            const unsigned digits = sample >> shift;
            if (digits >> 8 == key) atomicAdd(&counters[digits % DIGITS << copy_bits | copy], 1u);
        });
        __syncthreads();
        const unsigned mine = digit_count(counters, copy_bits), before = sum_before(mine, warp_sums);
        if (before <= rank && rank < before + mine) chosen = {threadIdx.x, rank - before, mine};
        __syncthreads();
        key = key << 8 | chosen.digit, rank = chosen.rank, equal = chosen.count;
    }
    unsigned next = key;
    if (share > 0 && rank + 1 >= equal) next = least_above(samples, key, &above);  // all threads or none
    if (threadIdx.x == 0) {
        const double lower = Key<T>::value(key);
        out[blockIdx.x] = (float)(share > 0 ? lower + share * (Key<T>::value(next) - lower) : lower);
    }
}

// A pixel's place between the samples of a grid stretched over an axis, corners on corners: offsets of the two samples
// from the first sample, and their shares. A grid has fewer than 2^32 samples.
struct __align__(16) Place {
    unsigned lower, upper;
    float of_lower, of_upper;
};

__device__ inline Place place_of(int64 pixel, int64 length, int64 count, int64 gap) {
    const int64 step = max((int64)1, length - 1), at = pixel * (count - 1), lower = at / step, rest = at % step;
    const float share = (float)rest / (float)step;
    const unsigned near = (unsigned)(lower * gap), far = (unsigned)(min(lower + 1, count - 1) * gap);
    return {near, far, (float)(step - rest) / (float)step, share};
}

// One column of a stretched grid.
struct Column {
    const float* grid;
    unsigned left, right, held;
    float of_left, of_right, lower, upper;

    __device__ Column(const float* grid_, const Place& across, float factor)
        : grid(grid_), left(across.lower), right(across.upper), held(0xffffffffu), of_left(across.of_lower * factor),
          of_right(across.of_upper * factor), lower(0), upper(0) {}
    __device__ float blended(unsigned row) const {
        return fmaf(of_left, grid[left + row], of_right * grid[right + row]);
    }
    __device__ float value(const Place& down) const {
        return fmaf(down.of_lower, blended(down.lower), down.of_upper * blended(down.upper));
    }
    // The value at the next pixel down the column; values blended along the row stay until the row of samples changes.
    __device__ float next_value(const Place& down) {
        if (down.lower != held) {
            lower = blended(down.lower), upper = blended(down.upper);
            held = down.lower;
        }
        return fmaf(down.of_lower, lower, down.of_upper * upper);
    }
};

constexpr int BAND = 32, BATCH = 4;

// A block takes 32 rows of 256 columns, a thread one column, so that reads and writes are coalesced. Places along the
// row are computed once for 32 pixels, places along the column once for 256. The line has many rows: four pixels and
// their samples of the line are read at a time. The background has few rows: its samples are read when their row
// changes.
extern "C" __global__ void __launch_bounds__(THREADS) subtract_stripes(
    const T* images, long long n_images, long long rows, long long columns, const float* line, long long line_images,
    long long line_rows, long long line_columns, const float* background, long long background_images,
    long long background_rows, long long background_columns, float* out, long long out_images, long long out_rows,
    long long out_columns, double weight) {
    __shared__ Place line_down[BAND], background_down[BAND];
    const int64 blocks_across = (columns + THREADS - 1) / THREADS, bands = (rows + BAND - 1) / BAND;
    const int64 first = blockIdx.x / blocks_across % bands * BAND, image = blockIdx.x / blocks_across / bands;
    const int height = (int)min((int64)BAND, rows - first);
    if (threadIdx.x < 2 * BAND) {
        const int row = threadIdx.x % BAND;
        const bool is_line = threadIdx.x < BAND;
        const int64 count = is_line ? line_rows : background_rows, gap = is_line ? line_columns : background_columns;
        (is_line ? line_down : background_down)[row] = place_of(min(first + row, (int64)rows - 1), rows, count, gap);
    }
    __syncthreads();
    const int64 x = blockIdx.x % blocks_across * THREADS + threadIdx.x;
    if (x >= columns) return;

    Column along(line + image * line_rows * line_columns, place_of(x, columns, line_columns, 1), 1.0f);
    Column behind(
        background + image * background_rows * background_columns, place_of(x, columns, background_columns, 1),
        (float)weight);
    const T* from = images + (image * rows + first) * columns + x;
    float* to = out + (image * rows + first) * columns + x;
    for (int start = 0; start < height; start += BATCH) {
        float counts[BATCH], stripes[BATCH];
#pragma unroll
        for (int k = 0; k < BATCH; ++k, from += columns) {
            counts[k] = start + k < height ? (float)*from : 0.0f;
            stripes[k] = along.value(line_down[start + k]);
        }
#pragma unroll
        for (int k = 0; k < BATCH; ++k, to += columns) {
            const float stripe = fminf(stripes[k], behind.next_value(background_down[start + k]));
            if (start + k < height) *to = counts[k] - fminf(stripe, counts[k]);
        }
    }
}

// The guarded notch between frames and its grid of windows: means of dark pixels, and gains put back on frames.
#include "common.cuh"

// T is the type of images, O that of their counts.
constexpr int WARP = 32, THREADS = 256, WARPS = THREADS / WARP, BAND = 32, BATCH = 4;
constexpr float MOST_FLOAT = 3.402823466e38f;

// The lanes' values in ascending order, by bitonic sorting: 15 exchanges between lanes.
__device__ inline float sorted(float value, int lane) {
#pragma unroll
    for (int size = 2; size <= WARP; size *= 2) {
#pragma unroll
        for (int distance = size / 2; distance; distance /= 2) {
            const float other = __shfl_xor_sync(0xffffffffu, value, distance);
            const bool keeps_less = !(lane & distance) == !(lane & size);
            value = keeps_less ? fminf(value, other) : fmaxf(value, other);
        }
    }
    return value;
}

// A warp takes a window, a lane one pixel of it; a block takes eight windows of a row. Pixels that do not count are
// sorted to the end.
extern "C" __global__ void __launch_bounds__(THREADS) window_means(
    const T* images, long long n_images, long long rows, long long columns, const long long* starts,
    long long n_starts, int* counts, long long count_images, long long count_rows, long long count_windows,
    float* out, long long out_images, long long out_rows, long long windows) {
    const int lane = threadIdx.x % WARP;
    const int64 across = (windows + WARPS - 1) / WARPS, row = blockIdx.x / across;
    const int64 window = blockIdx.x % across * WARPS + threadIdx.x / WARP;
    if (window >= windows) return;
    const float pixel = lane < columns ? (float)images[row * columns + starts[window] + lane] : 0.0f;
    const int count = __popc(__ballot_sync(0xffffffffu, pixel != 0.0f));
    const float ordered = sorted(pixel != 0.0f ? pixel : MOST_FLOAT, lane);
    const int first = count / 20, last = min(count, max((2 * count + 4) / 5, first + 1));
    float sum = first <= lane && lane < last ? ordered : 0.0f;
#pragma unroll
    for (int distance = WARP / 2; distance; distance /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    if (lane == 0) {
        counts[row * windows + window] = count;
        out[row * windows + window] = sum / (float)max(1, last - first);
    }
}

// The sum of a value of each of the block's 1024 threads.
__device__ inline double summed(double value, double* shares) {
#pragma unroll
    for (int distance = WARP / 2; distance; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    __syncthreads();
    if (threadIdx.x % WARP == 0) shares[threadIdx.x / WARP] = value;
    __syncthreads();
    double total = 0.0;
    for (int warp = 0; warp < 1024 / WARP; ++warp) total += shares[warp];
    return total;
}

// The light of a frame's windows, 0 or more; those with few pixels are padding.
struct Windows {
    const float* means;
    const int* counts;
    int64 rows, columns;
    float offset;
    double least;

    __device__ float light(int64 i) const { return fmaxf(means[i] - offset, 0.0f); }
    __device__ bool is_empty(int64 i) const { return (double)counts[i] < least; }
};

// Of two places with data on either side, the nearer one; beyond an end there is none.
__device__ inline int64 nearer(int64 place, int64 before, int64 after, int64 length) {
    const int64 low = before >= 0 ? before : -2 * length, high = after < length ? after : 2 * length;
    return min(max(place - low <= high - place ? low : high, (int64)0), length - 1);
}

// Fills padding down each column: a thread goes down to note what lies before, and up. Without data the column is left
// to the next ones of its rows. `out` has the light; all threads of the block call this function.
__device__ inline void fill(const Windows& at, float* out, unsigned* with_data) {
    for (int word = threadIdx.x; word < 1024 / WARP; word += 1024) with_data[word] = 0;
    __syncthreads();
    for (int64 column = threadIdx.x; column < at.columns; column += 1024) {
        int64 before = -1, after = at.rows;
        for (int64 row = 0; row < at.rows; ++row) {
            if (!at.is_empty(row * at.columns + column)) before = row;
            out[row * at.columns + column] = (float)before;
        }
        if (before >= 0) atomicOr(with_data + column / WARP, 1u << column % WARP);
        for (int64 row = at.rows - 1; row >= 0; --row) {
            if (!at.is_empty(row * at.columns + column)) after = row;
            const int64 source = nearer(row, (int64)out[row * at.columns + column], after, at.rows);
            out[row * at.columns + column] = at.light(source * at.columns + column);
        }
    }
    __syncthreads();
    for (int64 i = threadIdx.x; i < at.rows * at.columns; i += 1024) {
        const int64 column = i % at.columns, row = i / at.columns;
        const auto has_data = [&](int64 c) { return with_data[c / WARP] >> c % WARP & 1; };
        if (has_data(column)) continue;
        int64 before = column, after = column;
        while (before >= 0 && !has_data(before)) --before;
        while (after < at.columns && !has_data(after)) ++after;
        const int64 source = nearer(column, before, after, at.columns);
        // Of the columns that are read none is written, but where none has data: then they keep what they have.
        if (source != column) out[i] = out[row * at.columns + source];
    }
    __syncthreads();
}

// A block takes a frame's windows, which are few beside its pixels: for the light, its mean, and to write.
extern "C" __global__ void __launch_bounds__(1024) grid_logarithm(
    const float* means, long long n_frames, long long rows, long long windows, const int* counts,
    long long count_frames, long long count_rows, long long count_windows, float* weights, long long weight_frames,
    long long weight_rows, long long weight_windows, float* out, long long out_frames, long long out_rows,
    long long out_windows, double dark, double least) {
    __shared__ double shares[1024 / WARP];
    __shared__ unsigned with_data[1024 / WARP];
    constexpr float DARK = 0.1f, FLOOR = 0.01f, FLOOR_COUNTS = 1.0f, LEAST_WEIGHT = 1e-6f;
    const int64 size = rows * windows, first = blockIdx.x * size;
    const Windows at = {means + first, counts + first, rows, windows, (float)dark, least};
    out += first, weights += first;
    int has_empty = 0;
    for (int64 i = threadIdx.x; i < size; i += 1024) {
        out[i] = at.light(i);
        has_empty |= at.is_empty(i);
    }
    if (__syncthreads_or(has_empty)) fill(at, out, with_data);
    double sum = 0.0, squares = 0.0;
    for (int64 i = threadIdx.x; i < size; i += 1024) {
        const double light = out[i];
        sum += light, squares += light * light;
    }
    sum = summed(sum, shares), squares = summed(squares, shares);
    const float tissue = (float)(squares / fmax(sum, 1e-9));
    const float dim = fmaxf(DARK * tissue, FLOOR_COUNTS), floor = fmaxf(FLOOR * tissue, FLOOR_COUNTS);
    for (int64 i = threadIdx.x; i < size; i += 1024) {
        const float light = out[i], share = fminf(light / dim, 1.0f);
        weights[i] = fmaxf(at.is_empty(i) ? 0.0f : share * share, LEAST_WEIGHT);
        out[i] = logf(light + floor);
    }
}

// A block takes 32 rows of 256 columns, a thread one column, so that reads and writes are coalesced and a column's
// place is read once. Four pixels and their gains are read at a time. The same tiles of all
// frames follow each other, so that the flat field's gain comes from the cache for all but the first.
extern "C" __global__ void __launch_bounds__(THREADS) apply_gains(
    const T* images, long long n_images, long long rows, long long columns, const float* gains,
    long long gain_images, long long gain_rows, long long windows, const float* places, long long n_places,
    const float* full_scale, long long n_full_scale, const float* flat_gain, long long flat_rows,
    long long flat_columns, O* out, long long out_images, long long out_rows, long long out_columns, double dark,
    long long truncate) {
    const int64 across = (columns + THREADS - 1) / THREADS;
    const int64 image = blockIdx.x % n_images, tile = blockIdx.x / n_images;
    const int64 first = tile / across * BAND, x = tile % across * THREADS + threadIdx.x;
    if (x >= columns) return;
    const int height = (int)min((int64)BAND, rows - first), next = windows > 1;
    const int left = max(0, min((int)places[x], (int)windows - 2));
    const float share = places[x] - (float)left, offset = (float)dark;
    const float saturated = full_scale[image], most = saturated - offset;
    const float* gain = gains + (image * rows + first) * windows + left;
    const T* from = images + (image * rows + first) * columns + x;
    O* to = out + (image * rows + first) * columns + x;
    const int64 flat_pitch = flat_rows > 1 ? flat_columns : 0;
    const float* flat = flat_gain + first * flat_pitch + (flat_columns > 1 ? x : 0);
    for (int start = 0; start < height; start += BATCH) {
        float counts[BATCH] = {}, lower[BATCH] = {}, upper[BATCH] = {};
#pragma unroll
        for (int k = 0; k < BATCH; ++k, from += columns, gain += windows) {
            if (start + k < height) counts[k] = (float)*from, lower[k] = gain[0], upper[k] = gain[next];
        }
#pragma unroll
        for (int k = 0; k < BATCH; ++k, to += columns, flat += flat_pitch) {
            float value = ((upper[k] - lower[k]) * share + lower[k]) * (counts[k] - offset);
            if (saturated <= MOST_FLOAT) value = counts[k] >= saturated ? most : fminf(value, most);
            value = counts[k] == 0.0f ? 0.0f : value;
            if (start + k < height) *to = to_counts<O>(value * *flat, truncate);
        }
    }
}

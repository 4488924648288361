// The last step of wavelet destriping: stripes taken off the counts, in one band or in two that are blended.
#include "dwt.cuh"

// A block of 256 threads restores 32 x 64 pixels; dwt.cuh gives each thread the stripes to remove from its eight
// pixels. To blend two bands, the block first smooths the share of the foreground, from a tile with four more pixels on
// every side. The coefficients then replace that tile in shared memory. The same tiles of all frames follow each other,
// so that the gain of the flat field is read once. T is the type of images, O that of the counts made of them.
constexpr int REACH = 4, TAPS = 2 * REACH + 1;
constexpr int WIDE_ROWS = TILE_ROWS + 2 * REACH, WIDE_COLUMNS = TILE_COLUMNS + 2 * REACH;
constexpr int SMOOTHED_AT_ONCE = 8;
constexpr float MOST_FLOAT = 3.402823466e38f;

static_assert(WIDE_ROWS * WIDE_COLUMNS >= TILE_ROWS * DOUBLED_PITCH, "the coefficients need more room than the tile");

// This block's tile: a tile of every frame, then the next one.
__device__ inline Tile tile_of_all_frames(int64 n_frames, int64 columns) {
    const int64 across = (columns + TILE_COLUMNS - 1) / TILE_COLUMNS, place = blockIdx.x / n_frames;
    return {(int64)blockIdx.x % n_frames, (int)(place / across) * TILE_ROWS, (int)(place % across) * TILE_COLUMNS};
}

// Limits that clip counts; limits of +-MOST_FLOAT leave counts unchanged.
struct Limits {
    float least, most;

    __device__ float of(float count) const { return fminf(fmaxf(count, least), most); }
};

// One image (rows, columns) and this thread's eight pixels of it.
struct Pixels {
    const T* image;
    int rows, columns, row, column;

    __device__ Pixels(const T* images, int64 n_rows, int64 n_columns, Tile tile)
        : image(images + tile.frame * n_rows * n_columns), rows((int)n_rows), columns((int)n_columns),
          row(tile.row + threadIdx.x / 32 * AT_ONCE), column(tile.column + threadIdx.x % 32 * 2) {}

    // The two pixels of row q; 0 beyond the image.
    __device__ float2 pair(int q) const {
        if (row + q >= rows || column >= columns) return make_float2(0.0f, 0.0f);
        const T* at = image + (int64)(row + q) * columns + column;
        return make_float2((float)at[0], column + 1 < columns ? (float)at[1] : 0.0f);
    }
};

// What is made of restored light: the ends of the range as they were, less the offset, times the gain of the flat.
struct Finish {
    double full_scale;
    bool keeps_ends, truncate;
    float dark;
    FlatGain flat;
    O* out;

    // Of one pixel in row y and column x; it is compared as a T, as float32 does not hold all of a uint32.
    __device__ O of(const T* pixel, float light, int y, int x) const {
        if (keeps_ends) {
            const T count = *pixel;
            light = count <= (T)0 ? 0.0f : light;
            if (full_scale < 1.0 / 0.0)
                light = (double)count == full_scale ? (float)full_scale : fminf(light, (float)full_scale);
        }
        return to_counts<O>((light - dark) * flat.of(y, x), truncate);
    }
    // Of the two pixels of row q.
    __device__ void store(Pixels pixels, int q, float2 light) const {
        const int y = pixels.row + q, x = pixels.column;
        if (y >= pixels.rows || x >= pixels.columns) return;
        const int64 at = (int64)y * pixels.columns + x;
        const bool both = x + 1 < pixels.columns;
        struct alignas(2 * sizeof(O)) Pair { O first, second; };
        Pair pair;
        pair.first = of(pixels.image + at, light.x, y, x);
        if (both) pair.second = of(pixels.image + at + 1, light.y, y, x + 1);
        if (both && (unsigned long long)(out + at) % sizeof(Pair) == 0) {
            *(Pair*)(out + at) = pair;
        } else {
            out[at] = pair.first;
            if (both) out[at + 1] = pair.second;
        }
    }
};

// Coefficients (rows, 2, columns) of one frame; without rows nothing is removed.
struct Coefficients {
    const float* values;
    int rows, columns;

    __device__ Coefficients(const float* all, int64 n_rows, int64 n_columns, Tile tile)
        : values(all + tile.frame * n_rows * 2 * n_columns), rows((int)n_rows), columns((int)n_columns) {}
};

// (1 + I) exp(d) - 1 of this thread's clipped pixels I. All threads of the block call this function.
__device__ inline void restore(
    Pixels pixels, Limits limits, Coefficients removed, const float4* weights, int steps, Tile tile, float* doubled,
    float2* restored) {
    if (removed.rows) {
        double_rows(removed.values, removed.rows, removed.columns, weights, steps, tile.row, tile.column, doubled);
        __syncthreads();
        double_columns(doubled, weights, steps, restored);
    }
#pragma unroll
    for (int q = 0; q < AT_ONCE; ++q) {
        float2 counts = pixels.pair(q);
        counts.x = limits.of(counts.x), counts.y = limits.of(counts.y);
        if (removed.rows) {
            counts.x = (counts.x + 1.0f) * expf(restored[q].x) - 1.0f;
            counts.y = (counts.y + 1.0f) * expf(restored[q].y) - 1.0f;
        }
        restored[q] = counts;
    }
}

// tanh((I - t) / (2 crossover)) of the tile and of the pixels around the tile; t is the threshold.
__device__ inline void load_wide(Pixels pixels, Tile tile, float threshold, float scale, float* wide) {
    const int even_rows = pixels.rows + pixels.rows % 2, even_columns = pixels.columns + pixels.columns % 2;
    for (int item = threadIdx.x; item < WIDE_ROWS * WIDE_COLUMNS; item += TILE_THREADS) {
        const int row = mirrored(tile.row - REACH + item / WIDE_COLUMNS, even_rows, pixels.rows);
        const int column = mirrored(tile.column - REACH + item % WIDE_COLUMNS, even_columns, pixels.columns);
        const float count = (float)pixels.image[(int64)row * pixels.columns + column];
        wide[item] = tanhf((count - threshold) * scale);
    }
}

// Smooths down the columns, eight rows of a column at a time.
__device__ inline void smooth_columns(const float* wide, const float* smoothing, float* smooth) {
    for (int item = threadIdx.x; item < WIDE_COLUMNS * (TILE_ROWS / SMOOTHED_AT_ONCE); item += TILE_THREADS) {
        const int start = item / WIDE_COLUMNS * SMOOTHED_AT_ONCE * WIDE_COLUMNS + item % WIDE_COLUMNS;
        float sums[SMOOTHED_AT_ONCE] = {};
#pragma unroll
        for (int i = 0; i < SMOOTHED_AT_ONCE + 2 * REACH; ++i) {
            const float value = wide[start + i * WIDE_COLUMNS];
#pragma unroll
            for (int q = 0; q < SMOOTHED_AT_ONCE; ++q) {
                if (i >= q && i < q + TAPS) sums[q] = fmaf(smoothing[i - q], value, sums[q]);
            }
        }
#pragma unroll
        for (int q = 0; q < SMOOTHED_AT_ONCE; ++q) smooth[start + q * WIDE_COLUMNS] = sums[q];
    }
}

// Smooths along the rows, in place: only one warp reads a row. The result is the share of the foreground at this
// thread's pixels. The logistic function of z is (1 + tanh(z / 2)) / 2.
__device__ inline void smooth_rows(float* smooth, const float* smoothing) {
    float* at = smooth + threadIdx.x / 32 * AT_ONCE * WIDE_COLUMNS + threadIdx.x % 32 * 2;
#pragma unroll
    for (int q = 0; q < AT_ONCE; ++q) {
        const float2* pairs = (float2*)(at + q * WIDE_COLUMNS);
        float values[TAPS + 1];
#pragma unroll
        for (int i = 0; i <= REACH; ++i) values[2 * i] = pairs[i].x, values[2 * i + 1] = pairs[i].y;
        float2 sum = make_float2(0.0f, 0.0f);
#pragma unroll
        for (int k = 0; k < TAPS; ++k) {
            sum.x = fmaf(smoothing[k], values[k], sum.x);
            sum.y = fmaf(smoothing[k], values[k + 1], sum.y);
        }
        __syncwarp();
        *(float2*)(at + q * WIDE_COLUMNS) = make_float2(sum.x * 0.5f + 0.5f, sum.y * 0.5f + 0.5f);
    }
}

extern "C" __global__ void __launch_bounds__(256) restore_band(
    const T* images, long long n_images, long long image_rows, long long image_columns,
    const float* limits, long long n_limits, long long n_ends,
    const float* coefficients, long long n_removed, long long coefficient_rows, long long n_subbands,
    long long coefficient_columns,
    const float* taps, long long n_filters, long long length,
    const double* full_scale, long long n_scales, const float* flat_gain, long long flat_rows, long long flat_columns,
    O* out, long long n_frames, long long rows, long long columns, double dark, long long truncate) {
    __shared__ float doubled[TILE_ROWS * DOUBLED_PITCH];
    __shared__ float4 weights[HALF_TAPS];
    const Tile tile = tile_of_all_frames(n_frames, columns);
    const Pixels pixels(images, rows, columns, tile);
    const Coefficients removed(coefficients, coefficient_rows, coefficient_columns, tile);
    const Limits clipped = {limits[2 * tile.frame], limits[2 * tile.frame + 1]};
    load_synthesis(taps, (int)length, weights);
    __syncthreads();
    float2 restored[AT_ONCE];
    restore(pixels, clipped, removed, weights, (int)length / 2, tile, doubled, restored);
    const Finish finish = {
        n_scales ? full_scale[tile.frame] : 0.0, n_scales > 0, truncate != 0, (float)dark,
        {flat_gain, flat_rows > 1 ? flat_columns : 0, flat_columns > 1}, out + tile.frame * rows * columns};
#pragma unroll
    for (int q = 0; q < AT_ONCE; ++q) finish.store(pixels, q, restored[q]);
}

extern "C" __global__ void __launch_bounds__(256, 4) blend_bands(
    const T* images, long long n_images, long long image_rows, long long image_columns,
    const float* thresholds, long long n_thresholds,
    const float* foreground, long long n_above, long long foreground_rows, long long n_above_subbands,
    long long foreground_columns,
    const float* background, long long n_below, long long background_rows, long long n_below_subbands,
    long long background_columns,
    const float* taps, long long n_filters, long long length,
    const float* smoothing, long long n_smoothing,
    const double* full_scale, long long n_scales, const float* flat_gain, long long flat_rows, long long flat_columns,
    O* out, long long n_frames, long long rows, long long columns,
    long long split_foreground, long long split_background, double crossover, double dark, long long truncate) {
    __shared__ float wide[WIDE_ROWS * WIDE_COLUMNS];
    __shared__ __align__(8) float smooth[TILE_ROWS * WIDE_COLUMNS];
    __shared__ float4 weights[HALF_TAPS];
    const Tile tile = tile_of_all_frames(n_frames, columns);
    const Pixels pixels(images, rows, columns, tile);
    const float threshold = thresholds[tile.frame];
    __shared__ float gaussian[TAPS];
    if (threadIdx.x < TAPS) gaussian[threadIdx.x] = smoothing[threadIdx.x];
    load_synthesis(taps, (int)length, weights);
    load_wide(pixels, tile, threshold, (float)(0.5 / crossover), wide);
    __syncthreads();
    smooth_columns(wide, gaussian, smooth);
    __syncthreads();
    smooth_rows(smooth, gaussian);
    float2 below[AT_ONCE], above[AT_ONCE] = {};
    // The background, then the foreground, in one loop: both at once would take too many registers. `above` holds the
    // band that was restored last.
#pragma unroll 1
    for (int band = 0; band < 2; ++band) {
        const bool split = band ? split_foreground : split_background;
        const Limits limits = {
            split ? (band ? threshold : 0.0f) : -MOST_FLOAT, split && !band ? threshold : MOST_FLOAT};
        const Coefficients removed(
            band ? foreground : background, band ? foreground_rows : background_rows,
            band ? foreground_columns : background_columns, tile);
#pragma unroll
        for (int q = 0; q < AT_ONCE; ++q) below[q] = above[q];
        __syncthreads();
        restore(pixels, limits, removed, weights, (int)length / 2, tile, wide, above);
    }
    // The light takes the place of its share: rows finished one after another need few registers.
    float2* shares = (float2*)smooth + threadIdx.x / 32 * AT_ONCE * WIDE_COLUMNS / 2 + threadIdx.x % 32;
#pragma unroll
    for (int q = 0; q < AT_ONCE; ++q) {
        const float2 share = shares[q * WIDE_COLUMNS / 2];
        shares[q * WIDE_COLUMNS / 2] = make_float2(
            (above[q].x - below[q].x) * share.x + below[q].x, (above[q].y - below[q].y) * share.y + below[q].y);
    }
    const Finish finish = {
        n_scales ? full_scale[tile.frame] : 0.0, n_scales > 0, truncate != 0, (float)dark,
        {flat_gain, flat_rows > 1 ? flat_columns : 0, flat_columns > 1}, out + tile.frame * rows * columns};
#pragma unroll 1
    for (int q = 0; q < AT_ONCE; ++q) finish.store(pixels, q, shares[q * WIDE_COLUMNS / 2]);
}

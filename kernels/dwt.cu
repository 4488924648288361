// The wavelet transform of frames, level by level: low pass and horizontal detail, and back.
#include "dwt.cuh"

// Analysis. A block of 256 threads makes 32 x 32 coefficients of both subbands. The block reads 32 rows of its window
// at a time (fewer for filters of more than 12 taps). Reads are coalesced, in pairs; even and odd columns stay apart. A
// lane low-passes each row; pitches are odd, so that lanes meet in no bank. Once all rows are halved, a lane low-passes
// and high-passes each column. As in dwt.cuh, a thread keeps four results at a time in registers. Reads of neighbouring
// blocks overlap by the filter's length less 2, in the L2 cache. T is the type of the samples read.
constexpr int SIDE = 32;
// Room for 32 rows of a window of 12 taps: 37 pairs and one float between rows.
constexpr int SEGMENT_SIZE = 2400, HALVED_PITCH = SIDE + 1;

// Least number of analysis blocks that share a multiprocessor.
#if __CUDA_ARCH__ >= 800
constexpr int ANALYSES = 5;
#else
constexpr int ANALYSES = 2;
#endif

// Two neighbouring samples, read at once.
template <typename V> struct __align__(2 * sizeof(V)) Pair {
    V x, y;
};

// Logarithm of a finite x >= 1, in half the time of logf. With x = 2^e (1 + f), -1/3 <= f < 1/3, a polynomial in f
// stands for log(1 + f). The polynomial minimises the greatest difference, 4.3e-8, a float's rounding at 1.
__device__ inline float logarithm(float x) {
    const int bits = __float_as_int(x), exponent = (bits - 0x3f2aaaab) & (int)0xff800000;
    const float f = __int_as_float(bits - exponent) - 1.0f;
    float p = fmaf(-0.159182727f, f, 0.171943486f);
    p = fmaf(p, f, -0.163075149f);
    p = fmaf(p, f, 0.197843373f);
    p = fmaf(p, f, -0.250143379f);
    p = fmaf(p, f, 0.333380431f);
    p = fmaf(p, f, -0.499998331f);
    constexpr float log_2_of_exponent = 8.26295829e-8f;
    return fmaf((float)exponent, log_2_of_exponent, fmaf(p, f * f, f));
}

// log(1 + I) of an image's clipped counts I.
struct Logarithm {
    typedef T Raw;
    const T* samples;
    int64 pitch;
    float least, most;

    __device__ float value(T count) const { return logarithm(fminf(fmaxf((float)count, least), most) + 1.0f); }
};

// The low pass of a finer level.
struct LowPass {
    typedef float Raw;
    const float* samples;
    int64 pitch;

    __device__ float value(float coefficient) const { return coefficient; }
};

// Size of a signal (rows, columns); its last row or column may be no stored one but repeat the one before.
struct Size {
    int rows, columns, stored_rows, stored_columns;
};

// The samples that a block reads: `rows` rows of `places` pairs, from `row` and `column` of the signal on. A thread
// reads every 256th pair, first the pair at `first_row`, `first_place`.
struct Window {
    int row, column, rows, places, first_row, first_place;

    __device__ Window(Tile tile, int length)
        : row(2 * tile.row + 2 - length), column(2 * tile.column + 2 - length), rows(2 * SIDE + length - 2),
          places(SIDE + length / 2 - 1), first_row(threadIdx.x / places), first_place(threadIdx.x % places) {}

    // Whether all pairs are stored, and aligned to be read at once.
    template <typename Source> __device__ bool is_plain(const Source& source, const Size& size) const {
        const bool inside = row >= 0 && column >= 0 && row + rows <= size.stored_rows &&
                            column + 2 * places <= size.stored_columns;
        typedef Pair<typename Source::Raw> Two;
        return inside && source.pitch % 2 == 0 && (unsigned long long)source.samples % sizeof(Two) == 0;
    }
};

template <bool plain, typename Source>
__device__ inline Pair<typename Source::Raw> pair_at(const Source& source, const Size& size, int row, int column) {
    typedef Pair<typename Source::Raw> Two;
    if constexpr (plain) {
        return *(const Two*)(source.samples + row * source.pitch + column);
    } else {
        const typename Source::Raw* at = source.samples + mirrored(row, size.rows, size.stored_rows) * source.pitch;
        Two two;
        two.x = at[mirrored(column, size.columns, size.stored_columns)];
        two.y = at[mirrored(column + 1, size.columns, size.stored_columns)];
        return two;
    }
}

// Reads `n` rows of the window, from its row `start` on, into `segment`: first samples of pairs, then second samples.
template <bool plain, typename Source>
__device__ inline void load_rows(
    const Source& source, const Size& size, const Window& window, int start, int n, float* segment) {
    const int places = window.places, pitch = 2 * places + 1;
    const int more_rows = TILE_THREADS / places, more_places = TILE_THREADS % places;
    int row = window.first_row, place = window.first_place;
    while (row < n) {
        Pair<typename Source::Raw> raw[AT_ONCE];
        int targets[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            targets[k] = row < n ? row * pitch + place : -1;
            if (row < n) {
                raw[k] = pair_at<plain>(source, size, window.row + start + row, window.column + 2 * place);
            }
            row += more_rows, place += more_places;
            if (place >= places) place -= places, ++row;
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            if (targets[k] < 0) break;
            segment[targets[k]] = source.value(raw[k].x);
            segment[targets[k] + places] = source.value(raw[k].y);
        }
    }
}

// Low pass of `n` rows at 32 columns; a thread computes four columns of one row.
__device__ inline void halve_rows(
    const float* segment, int n, int places, const float4* weights, int steps, float* halved) {
    const int row = threadIdx.x % n, first = threadIdx.x / n * AT_ONCE;
    if (first >= SIDE) return;
    const float *left = segment + row * (2 * places + 1) + first, *right = left + places;
    float even[AT_ONCE], odd[AT_ONCE], sums[AT_ONCE] = {};
#pragma unroll
    for (int q = 0; q < AT_ONCE - 1; ++q) even[q] = left[q], odd[q] = right[q];
#pragma unroll 4
    for (int u = 0; u < steps; ++u) {
        even[AT_ONCE - 1] = left[u + AT_ONCE - 1], odd[AT_ONCE - 1] = right[u + AT_ONCE - 1];
        const float4 w = weights[u];
#pragma unroll
        for (int q = 0; q < AT_ONCE; ++q) {
            sums[q] = fmaf(w.x, even[q], fmaf(w.y, odd[q], sums[q]));
            if (q) even[q - 1] = even[q], odd[q - 1] = odd[q];
        }
    }
#pragma unroll
    for (int q = 0; q < AT_ONCE; ++q) halved[row * HALVED_PITCH + first + q] = sums[q];
}

// Low and high pass of the lane's column at the warp's four rows.
__device__ inline void halve_column(const float* halved, const float4* weights, int steps, float* low, float* high) {
    const float* at = halved + threadIdx.x / 32 * AT_ONCE * 2 * HALVED_PITCH + threadIdx.x % 32;
    float even[AT_ONCE], odd[AT_ONCE];
#pragma unroll
    for (int q = 0; q < AT_ONCE; ++q) {
        low[q] = high[q] = 0.0f;
        if (q < AT_ONCE - 1) even[q] = at[2 * q * HALVED_PITCH], odd[q] = at[(2 * q + 1) * HALVED_PITCH];
    }
    at += 2 * (AT_ONCE - 1) * HALVED_PITCH;
#pragma unroll 4
    for (int u = 0; u < steps; ++u) {
        even[AT_ONCE - 1] = at[2 * u * HALVED_PITCH], odd[AT_ONCE - 1] = at[(2 * u + 1) * HALVED_PITCH];
        const float4 w = weights[u];
#pragma unroll
        for (int q = 0; q < AT_ONCE; ++q) {
            low[q] = fmaf(w.x, even[q], fmaf(w.y, odd[q], low[q]));
            high[q] = fmaf(w.z, even[q], fmaf(w.w, odd[q], high[q]));
            if (q) even[q - 1] = even[q], odd[q - 1] = odd[q];
        }
    }
}

// The block's coefficients of one frame (rows, 2, columns); 0 beyond the last coefficients.
template <typename Source>
__device__ inline void analyse(
    Source source, Size size, const float* taps, int length, Tile tile, float* out, int64 rows, int64 columns,
    bool has_low) {
    __shared__ float segment[SEGMENT_SIZE];
    __shared__ float halved[(2 * SIDE + MOST_TAPS - 2) * HALVED_PITCH];
    __shared__ float4 weights[HALF_TAPS];
    const int steps = length / 2;
    const int n_rows = (size.rows + length - 1) / 2, n_columns = (size.columns + length - 1) / 2;
    // Coefficient k is the sum over m of taps[m] * x[2k + 1 - m]: the window meets the taps from the last on.
    for (int u = threadIdx.x; u < steps; u += TILE_THREADS) {
        const float *low = taps + length - 2 - 2 * u, *high = low + length;
        weights[u] = make_float4(low[1], low[0], high[1], high[0]);
    }
    float low[AT_ONCE] = {}, high[AT_ONCE] = {};
    if (tile.row < n_rows && tile.column < n_columns) {
        const Window window(tile, length);
        const bool plain = window.is_plain(source, size);
        const int at_once = min(32, SEGMENT_SIZE / (2 * window.places + 1));
        for (int start = 0; start < window.rows; start += at_once) {
            const int n = min(at_once, window.rows - start);
            __syncthreads();
            if (plain) load_rows<true>(source, size, window, start, n, segment);
            else load_rows<false>(source, size, window, start, n, segment);
            __syncthreads();
            halve_rows(segment, n, window.places, weights, steps, halved + start * HALVED_PITCH);
        }
        __syncthreads();
        halve_column(halved, weights, steps, low, high);
    }
    const int column = tile.column + threadIdx.x % 32;
    if (column >= columns) return;
#pragma unroll
    for (int q = 0; q < AT_ONCE; ++q) {
        const int row = tile.row + threadIdx.x / 32 * AT_ONCE + q;
        if (row >= rows) return;
        const bool inside = row < n_rows && column < n_columns;
        float* at = out + (int64)row * 2 * columns + column;
        at[0] = inside && has_low ? low[q] : 0.0f;
        at[columns] = inside ? high[q] : 0.0f;
    }
}

extern "C" __global__ void __launch_bounds__(256, ANALYSES) analyse_image(
    const T* images, long long n_images, long long image_rows, long long image_columns,
    const float* limits, long long n_bands, long long n_limits, long long n_ends,
    const float* taps, long long n_filters, long long length,
    float* out, long long n_frames, long long rows, long long n_subbands, long long columns, long long has_low) {
    const Tile tile(rows, columns, SIDE, SIDE);
    const int stored_rows = (int)image_rows, stored_columns = (int)image_columns;
    const Size size = {stored_rows + stored_rows % 2, stored_columns + stored_columns % 2, stored_rows, stored_columns};
    // Of two bands, the second has the same images.
    const T* image = images + (tile.frame < n_images ? tile.frame : tile.frame - n_images) * image_rows * image_columns;
    const Logarithm source = {image, image_columns, limits[2 * tile.frame], limits[2 * tile.frame + 1]};
    analyse(source, size, taps, (int)length, tile, out + tile.frame * rows * 2 * columns, rows, columns, has_low);
}

extern "C" __global__ void __launch_bounds__(256, ANALYSES) analyse_low_pass(
    const float* coefficients, long long n_finer, long long finer_rows, long long n_finer_subbands,
    long long finer_columns,
    const float* taps, long long n_filters, long long length,
    float* out, long long n_frames, long long out_rows, long long n_subbands, long long out_columns,
    long long rows, long long columns, long long has_low) {
    const Tile tile(out_rows, out_columns, SIDE, SIDE);
    const Size size = {(int)rows, (int)columns, (int)rows, (int)columns};
    const LowPass source = {coefficients + tile.frame * finer_rows * 2 * finer_columns, 2 * finer_columns};
    float* coarser = out + tile.frame * out_rows * 2 * out_columns;
    analyse(source, size, taps, (int)length, tile, coarser, out_rows, out_columns, has_low);
}

// One block for each tile of 32 x 64 samples: dwt.cuh.
extern "C" __global__ void __launch_bounds__(256) synthesise(
    const float* coefficients, long long n_deeper, long long deeper_rows, long long n_deeper_subbands,
    long long deeper_columns,
    const float* taps, long long n_filters, long long length,
    float* out, long long n_frames, long long out_rows, long long n_subbands, long long out_columns,
    long long rows, long long columns) {
    __shared__ float doubled[TILE_ROWS * DOUBLED_PITCH];
    __shared__ float4 weights[HALF_TAPS];
    const Tile tile(out_rows, out_columns, TILE_ROWS, TILE_COLUMNS);
    if (tile.row >= rows || tile.column >= columns) return;
    const float* deeper = coefficients + tile.frame * deeper_rows * 2 * deeper_columns;
    const int steps = (int)length / 2;
    load_synthesis(taps, (int)length, weights);
    __syncthreads();
    double_rows(deeper, (int)deeper_rows, (int)deeper_columns, weights, steps, tile.row, tile.column, doubled);
    __syncthreads();
    float2 samples[AT_ONCE];
    double_columns(doubled, weights, steps, samples);
    const int column = tile.column + 2 * (threadIdx.x % 32);
    if (column >= columns) return;
#pragma unroll
    for (int q = 0; q < AT_ONCE; ++q) {
        const int row = tile.row + threadIdx.x / 32 * AT_ONCE + q;
        if (row >= rows) return;
        float* at = out + (tile.frame * out_rows + row) * 2 * out_columns + column;
        store_pair(at, samples[q], column + 1 < columns);
    }
}

#include "common.cuh"

// Parts of the similarity of planes: moments of pixels, and rows of a matrix whose columns are cut into tiles. A row
// holds a plane's centred pixels, or which pixels are used. T is the type of planes.
//
// A thread sums RUN pixels in float32; a block takes SEGMENT pixels for moments, and writes ACROSS pixels of a row.
constexpr int THREADS = 256, SEGMENT = 16384, RUN = 32, ACROSS = 4096;

template <typename V> struct alignas(4 * sizeof(V)) Quad { V pixel[4]; };

// The pixels of a plane, read four neighbours at a time, in one wide read if memory is aligned. The mask may hold one
// value for all pixels.
template <typename V> struct Pixels {
    const V* values;
    const unsigned char* mask;
    int64 count;
    bool one_for_all;

    // Values of pixels p to p + 3, and a bit for each pixel that is used. Without `check` all existing pixels are used.
    __device__ int read(int64 p, bool check, float value[4]) const {
        int used = 0;
        if (p + 4 <= count && (unsigned long long)(values + p) % sizeof(Quad<V>) == 0) {
            const Quad<V> quad = *reinterpret_cast<const Quad<V>*>(values + p);
#pragma unroll
            for (int k = 0; k < 4; ++k) value[k] = (float)quad.pixel[k];
            used = 15;
        } else {
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                value[k] = p + k < count ? (float)values[p + k] : 0.0f;
                if (p + k < count) used |= 1 << k;
            }
        }
        if (!check) return used;
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            const bool masked = p + k < count && !mask[one_for_all ? 0 : p + k];
            if (masked || !(fabsf(value[k]) <= 3.402823466e38f)) used &= ~(1 << k);
        }
        return used;
    }
};

template <typename V>
__device__ Pixels<V> pixels_of(const V* planes, int64 i, int64 count, const unsigned char* mask, int64 mask_planes,
                               int64 mask_count) {
    return {planes + i * count, mask + (mask_planes > 1 ? i * mask_count : 0), count, mask_count == 1};
}

// Number of values, their mean, and the sum of squared deviations from the mean.
struct Moments {
    double n, mean, squares;

    __device__ void add(const Moments& other) {
        if (other.n == 0.0) return;
        const double total = n + other.n, step = other.mean - mean;
        mean += step * (other.n / total);
        squares += other.squares + step * step * (n * other.n / total);
        n = total;
    }
};

__device__ inline Moments from_lane(const Moments& mine, int offset) {
    return {__shfl_down_sync(0xffffffffu, mine.n, offset), __shfl_down_sync(0xffffffffu, mine.mean, offset),
            __shfl_down_sync(0xffffffffu, mine.squares, offset)};
}

// A block takes 16384 pixels of one plane, a thread four neighbours of every 1024. A thread sums 32 pixels in float32
// relative to the first used pixel, so that a background cancels exactly. Sums of runs, lanes and warps are combined in
// double.
extern "C" __global__ void __launch_bounds__(THREADS) plane_moments(
    const T* planes, long long n, long long rows, long long columns, const unsigned char* mask, long long mask_planes,
    long long mask_rows, long long mask_columns, double* out, long long out_planes, long long segments,
    long long out_moments) {
    __shared__ Moments of_warp[THREADS / 32];
    const int64 plane = blockIdx.x / segments, segment = blockIdx.x % segments;
    const Pixels<T> pixels =
        pixels_of(planes, plane, rows * columns, mask, mask_planes, mask_rows * mask_columns);
    Moments mine = {0.0, 0.0, 0.0};
    for (int run = 0; run < SEGMENT; run += THREADS * RUN) {
        float shift = 0.0f, sum = 0.0f, squares = 0.0f;
        int n_used = 0;
#pragma unroll
        for (int k = 0; k < THREADS * RUN; k += THREADS * 4) {
            float value[4];
            const int used = pixels.read(segment * SEGMENT + run + k + threadIdx.x * 4, true, value);
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                if (!(used >> j & 1)) continue;
                if (n_used == 0) shift = value[j];
                const float deviation = value[j] - shift;
                sum += deviation;
                squares = fmaf(deviation, deviation, squares);
                ++n_used;
            }
        }
        if (n_used > 0) {
            const double mean = (double)sum / n_used;
            mine.add({(double)n_used, shift + mean, fmax((double)squares - mean * sum, 0.0)});
        }
    }
    for (int offset = 16; offset > 0; offset /= 2) mine.add(from_lane(mine, offset));
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = mine;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int warp = 1; warp < THREADS / 32; ++warp) mine.add(of_warp[warp]);
        double* moments = out + (plane * segments + segment) * 3;
        moments[0] = mine.n;
        moments[1] = mine.mean;
        moments[2] = mine.squares;
    }
}

// The place where a block of threads writes: 4096 pixels of one row of one tile of pixels.
struct Place {
    int64 tile, row, start;
};

__device__ inline Place place_of_block(int64 n_rows, int64 width) {
    const int64 across = (width + ACROSS - 1) / ACROSS;
    const int64 line = blockIdx.x / across;
    return {line / n_rows, line % n_rows, blockIdx.x % across * ACROSS};
}

template <typename V> __device__ inline void write(V* row, int64 at, int64 width, const Quad<V>& quad) {
    if (at + 4 <= width && (unsigned long long)(row + at) % sizeof(Quad<V>) == 0) {
        *reinterpret_cast<Quad<V>*>(row + at) = quad;
    } else {
#pragma unroll
        for (int k = 0; k < 4; ++k)
            if (at + k < width) row[at + k] = quad.pixel[k];
    }
}

// A thread writes four neighbours of every 1024 pixels, 16 bytes at once. The mean is subtracted in two parts: the
// first difference is exact for a high background, so that a small contrast keeps all its digits.
extern "C" __global__ void __launch_bounds__(THREADS) centred_rows(
    const T* planes, long long n, long long rows, long long columns, const unsigned char* mask, long long mask_planes,
    long long mask_rows, long long mask_columns, const float* scaling, long long scaling_planes,
    long long scaling_terms, float* out, long long tiles, long long n_rows, long long width, long long first) {
    const Place place = place_of_block(n_rows, width);
    const int64 plane = place.row - first;
    if (plane < 0 || plane >= n) return;
    const Pixels<T> pixels =
        pixels_of(planes, plane, rows * columns, mask, mask_planes, mask_rows * mask_columns);
    const float high = scaling[plane * 4], low = scaling[plane * 4 + 1], factor = scaling[plane * 4 + 2];
    const bool check = scaling[plane * 4 + 3] == 0.0f;
    float* row = out + (place.tile * n_rows + place.row) * width;
#pragma unroll
    for (int k = 0; k < ACROSS; k += THREADS * 4) {
        const int64 at = place.start + k + threadIdx.x * 4;
        float value[4];
        const int used = at < width ? pixels.read(place.tile * width + at, check, value) : 0;
        Quad<float> quad;
#pragma unroll
        for (int j = 0; j < 4; ++j) quad.pixel[j] = used >> j & 1 ? ((value[j] - high) - low) * factor : 0.0f;
        write(row, at, width, quad);
    }
}

// Like centred_rows, but a byte for each pixel: whether the pixel is used.
extern "C" __global__ void __launch_bounds__(THREADS) used_rows(
    const T* planes, long long n, long long rows, long long columns, const unsigned char* mask, long long mask_planes,
    long long mask_rows, long long mask_columns, unsigned char* out, long long tiles, long long n_rows,
    long long width, long long first) {
    const Place place = place_of_block(n_rows, width);
    const int64 plane = place.row - first;
    if (plane < 0 || plane >= n) return;
    const Pixels<T> pixels =
        pixels_of(planes, plane, rows * columns, mask, mask_planes, mask_rows * mask_columns);
    unsigned char* row = out + (place.tile * n_rows + place.row) * width;
#pragma unroll
    for (int k = 0; k < ACROSS; k += THREADS * 4) {
        const int64 at = place.start + k + threadIdx.x * 4;
        float value[4];
        const int used = at < width ? pixels.read(place.tile * width + at, true, value) : 0;
        Quad<unsigned char> quad;
#pragma unroll
        for (int j = 0; j < 4; ++j) quad.pixel[j] = used >> j & 1;
        write(row, at, width, quad);
    }
}

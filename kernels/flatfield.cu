// Frames less dark, times the gain of a flat; and how many pixels that puts at the end of their type.
#include "common.cuh"

constexpr int THREADS = 256, PER_THREAD = 4, AT_ONCE = 8;

// T is the type of the result, RAW that of images.
// A block writes 1024 columns of one row in all frames, so that the gain is read once. A thread takes every 256th
// column: accesses are coalesced at any number of columns, and four reads of a thread overlap.
extern "C" __global__ void __launch_bounds__(THREADS) flat_counts(
    const RAW* images, long long n_images, long long rows, long long columns, const float* gain, long long gain_rows,
    long long gain_columns, T* out, long long out_images, long long out_rows, long long out_columns,
    double dark, long long truncate) {
    const int64 blocks_across = (columns + THREADS * PER_THREAD - 1) / (THREADS * PER_THREAD);
    const int64 y = blockIdx.x / blocks_across;
    const int64 first = blockIdx.x % blocks_across * (THREADS * PER_THREAD) + threadIdx.x;
    const float offset = (float)dark;
    const float* factors = gain + (gain_rows > 1 ? y * gain_columns : 0);
    float factor[PER_THREAD];
#pragma unroll
    for (int k = 0; k < PER_THREAD; ++k) {
        const int64 x = first + k * THREADS;
        factor[k] = x < columns ? factors[gain_columns > 1 ? x : 0] : 0.0f;
    }
    for (int64 f = 0; f < n_images; ++f) {
        const int64 row = (f * rows + y) * columns;
        float value[PER_THREAD];
#pragma unroll
        for (int k = 0; k < PER_THREAD; ++k) {
            const int64 x = first + k * THREADS;
            value[k] = x < columns ? (float)images[row + x] : 0.0f;
        }
#pragma unroll
        for (int k = 0; k < PER_THREAD; ++k) {
            const int64 x = first + k * THREADS;
            const float result = (value[k] - offset) * factor[k];
            if (x < columns) out[row + x] = to_counts<T>(result, truncate);
        }
    }
}

// A block counts a share of the pixels. Few are at the end of their type: only there the raw pixel is read.
extern "C" __global__ void __launch_bounds__(THREADS) count_at_end(
    const T* raw, long long n_raw, long long raw_rows, long long raw_columns, const T* corrected, long long n_frames,
    long long rows, long long columns, unsigned int* out, long long n_shares) {
    __shared__ unsigned total;
    constexpr T most = (T)Voxel<T>::most;
    const int64 size = n_frames * rows * columns;
    const int64 first = blockIdx.x * size / n_shares, stop = (blockIdx.x + 1LL) * size / n_shares;
    if (threadIdx.x == 0) total = 0;
    __syncthreads();
    unsigned count = 0;
    for (int64 start = first + threadIdx.x; start < stop; start += THREADS * AT_ONCE) {
        T value[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) value[k] = start + k * THREADS < stop ? corrected[start + k * THREADS] : (T)0;
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            if (value[k] == most && raw[start + k * THREADS] != most) ++count;
        }
    }
    if (count) atomicAdd(&total, count);
    __syncthreads();
    if (threadIdx.x == 0) out[blockIdx.x] += total;
}

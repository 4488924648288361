#include "common.cuh"

constexpr int THREADS = 256, PER_THREAD = 4;

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
            if (x < columns) out[row + x] = to_voxel<T>(Voxel<T>::is_whole && truncate ? truncf(result) : result);
        }
    }
}

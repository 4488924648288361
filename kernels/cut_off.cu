#include "common.cuh"

constexpr int WARP = 32, THREADS = 256, AT_ONCE = 8;

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

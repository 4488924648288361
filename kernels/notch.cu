#include "common.cuh"

// One block of 128 threads convolves one row of the detail in place, 1152 samples at a time: a window of them and what
// lies within reach on either side is in shared memory, so that what is written is not read again. A thread has nine
// neighbouring results in registers and reads each sample once; nine is odd, so lanes meet in no bank. Results go back
// through shared memory, so that writes are coalesced too.
constexpr int THREADS = 128, OF_THREAD = 9, SEGMENT = THREADS * OF_THREAD;
constexpr int MOST_REACH = 512;

extern "C" __global__ void __launch_bounds__(128) low_pass_rows(
    const float* taps, long long n_taps,
    float* out, long long n_frames, long long rows, long long n_subbands, long long columns,
    long long width) {
    __shared__ float window[SEGMENT + 2 * MOST_REACH];
    __shared__ float results[SEGMENT];
    __shared__ float head[MOST_REACH];
    __shared__ float weights[2 * MOST_REACH + 1];
    const int n = (int)n_taps, reach = n / 2;
    float* row = out + (2 * (int64)blockIdx.x + 1) * columns;
    for (int i = threadIdx.x; i < n; i += THREADS) weights[i] = taps[i];
    for (int i = threadIdx.x; i < reach; i += THREADS) {
        head[i] = row[i];
        window[i] = row[width - reach + i];
        window[reach + i] = row[i];
    }
    __syncthreads();
    const int mine = threadIdx.x * OF_THREAD;
    for (int64 first = 0; first < width; first += SEGMENT) {
        // The window's first 2 * reach samples are there already; a row goes on from its start.
        for (int i = 2 * reach + threadIdx.x; i < SEGMENT + 2 * reach; i += THREADS) {
            const int64 place = first - reach + i;
            window[i] = place < width ? row[place] : place < width + reach ? head[place - width] : 0.0f;
        }
        __syncthreads();
        float sums[OF_THREAD] = {}, samples[OF_THREAD];
#pragma unroll
        for (int q = 0; q < OF_THREAD - 1; ++q) samples[q] = window[mine + q];
#pragma unroll 9
        for (int k = 0; k < n; ++k) {
            samples[OF_THREAD - 1] = window[mine + OF_THREAD - 1 + k];
            const float w = weights[k];
#pragma unroll
            for (int q = 0; q < OF_THREAD; ++q) {
                sums[q] = fmaf(w, samples[q], sums[q]);
                if (q) samples[q - 1] = samples[q];
            }
        }
#pragma unroll
        for (int q = 0; q < OF_THREAD; ++q) results[mine + q] = sums[q];
        __syncthreads();
        for (int i = threadIdx.x; i < SEGMENT; i += THREADS) {
            if (first + i < width) row[first + i] = results[i];
        }
        for (int i = threadIdx.x; i < 2 * reach; i += THREADS) window[i] = window[SEGMENT + i];
        __syncthreads();
    }
}

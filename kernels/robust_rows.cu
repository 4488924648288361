// The low pass of the guarded notch along the rows of its grid, in which outliers weigh less.
#include "common.cuh"

// A block of 64 threads takes one row. The terms of the sums lie in shared memory, and all lanes read the same one; the
// matrix, the same for all blocks, comes from the caches. A thread makes every 64th window of the row.
constexpr int THREADS = 64, MOST_WINDOWS = 1024;
constexpr float BOUND = 1.5f, LEAST = 1e-20f, LEAST_DISTANCE = 1e-12f, TRUSTED = 0.05f;
constexpr int ITERATIONS = 3;

// Sums over the windows i of term(i) * matrix[i, j].
template <typename Term> __device__ inline float2 summed(const float* matrix, int windows, int j, Term term) {
    float2 sums = make_float2(0.0f, 0.0f);
    const float* at = matrix + j;
#pragma unroll 8
    for (int i = 0; i < windows; ++i, at += windows) {
        const float k = *at;
        const float2 x = term(i);
        sums.x = fmaf(x.x, k, sums.x), sums.y = fmaf(x.y, k, sums.y);
    }
    return sums;
}

extern "C" __global__ void __launch_bounds__(THREADS) robust_low_pass(
    const float* values, long long n_frames, long long rows, long long n_windows, const float* weights,
    long long weight_frames, long long weight_rows, long long weight_windows, const float* matrix,
    long long matrix_rows, long long matrix_columns, const float* strengths, long long n_strengths, float* out,
    long long out_frames, long long out_rows, long long out_windows) {
    // Weights and weighted values, from which sums are made; sums of weights, or spreads; means.
    __shared__ float2 terms[MOST_WINDOWS];
    __shared__ float totals[MOST_WINDOWS], means[MOST_WINDOWS];
    const int windows = (int)n_windows;
    const float* v = values + (int64)blockIdx.x * windows;
    const float* w = weights + (int64)blockIdx.x * windows;
    const float strength = strengths[blockIdx.x % rows];
    if (strength == 0.0f) {
        for (int j = threadIdx.x; j < windows; j += THREADS) out[(int64)blockIdx.x * windows + j] = 0.0f;
        return;
    }
    const auto average = [&]() {
        __syncthreads();
        for (int j = threadIdx.x; j < windows; j += THREADS) {
            const float2 sums = summed(matrix, windows, j, [&](int i) { return terms[i]; });
            totals[j] = sums.x, means[j] = sums.y / sums.x;
        }
        __syncthreads();
    };
    for (int j = threadIdx.x; j < windows; j += THREADS) terms[j] = make_float2(w[j], w[j] * v[j]);
    average();
    for (int iteration = 0; iteration < ITERATIONS; ++iteration) {
        for (int j = threadIdx.x; j < windows; j += THREADS) {
            const float distance = v[j] - means[j];
            terms[j].x = terms[j].x * distance * distance;
        }
        __syncthreads();
        for (int j = threadIdx.x; j < windows; j += THREADS) {
            const auto squares = [&](int i) { return make_float2(terms[i].x, 0.0f); };
            totals[j] = sqrtf(fmaxf(summed(matrix, windows, j, squares).x / totals[j], LEAST));
        }
        __syncthreads();
        for (int j = threadIdx.x; j < windows; j += THREADS) {
            const float distance = fmaxf(fabsf(v[j] - means[j]), LEAST_DISTANCE);
            const float part = fminf(1.0f, BOUND * totals[j] / distance), weight = w[j] * (part * part);
            terms[j] = make_float2(weight, weight * v[j]);
        }
        average();
    }
    for (int j = threadIdx.x; j < windows; j += THREADS) {
        const float known = summed(matrix, windows, j, [&](int i) { return make_float2(w[i], 0.0f); }).x;
        const float squared = known * known, trust = squared / (squared + TRUSTED * TRUSTED);
        out[(int64)blockIdx.x * windows + j] = means[j] * trust * strength;
    }
}

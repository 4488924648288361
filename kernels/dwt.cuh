// Places of mirrored signals, and the synthesis of a tile of samples from wavelet coefficients.
#pragma once

#include "common.cuh"

// A block of 256 threads synthesises 32 x 64 samples: down the columns into shared memory, then along the rows. There a
// thread computes four rows of two neighbours. A filter may have any number of taps. A thread keeps four results at a
// time in registers, so that each value read serves several results.
constexpr int MOST_TAPS = 102, HALF_TAPS = MOST_TAPS / 2;
constexpr int TILE_THREADS = 256, TILE_ROWS = 32, TILE_COLUMNS = 64;
constexpr int DOUBLED_PITCH = TILE_COLUMNS / 2 + HALF_TAPS - 1;
constexpr int AT_ONCE = 4;

// Frame, row and column of this block's tile of an array (frames, rows, columns).
struct Tile {
    int64 frame;
    int row, column;

    __device__ Tile(int64 frame, int row, int column) : frame(frame), row(row), column(column) {}
    __device__ Tile(int64 rows, int64 columns, int height, int width) {
        const int64 across = (columns + width - 1) / width, down = (rows + height - 1) / height;
        const int64 block = blockIdx.x;
        frame = block / (across * down);
        row = (int)(block / across % down) * height;
        column = (int)(block % across) * width;
    }
};

// Where sample i of n is stored. Mirrored copies continue the signal; samples from `stored` on repeat the last one.
__device__ inline int mirrored(int i, int n, int stored) {
    while (i < 0 || i >= n) i = i < 0 ? -1 - i : 2 * n - 1 - i;
    return min(i, stored - 1);
}

// Writes two floats to neighbouring places, the second only if `both`.
__device__ inline void store_pair(float* at, float2 values, bool both) {
    if (both && (unsigned long long)at % sizeof(float2) == 0) {
        *(float2*)at = values;
    } else {
        at[0] = values.x;
        if (both) at[1] = values.y;
    }
}

// Taps of a synthesis by steps u, for coefficients c of the low pass and d of the high pass: sample 2p is the sum of
// c[p + u] * x + d[p + u] * z, sample 2p + 1 the sum of c[p + u] * y + d[p + u] * w.
__device__ inline void load_synthesis(const float* taps, int length, float4* weights) {
    for (int u = threadIdx.x; u < length / 2; u += TILE_THREADS) {
        const float *low = taps + length - 2 - 2 * u, *high = low + length;
        weights[u] = make_float4(low[0], low[1], high[0], high[1]);
    }
}

// Rows doubled from low pass and detail (rows, 2, columns), for the tile at `row`, `column`: 32 rows, and as many
// columns of coefficients as the tile's samples need. Samples past the last coefficients are not kept.
__device__ inline void double_rows(
    const float* coefficients, int rows, int columns, const float4* weights, int steps, int row, int column,
    float* doubled) {
    const int width = TILE_COLUMNS / 2 + steps - 1, pitch = 2 * columns;
    for (int item = threadIdx.x; item < width * (TILE_ROWS / 2 / AT_ONCE); item += TILE_THREADS) {
        const int group = item / width, place = item - group * width;
        const int first = row / 2 + AT_ONCE * group;
        const float* at = coefficients + min(column / 2 + place, columns - 1);
        float low[AT_ONCE], high[AT_ONCE], even[AT_ONCE] = {}, odd[AT_ONCE] = {};
#pragma unroll
        for (int q = 0; q < AT_ONCE - 1; ++q) {
            const float* c = at + (int64)min(first + q, rows - 1) * pitch;
            low[q] = c[0], high[q] = c[columns];
        }
#pragma unroll 4
        for (int u = 0; u < steps; ++u) {
            const float* c = at + (int64)min(first + u + AT_ONCE - 1, rows - 1) * pitch;
            low[AT_ONCE - 1] = c[0], high[AT_ONCE - 1] = c[columns];
            const float4 w = weights[u];
#pragma unroll
            for (int q = 0; q < AT_ONCE; ++q) {
                even[q] = fmaf(w.x, low[q], fmaf(w.z, high[q], even[q]));
                odd[q] = fmaf(w.y, low[q], fmaf(w.w, high[q], odd[q]));
                if (q) low[q - 1] = low[q], high[q - 1] = high[q];
            }
        }
        float* target = doubled + 2 * AT_ONCE * group * DOUBLED_PITCH + place;
#pragma unroll
        for (int q = 0; q < AT_ONCE; ++q) {
            target[2 * q * DOUBLED_PITCH] = even[q];
            target[(2 * q + 1) * DOUBLED_PITCH] = odd[q];
        }
    }
}

// This thread's samples: rows 4 * warp + 0..3 of the tile, columns 2 * lane and 2 * lane + 1.
__device__ inline void double_columns(const float* doubled, const float4* weights, int steps, float2* samples) {
    const float* at = doubled + threadIdx.x / 32 * AT_ONCE * DOUBLED_PITCH + threadIdx.x % 32;
#pragma unroll
    for (int q = 0; q < AT_ONCE; ++q) samples[q] = make_float2(0.0f, 0.0f);
#pragma unroll 4
    for (int u = 0; u < steps; ++u) {
        const float4 w = weights[u];
#pragma unroll
        for (int q = 0; q < AT_ONCE; ++q) {
            const float c = at[q * DOUBLED_PITCH + u];
            samples[q].x = fmaf(w.x, c, samples[q].x);
            samples[q].y = fmaf(w.y, c, samples[q].y);
        }
    }
}

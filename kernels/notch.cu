// The notch along the rows of wavelet details: as a convolution, or as a product with few waves.
#include "common.cuh"

// One block of 128 threads convolves one row of the detail in place, 1152 samples at a time. Shared memory holds these
// samples and all within reach on either side, so that no written result is read again. A thread keeps nine
// neighbouring results in registers and reads each sample once; nine is odd, so lanes meet in no bank. Results go back
// through shared memory, so that writes are coalesced too.
constexpr int THREADS = 128, OF_THREAD = 9, SEGMENT = THREADS * OF_THREAD;
constexpr int MOST_REACH = 512;

extern "C" __global__ void __launch_bounds__(128) low_pass_rows(
    const float* taps, long long n_bands, long long n_taps,
    float* out, long long n_frames, long long rows, long long n_subbands, long long columns,
    long long width) {
    __shared__ float window[SEGMENT + 2 * MOST_REACH];
    __shared__ float results[SEGMENT];
    __shared__ float head[MOST_REACH];
    __shared__ float weights[2 * MOST_REACH + 1];
    const int n = (int)n_taps, reach = n / 2;
    float* row = out + (2 * (int64)blockIdx.x + 1) * columns;
    taps += blockIdx.x / rows * n_bands / n_frames * n_taps;
    for (int i = threadIdx.x; i < n; i += THREADS) weights[i] = taps[i];
    for (int i = threadIdx.x; i < reach; i += THREADS) {
        head[i] = row[i];
        window[i] = row[width - reach + i];
        window[reach + i] = row[i];
    }
    __syncthreads();
    const int mine = threadIdx.x * OF_THREAD;
    for (int64 first = 0; first < width; first += SEGMENT) {
        // The window's first 2 * reach samples are in place already; past its end a row continues from its start.
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

// A block of 256 threads makes 64 x 64 elements of a product from slices of 16 terms in shared memory. A thread makes 4
// x 4 elements in registers. Every element is summed in the order of its terms, for any number of rows.
constexpr int SIDE = 64, SLICE = 16, OF_PRODUCT = 4, PRODUCT_THREADS = 256;

extern "C" __global__ void __launch_bounds__(256) multiply_rows(
    const float* x, long long x_bands, long long x_rows, long long x_columns,
    const float* matrix, long long matrix_bands, long long n, long long m,
    float* out, long long n_bands, long long rows, long long out_columns,
    long long from_column, long long to_column) {
    // Slices of x are transposed; room between them makes them begin in different banks.
    __shared__ __align__(16) float left[SLICE][SIDE + OF_PRODUCT];
    __shared__ __align__(16) float right[SLICE][SIDE];
    const unsigned across = (unsigned)((out_columns + SIDE - 1) / SIDE);
    const unsigned down = (unsigned)((rows + SIDE - 1) / SIDE), band = blockIdx.x / across / down;
    // Rows are counted through all bands, up to the last of this one.
    const int64 stop = (band + 1) * rows, row = band * rows + (int64)(blockIdx.x / across % down) * SIDE;
    const int64 column = (int64)(blockIdx.x % across) * SIDE;
    if (column >= m) return;
    matrix += band * n * m;
    const int my_row = threadIdx.x / (SIDE / OF_PRODUCT) * OF_PRODUCT;
    const int my_column = threadIdx.x % (SIDE / OF_PRODUCT) * OF_PRODUCT;
    float sums[OF_PRODUCT][OF_PRODUCT] = {};
    for (int64 first = 0; first < n; first += SLICE) {
        for (int i = threadIdx.x; i < SIDE * SLICE; i += PRODUCT_THREADS) {
            const int64 r = row + i / SLICE, k = first + i % SLICE;
            left[i % SLICE][i / SLICE] = r < stop && k < n ? x[r * x_columns + from_column + k] : 0.0f;
        }
        for (int i = threadIdx.x; i < SIDE * SLICE; i += PRODUCT_THREADS) {
            const int64 k = first + i / SIDE, c = column + i % SIDE;
            right[i / SIDE][i % SIDE] = k < n && c < m ? matrix[k * m + c] : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < SLICE; ++k) {
            const float4 a = *(const float4*)&left[k][my_row], b = *(const float4*)&right[k][my_column];
            const float of_rows[OF_PRODUCT] = {a.x, a.y, a.z, a.w}, of_columns[OF_PRODUCT] = {b.x, b.y, b.z, b.w};
#pragma unroll
            for (int i = 0; i < OF_PRODUCT; ++i) {
#pragma unroll
                for (int j = 0; j < OF_PRODUCT; ++j) sums[i][j] = fmaf(of_rows[i], of_columns[j], sums[i][j]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < OF_PRODUCT; ++i) {
        float* at = out + (row + my_row + i) * out_columns + to_column + column + my_column;
#pragma unroll
        for (int j = 0; j < OF_PRODUCT; ++j) {
            if (row + my_row + i < stop && column + my_column + j < m) at[j] = sums[i][j];
        }
    }
}

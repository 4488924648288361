// Pearson correlation of a window with another at 27 shifts.
//
// A block of threads computes one window at one shift along z. A thread walks along y at one (z, x); neighbouring
// threads are neighbours in x. A thread holds three rows of three voxels of the moving window in registers. Four reads,
// mostly from the L1 cache, then give the products, sums and squares at nine shifts.
// A thread sums 16 voxels in plain float32, more voxels with Kahan's correction. A warp sums as a tree. Only the sum
// over the block is in float64, which is slow on consumer cards.
#include "common.cuh"

constexpr int RUN = 16, SHIFTS = 9, N_SUMS = 3 * SHIFTS + 2, WARPS = 8;
constexpr double FLAT = 1e-6;  // as in gpustitch/ops/rounding.py

// A float32 sum whose error does not grow with the number of terms (Kahan).
struct Total {
    float sum = 0.0f, lost = 0.0f;
    __device__ inline void add(float value) {
        const float term = value - lost, next = sum + term;
        lost = (next - sum) - term;
        sum = next;
    }
};

// Sums over the block, readable by every thread afterwards.
template <int N> __device__ inline void block_sums(const Total (&total)[N], double (*of_warp)[N_SUMS], double* sums) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int i = 0; i < N; ++i) {
        float sum = total[i].sum - total[i].lost;
#pragma unroll
        for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
        if (lane == 0) of_warp[warp][i] = sum;
    }
    __syncthreads();
    if (threadIdx.x < N) {
        double sum = 0;
        for (int w = 0; w < WARPS; ++w) sum += of_warp[w][threadIdx.x];
        sums[threadIdx.x] = sum;
    }
    __syncthreads();
}

// Size of a window in voxels.
struct Size {
    unsigned depth, height, width;
    __device__ inline int64 count() const { return (int64)depth * height * width; }
};

// Sums of the moving window without its outermost voxels, and of the fixed window; returns whether all voxels are
// finite.
__device__ inline bool sum_levels(const float* fixed, const float* moving, Size size, Total (&total)[2]) {
    const Size outer = {size.depth + 2, size.height + 2, size.width + 2};
    bool finite = true;
    for (unsigned column = threadIdx.x; column < outer.depth * outer.width; column += blockDim.x) {
        const unsigned z = column / outer.width, x = column % outer.width;
        const bool is_inner = z - 1 < size.depth && x - 1 < size.width;
        const float* m = moving + (int64)z * outer.height * outer.width + x;
#pragma unroll 4
        for (unsigned y = 0; y < outer.height; ++y, m += outer.width) {
            const float value = *m;
            finite = finite && value - value == 0.0f;
            if (is_inner && y - 1 < size.height) total[0].add(value);
        }
    }
    for (int64 i = threadIdx.x; i < size.count(); i += blockDim.x) {
        const float value = fixed[i];
        finite = finite && value - value == 0.0f;
        total[1].add(value);
    }
    return finite;
}

// Products, sums and squares of the centred windows at shifts (0, dy, dx) of moving; sum and squares of fixed.
__device__ inline void sum_products(
    const float* fixed, const float* moving, Size size, float fixed_level, float level, Total (&total)[N_SUMS]
) {
    const int64 pitch = size.width + 2;
    const unsigned n_runs = (size.height + RUN - 1) / RUN, length = (size.height + n_runs - 1) / n_runs;
    for (unsigned item = threadIdx.x; item < size.depth * n_runs * size.width; item += blockDim.x) {
        const unsigned x = item % size.width, rest = item / size.width, z = rest / n_runs;
        const unsigned y_start = rest % n_runs * length, y_stop = min(y_start + length, size.height);
        const float* f = fixed + ((int64)z * size.height + y_start) * size.width + x;
        const float* m = moving + ((int64)z * (size.height + 2) + y_start) * pitch + x;
        float rows[3][3], part[N_SUMS] = {};
#pragma unroll
        for (int i = 0; i < 6; ++i) rows[i / 3 + 1][i % 3] = m[i / 3 * pitch + i % 3] - level;
        m += 2 * pitch;
        for (unsigned y = y_start; y < y_stop; ++y, m += pitch, f += size.width) {
            const float value = *f - fixed_level;
            part[3 * SHIFTS] += value;
            part[3 * SHIFTS + 1] = fmaf(value, value, part[3 * SHIFTS + 1]);
#pragma unroll
            for (int dx = 0; dx < 3; ++dx) {
                rows[0][dx] = rows[1][dx];
                rows[1][dx] = rows[2][dx];
                rows[2][dx] = m[dx] - level;
            }
#pragma unroll
            for (int i = 0; i < SHIFTS; ++i) {
                const float other = rows[i / 3][i % 3];
                part[i] = fmaf(value, other, part[i]);
                part[SHIFTS + i] += other;
                part[2 * SHIFTS + i] = fmaf(other, other, part[2 * SHIFTS + i]);
            }
        }
#pragma unroll
        for (int i = 0; i < N_SUMS; ++i) total[i].add(part[i]);
    }
}

extern "C" __global__ void __launch_bounds__(256) pearson_shifts(
    const float* __restrict__ fixed, long long n_windows, long long depth, long long height, long long width,
    const float* __restrict__ moving, long long n_moving, long long moving_z, long long moving_y, long long moving_x,
    const unsigned char* __restrict__ wanted, long long n_wanted, long long wanted_z, long long wanted_y,
    long long wanted_x,
    double* __restrict__ out, long long n_out, long long out_z, long long out_y, long long out_x
) {
    __shared__ double of_warp[WARPS][N_SUMS], sums[N_SUMS];
    const int64 window = blockIdx.x / 3, first = (int64)blockIdx.x * SHIFTS;
    const bool is_wanted = threadIdx.x < SHIFTS && wanted[first + threadIdx.x] != 0;
    if (!__syncthreads_or(is_wanted)) return;

    const Size size = {(unsigned)depth, (unsigned)height, (unsigned)width};
    const double count = (double)size.count();
    fixed += window * size.count();
    moving += window * moving_z * moving_y * moving_x;
    Total levels[2];
    const bool finite = __syncthreads_and(sum_levels(fixed, moving, size, levels));
    block_sums(levels, of_warp, sums);
    const float level = (float)(sums[0] / count), fixed_level = (float)(sums[1] / count);
    __syncthreads();

    Total total[N_SUMS];
    moving += blockIdx.x % 3 * moving_y * moving_x;
    sum_products(fixed, moving, size, fixed_level, level, total);
    block_sums(total, of_warp, sums);
    if (!is_wanted) return;
    const double fixed_sum = sums[3 * SHIFTS], fixed_variance = sums[3 * SHIFTS + 1] - fixed_sum * fixed_sum / count;
    const double sum = sums[SHIFTS + threadIdx.x], squares = sums[2 * SHIFTS + threadIdx.x];
    const double variance = squares - sum * sum / count, cross = sums[threadIdx.x] - fixed_sum * sum / count;
    const double least = FLAT * level, fixed_least = FLAT * fixed[0];
    const bool defined = finite && variance > count * (least * least) && variance > FLAT * squares
        && fixed_variance > count * (fixed_least * fixed_least);
    out[first + threadIdx.x] = defined ? cross / sqrt(fixed_variance * variance) : 0.0;
}

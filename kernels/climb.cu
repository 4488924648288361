// Windows that walk uphill in Pearson's correlation over another array, 27 shifts a step.
//
// A block of threads follows one window from its start to where it stays: no step waits for the host. It computes the
// nine shifts of one shift along z at a time. A thread walks along y at one (z, x); neighbouring threads are neighbours
// in x. A thread holds three rows of three voxels of the moving window in registers. Four reads, mostly from the L1
// cache, then give the products, sums and squares at nine shifts.
// A thread sums 16 voxels in plain float32, more voxels with Kahan's correction. A warp sums as a tree. Only the sum
// over the block is in float64, which is slow on consumer cards.
#include "common.cuh"

constexpr int RUN = 16, SHIFTS = 9, N_SUMS = 3 * SHIFTS + 2, WARPS = 8, AROUND = 27, COLUMNS = 6;
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

// Part of an array: its first voxel, and how many voxels a step along z and along y is.
struct Part {
    const float* first;
    int plane, row;
    __device__ inline Part moved(int z, int y, int x) const { return {first + z * plane + y * row + x, plane, row}; }
};

// What a walk knows: where its window is in the array it walks over, and the correlations around it, in order of shifts
// along z, y and x.
struct Walk {
    double around[AROUND], before[AROUND];
    bool is_known[AROUND];
    int place[3];
    bool is_walking, has_settled;
};

// Sums of the moving window without its outermost voxels, and of the fixed window; returns whether all voxels are
// finite. The moving part begins one voxel before the window on each axis.
__device__ inline bool sum_levels(Part fixed, Part moving, Size size, Total (&total)[2]) {
    const Size outer = {size.depth + 2, size.height + 2, size.width + 2};
    bool finite = true;
    for (unsigned column = threadIdx.x; column < outer.depth * outer.width; column += blockDim.x) {
        const unsigned z = column / outer.width, x = column % outer.width;
        const bool is_inner = z - 1 < size.depth && x - 1 < size.width;
        const float* m = moving.first + z * moving.plane + x;
#pragma unroll 4
        for (unsigned y = 0; y < outer.height; ++y, m += moving.row) {
            const float value = *m;
            finite = finite && value - value == 0.0f;
            if (is_inner && y - 1 < size.height) total[0].add(value);
        }
    }
    for (unsigned column = threadIdx.x; column < size.depth * size.width; column += blockDim.x) {
        const float* f = fixed.first + column / size.width * fixed.plane + column % size.width;
#pragma unroll 4
        for (unsigned y = 0; y < size.height; ++y, f += fixed.row) {
            const float value = *f;
            finite = finite && value - value == 0.0f;
            total[1].add(value);
        }
    }
    return finite;
}

// Products, sums and squares of the centred windows at shifts (0, dy, dx) of moving; sum and squares of fixed.
__device__ inline void sum_products(
    Part fixed, Part moving, Size size, float fixed_level, float level, Total (&total)[N_SUMS]
) {
    const unsigned n_runs = (size.height + RUN - 1) / RUN, length = (size.height + n_runs - 1) / n_runs;
    for (unsigned item = threadIdx.x; item < size.depth * n_runs * size.width; item += blockDim.x) {
        const unsigned x = item % size.width, rest = item / size.width, z = rest / n_runs;
        const unsigned y_start = rest % n_runs * length, y_stop = min(y_start + length, size.height);
        const float* f = fixed.first + z * fixed.plane + y_start * fixed.row + x;
        const float* m = moving.first + z * moving.plane + y_start * moving.row + x;
        float rows[3][3], part[N_SUMS] = {};
#pragma unroll
        for (int i = 0; i < 6; ++i) rows[i / 3 + 1][i % 3] = m[i / 3 * moving.row + i % 3] - level;
        m += 2 * moving.row;
        for (unsigned y = y_start; y < y_stop; ++y, m += moving.row, f += fixed.row) {
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

// Whether a window has a voxel beside it on every side.
__device__ inline bool has_room(const int (&place)[3], const long long* extent, Size size) {
    const unsigned sides[3] = {size.depth, size.height, size.width};
    bool fits = true;
    for (int axis = 0; axis < 3; ++axis) {
        fits = fits && place[axis] >= 1 && place[axis] + (long long)sides[axis] + 1 <= extent[axis];
    }
    return fits;
}

// Goes to the best of the 26 neighbours, if one is better than the middle, and takes along what is known there.
__device__ inline void step(Walk& walk, const long long* extent, Size size) {
    int best = AROUND / 2;
    for (int i = 0; i < AROUND; ++i) {
        if (walk.around[i] > walk.around[best]) best = i;
    }
    if (best == AROUND / 2) {
        walk.is_walking = false;
        walk.has_settled = true;
        return;
    }
    const int by[3] = {best / 9 - 1, best / 3 % 3 - 1, best % 3 - 1};
    for (int i = 0; i < AROUND; ++i) walk.before[i] = walk.around[i];
    for (int i = 0; i < AROUND; ++i) {
        const int z = i / 9 + by[0], y = i / 3 % 3 + by[1], x = i % 3 + by[2];
        walk.is_known[i] = z >= 0 && z < 3 && y >= 0 && y < 3 && x >= 0 && x < 3;
        if (walk.is_known[i]) walk.around[i] = walk.before[9 * z + 3 * y + x];
    }
    for (int axis = 0; axis < 3; ++axis) walk.place[axis] += by[axis];
    walk.is_walking = has_room(walk.place, extent, size);
}

__device__ inline Part part(const float* array, const long long* extent) {
    return {array, (int)(extent[1] * extent[2]), (int)extent[2]};
}

extern "C" __global__ void __launch_bounds__(256, 2) climb(
    const float* __restrict__ windows, long long n_arrays, long long room,
    const long long* __restrict__ places, long long n_places, long long n_columns,
    long long depth, long long height, long long width,
    double* __restrict__ out, long long n_out, long long out_columns, long long max_steps
) {
    __shared__ double of_warp[WARPS][N_SUMS], sums[N_SUMS];
    __shared__ Walk walk;
    const Size size = {(unsigned)depth, (unsigned)height, (unsigned)width};
    const double count = (double)size.count();
    const long long* here = places + blockIdx.x * COLUMNS;
    const long long* there = here + n_out * COLUMNS;
    const Part fixed = part(windows + blockIdx.x * room, here).moved((int)here[3], (int)here[4], (int)here[5]);
    const Part whole = part(windows + (blockIdx.x + n_out) * room, there);
    double* found = out + blockIdx.x * out_columns;
    if (threadIdx.x < AROUND) {
        walk.is_known[threadIdx.x] = false;
        found[threadIdx.x] = 0.0;
    }
    if (threadIdx.x == 0) {
        for (int axis = 0; axis < 3; ++axis) walk.place[axis] = (int)there[3 + axis];
        walk.is_walking = has_room(walk.place, there, size);
        walk.has_settled = false;
    }
    __syncthreads();

    for (long long taken = 0; taken < max_steps && walk.is_walking; ++taken) {
        const Part moving = whole.moved(walk.place[0] - 1, walk.place[1] - 1, walk.place[2] - 1);
        Total levels[2];
        const bool finite = __syncthreads_and(sum_levels(fixed, moving, size, levels));
        block_sums(levels, of_warp, sums);
        const float level = (float)(sums[0] / count), fixed_level = (float)(sums[1] / count);
        __syncthreads();
#pragma unroll 1
        for (int dz = 0; dz < 3; ++dz) {
            const int shift = dz * SHIFTS + threadIdx.x;
            const bool is_wanted = threadIdx.x < SHIFTS && !walk.is_known[shift];
            if (!__syncthreads_or(is_wanted)) continue;
            Total total[N_SUMS];
            sum_products(fixed, moving.moved(dz, 0, 0), size, fixed_level, level, total);
            block_sums(total, of_warp, sums);
            if (is_wanted) {
                const double fixed_sum = sums[3 * SHIFTS];
                const double fixed_variance = sums[3 * SHIFTS + 1] - fixed_sum * fixed_sum / count;
                const double sum = sums[SHIFTS + threadIdx.x], squares = sums[2 * SHIFTS + threadIdx.x];
                const double variance = squares - sum * sum / count, cross = sums[threadIdx.x] - fixed_sum * sum / count;
                const double least = FLAT * level, fixed_least = FLAT * *fixed.first;
                const bool defined = finite && variance > count * (least * least) && variance > FLAT * squares
                    && fixed_variance > count * (fixed_least * fixed_least);
                walk.around[shift] = defined ? cross / sqrt(fixed_variance * variance) : 0.0;
            }
            __syncthreads();
        }
        if (threadIdx.x < AROUND) found[threadIdx.x] = walk.around[threadIdx.x];
        __syncthreads();
        if (threadIdx.x == 0) step(walk, there, size);
        __syncthreads();
    }
    if (threadIdx.x < 3) found[AROUND + threadIdx.x] = walk.place[threadIdx.x];
    if (threadIdx.x == 3) found[AROUND + 3] = walk.has_settled ? 1.0 : 0.0;
}

// Sections at uneven positions along z become evenly spaced planes.
//
// resample_z: a block of threads writes 2048 pixels of 16 planes. A thread writes the same few pixels of all these
// planes: 16 bytes of pixels that are 2 or 4 bytes wide. The thread goes up along z and keeps the two sections around
// the plane in registers, as floats. Each pixel of a section next to several planes is then fetched once. Pixels are
// taken one by one only in planes that do not begin at a whole word, and at the end of a plane.
//
// resample_local: a thread has one pixel of 32 planes. The thread finds the first interval by bisection, and goes up
// from there. The position of each section comes from the four nodes around the pixel, which neighbouring threads
// share. Positions are doubles, so that a volume in blocks equals the whole volume.
#include "common.cuh"

constexpr int PLANES = 16, PIXELS = 2048, RUN = sizeof(T) == 4 ? 4 : 8;
constexpr int LOCAL_PLANES = 32, LOCAL_ROWS = 4, LOCAL_COLUMNS = 64;
// As in gpustitch/regrid/plan.py.
constexpr double AT_SECTION = 1e-6, LEAST_INTERVAL = 1e-30;

__device__ inline float number_of(T voxel, int64 is_signed) {
    if constexpr (sizeof(T) == 2) return is_signed ? (float)(short)voxel : (float)voxel;
    else if constexpr (sizeof(T) == 1) return is_signed ? (float)(signed char)voxel : (float)voxel;
    else return voxel;
}

// Whole numbers are rounded, halves to even; the low bits of an int also represent a signed voxel.
__device__ inline T voxel_of(float value) {
    if constexpr (Voxel<T>::is_whole) return (T)(int)rintf(value);
    else return value;
}

__device__ inline bool is_word(const T* at) { return (unsigned long long)at % (RUN * sizeof(T)) == 0; }

__device__ inline void load(const T* source, int n, int64 is_signed, float (&value)[RUN]) {
    if (n == RUN && is_word(source)) {
        if constexpr (sizeof(T) == 4) {
            const float4 word = *reinterpret_cast<const float4*>(source);
            value[0] = word.x, value[1] = word.y, value[2] = word.z, value[3] = word.w;
        } else {
            unsigned words[RUN * sizeof(T) / 4];
            if constexpr (sizeof(T) == 2) {
                const uint4 word = *reinterpret_cast<const uint4*>(source);
                words[0] = word.x, words[1] = word.y, words[2] = word.z, words[3] = word.w;
            } else {
                const uint2 word = *reinterpret_cast<const uint2*>(source);
                words[0] = word.x, words[1] = word.y;
            }
            constexpr int EACH = 4 / sizeof(T);
#pragma unroll
            for (int i = 0; i < RUN; ++i) {
                value[i] = number_of((T)(words[i / EACH] >> (8 * sizeof(T) * (i % EACH))), is_signed);
            }
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < RUN; ++i) value[i] = i < n ? number_of(source[i], is_signed) : 0.0f;
}

__device__ inline void store(T* target, int n, const T (&voxel)[RUN]) {
    if (n == RUN && is_word(target)) {
        if constexpr (sizeof(T) == 4) {
            *reinterpret_cast<float4*>(target) = make_float4(voxel[0], voxel[1], voxel[2], voxel[3]);
        } else {
            constexpr int EACH = 4 / sizeof(T);
            unsigned words[RUN / EACH];
#pragma unroll
            for (int i = 0; i < RUN / EACH; ++i) {
                T some[EACH];
#pragma unroll
                for (int k = 0; k < EACH; ++k) some[k] = voxel[i * EACH + k];
                words[i] = packed(some);
            }
            if constexpr (sizeof(T) == 2) {
                *reinterpret_cast<uint4*>(target) = make_uint4(words[0], words[1], words[2], words[3]);
            } else {
                *reinterpret_cast<uint2*>(target) = make_uint2(words[0], words[1]);
            }
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < RUN; ++i) {
        if (i < n) target[i] = voxel[i];
    }
}

__device__ inline void copy(const float (&from)[RUN], float (&to)[RUN]) {
#pragma unroll
    for (int i = 0; i < RUN; ++i) to[i] = from[i];
}

extern "C" __global__ void __launch_bounds__(256) resample_z(
    const T* const* __restrict__ sections, const long long* __restrict__ shapes, long long n_sections,
    const long long* __restrict__ lower, long long n_lower, const long long* __restrict__ upper, long long n_upper,
    const float* __restrict__ weight, long long n_weight, long long is_signed,
    T* __restrict__ out, long long n_planes, long long n_pixels) {
    __shared__ const T* below[PLANES];
    __shared__ const T* above[PLANES];
    __shared__ float weights[PLANES];
    const unsigned across = (unsigned)((n_pixels + PIXELS - 1) / PIXELS);
    const int64 first = (int64)(blockIdx.x / across) * PLANES, start = (int64)(blockIdx.x % across) * PIXELS;
    const int depth = (int)min((int64)PLANES, n_planes - first), width = (int)min((int64)PIXELS, n_pixels - start);
    if (threadIdx.x < depth) {
        const int64 k = first + threadIdx.x;
        below[threadIdx.x] = lower[k] < 0 ? nullptr : sections[lower[k]] + start;
        above[threadIdx.x] = upper[k] < 0 ? nullptr : sections[upper[k]] + start;
        weights[threadIdx.x] = weight[k];
    }
    __syncthreads();

    for (int at = threadIdx.x * RUN; at < width; at += blockDim.x * RUN) {
        const int n = min(RUN, width - at);
        float near[RUN], far[RUN];
        const T *near_of = nullptr, *far_of = nullptr;
        T* target = out + first * n_pixels + start + at;
        for (int k = 0; k < depth; ++k, target += n_pixels) {
            T voxel[RUN];
            if (below[k] == nullptr) {
#pragma unroll
                for (int i = 0; i < RUN; ++i) voxel[i] = (T)0;
                store(target, n, voxel);
                continue;
            }
            if (below[k] != near_of) {
                if (below[k] == far_of) copy(far, near);
                else load(below[k] + at, n, is_signed, near);
                near_of = below[k];
            }
            const float w = weights[k];
            if (w != 0.0f && above[k] != far_of) {
                load(above[k] + at, n, is_signed, far);
                far_of = above[k];
            }
#pragma unroll
            for (int i = 0; i < RUN; ++i) {
                voxel[i] = voxel_of(w != 0.0f ? near[i] + w * (far[i] - near[i]) : near[i]);
            }
            store(target, n, voxel);
        }
    }
}

// A pixel's place between the nodes of the grid of positions.
struct Nodes {
    const double* positions;
    int64 each, above_left, above_right, below_left, below_right;
    double along_y, along_x;

    __device__ double position(int64 section) const {
        const double* grid = positions + section * each;
        const double left = grid[above_left] + (grid[below_left] - grid[above_left]) * along_y;
        const double right = grid[above_right] + (grid[below_right] - grid[above_right]) * along_y;
        return left + (right - left) * along_x;
    }
};

__device__ inline float between(float near, float far, double fraction, bool is_wide, bool nearest) {
    if (!(fraction >= -AT_SECTION && fraction <= 1.0 + AT_SECTION)) return 0.0f;
    if (fraction <= AT_SECTION) return near;
    if (fraction >= 1.0 - AT_SECTION) return far;
    if (is_wide) return 0.0f;
    if (nearest) return fraction >= 0.5 ? far : near;
    return near + (float)fraction * (far - near);
}

extern "C" __global__ void __launch_bounds__(256) resample_local(
    const T* const* __restrict__ sections, const long long* __restrict__ shapes, long long n_sections,
    const double* __restrict__ positions, long long n_positions, long long gy, long long gx,
    const double* __restrict__ limits, long long n_limits,
    const long long* __restrict__ row_node, long long n_row_node,
    const double* __restrict__ row_weight, long long n_row_weight,
    const long long* __restrict__ column_node, long long n_column_node,
    const double* __restrict__ column_weight, long long n_column_weight,
    double first, double step, long long start, long long nearest, long long is_signed,
    T* __restrict__ out, long long n_planes, long long n_rows, long long n_columns) {
    const unsigned across = (unsigned)((n_columns + LOCAL_COLUMNS - 1) / LOCAL_COLUMNS);
    const unsigned down = (unsigned)((n_rows + LOCAL_ROWS - 1) / LOCAL_ROWS);
    const int64 x = (int64)(blockIdx.x % across) * LOCAL_COLUMNS + threadIdx.x % LOCAL_COLUMNS;
    const int64 y = (int64)(blockIdx.x / across % down) * LOCAL_ROWS + threadIdx.x / LOCAL_COLUMNS;
    const int64 first_plane = (int64)(blockIdx.x / across / down) * LOCAL_PLANES;
    if (x >= n_columns || y >= n_rows) return;

    const int64 j = row_node[y], i = column_node[x];
    const int64 j_next = min(j + 1, gy - 1), i_next = min(i + 1, gx - 1);
    const Nodes nodes = {positions, gy * gx, j * gx + i, j * gx + i_next, j_next * gx + i, j_next * gx + i_next,
                         row_weight[y], column_weight[x]};
    const int64 pixel = y * n_columns + x;

    // The last section not above the first plane, but at most the last section but one.
    const double bottom = first + step * (double)(start + first_plane);
    int64 low = 0, above = n_sections - 1;
    while (above - low > 1) {
        const int64 middle = (low + above) / 2;
        if (nodes.position(middle) <= bottom) low = middle;
        else above = middle;
    }
    double lower = nodes.position(low), upper = nodes.position(low + 1);
    float near = number_of(sections[low][pixel], is_signed), far = number_of(sections[low + 1][pixel], is_signed);
    const int64 stop = min(first_plane + LOCAL_PLANES, n_planes);
    T* target = out + first_plane * n_rows * n_columns + pixel;
    for (int64 k = first_plane; k < stop; ++k, target += n_rows * n_columns) {
        const double z = first + step * (double)(start + k);
        while (low < n_sections - 2 && upper <= z) {
            ++low;
            lower = upper;
            near = far;
            upper = nodes.position(low + 1);
            far = number_of(sections[low + 1][pixel], is_signed);
        }
        const double interval = upper - lower > LEAST_INTERVAL ? upper - lower : LEAST_INTERVAL;
        const float value = between(near, far, (z - lower) / interval, interval > limits[low], nearest != 0);
        *target = voxel_of(value);
    }
}

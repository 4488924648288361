// Local maxima of several arrays: where they are, and a list of them for each array.
#include "common.cuh"

// Voxels at the ends of each axis are none (MARGIN), as filters see the reflection of the array there.
constexpr int MARGIN = 3, LANES = 32, WARPS = 8, AT_ONCE = 16, AXES = 3;
constexpr unsigned ALL = 0xffffffffu;

// Whether no voxel at one of the offsets exceeds this one. Of touching voxels of one value the first is the maximum.
// The place is far enough inside that touching voxels are there.
__device__ inline bool is_highest(
    const float* contrast, const int (&place)[AXES], const int (&extent)[AXES], const long long* offsets, int64 n_offsets
) {
    const float here = *contrast;
    for (int64 i = 0; i < n_offsets; ++i) {
        const int dz = (int)offsets[AXES * i], dy = (int)offsets[AXES * i + 1], dx = (int)offsets[AXES * i + 2];
        const int z = place[0] + dz, y = place[1] + dy, x = place[2] + dx;
        if (z < 0 || y < 0 || x < 0 || z >= extent[0] || y >= extent[1] || x >= extent[2]) continue;
        const float other = contrast[(int64)(dz * extent[1] + dy) * extent[2] + dx];
        const bool touches = dz * dz <= 1 && dy * dy <= 1 && dx * dx <= 1;
        const bool is_earlier = dz ? dz < 0 : dy ? dy < 0 : dx < 0;
        if (touches && is_earlier ? !(here > other) : other > here) return false;
    }
    return true;
}

// A thread judges one voxel; few are high enough to look at others.
extern "C" __global__ void mark_blobs(
    const float* __restrict__ contrast, long long n_arrays, long long room,
    const float* __restrict__ level, long long n_levels, long long level_room,
    const long long* __restrict__ places, long long n_places, long long n_columns,
    const long long* __restrict__ offsets, long long n_offsets, long long n_axes,
    double rounding, float* __restrict__ out, long long n_out, long long out_room
) {
    const int64 i = thread_number();
    if (i >= n_arrays * room) return;
    const int64 array = i / room;
    const long long* shape = places + array * n_columns;
    const int extent[AXES] = {(int)shape[0], (int)shape[1], (int)shape[2]};
    const int at = (int)(i - array * room);
    if (at >= extent[0] * extent[1] * extent[2]) return;
    const int place[AXES] = {at / extent[2] / extent[1], at / extent[2] % extent[1], at % extent[2]};
    bool is_blob = contrast[i] > level[i] * (float)rounding;
    for (int axis = 0; axis < AXES; ++axis) {
        is_blob = is_blob && place[axis] >= MARGIN && place[axis] < extent[axis] - MARGIN;
    }
    out[i] = is_blob && is_highest(contrast + i, place, extent, offsets, n_offsets) ? contrast[i] : 0.0f;
}

// A block lists the marks of one array in order. A warp reads AT_ONCE times 32 neighbours before it counts them.
extern "C" __global__ void __launch_bounds__(256) list_blobs(
    const float* __restrict__ marked, long long n_arrays, long long room,
    const long long* __restrict__ places, long long n_places, long long n_columns,
    double* __restrict__ out, long long n_out, long long n_listed
) {
    __shared__ int counts[WARPS];
    const long long* extent = places + blockIdx.x * n_columns;
    const int n = (int)(extent[0] * extent[1] * extent[2]);
    const int most = (int)((n_listed - 1) / 2), lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const float* row = marked + blockIdx.x * room;
    double* list = out + blockIdx.x * n_listed;
    int total = 0;
    for (int64 base = 0; base < n; base += WARPS * AT_ONCE * LANES) {
        const int64 first = base + warp * AT_ONCE * LANES + lane;
        float values[AT_ONCE];
        unsigned there[AT_ONCE];
        int count = 0;
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) values[k] = first + k * LANES < n ? row[first + k * LANES] : 0.0f;
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            there[k] = __ballot_sync(ALL, values[k] != 0.0f);
            count += __popc(there[k]);
        }
        if (lane == 0) counts[warp] = count;
        __syncthreads();
        int at = total;
        for (int w = 0; w < WARPS; ++w) {
            if (w < warp) at += counts[w];
            total += counts[w];
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            const int mine = at + __popc(there[k] & ((1u << lane) - 1));
            if (values[k] != 0.0f && mine < most) {
                list[1 + 2 * mine] = (double)(first + k * LANES);
                list[2 + 2 * mine] = values[k];
            }
            at += __popc(there[k]);
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) list[0] = total;
}

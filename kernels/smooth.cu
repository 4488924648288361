// Smoothing of small arrays of any shapes along one axis, each with its own reflection at the ends.
//
// A thread computes one voxel. Along x, threads of a warp read the same voxels from the L1 cache; along other axes they
// are neighbours in memory.
#include "common.cuh"

// Place of voxel ``at`` of a row of ``n`` that is reflected at its ends, as often as needed.
__device__ inline int reflected(int at, int n) {
    while (at < 0 || at >= n) at = at < 0 ? -1 - at : 2 * n - 1 - at;
    return at;
}

extern "C" __global__ void smooth_along(
    const T* __restrict__ voxels, long long n_arrays, long long room,
    const long long* __restrict__ places, long long n_places, long long n_columns,
    const float* __restrict__ weights, long long n_weights,
    float* __restrict__ out, long long n_out, long long out_room, long long axis
) {
    const int64 i = thread_number();
    if (i >= n_arrays * room) return;
    const int64 array = i / room;
    const long long* extent = places + array * n_columns;
    const int depth = (int)extent[0], height = (int)extent[1], width = (int)extent[2];
    const int at = (int)(i - array * room);
    if (at >= depth * height * width) return;
    const int step = axis == 2 ? 1 : axis == 1 ? width : height * width;
    const int length = axis == 2 ? width : axis == 1 ? height : depth;
    const int here = at / step % length, radius = (int)(n_weights / 2);
    const T* row = voxels + array * room + (at - here * step);
    float sum = 0.0f;
    for (int k = -radius; k <= radius; ++k) {
        sum = fmaf(weights[k + radius], (float)row[reflected(here + k, length) * step], sum);
    }
    out[i] = sum;
}

// Frames of the sheet (frame, row, plane) to boxes of planes (z, y, x): column x of plane z is frame
// x + first - drift[z].
//
// A block of threads writes one row y of 64 planes and 64 columns. Shared memory transposes: reads run along the planes
// of a frame, 128 bytes of uint16 at a time, writes along x. Each of the block's frames is fetched once; neighbouring
// blocks share frames through the L2 cache. The pitch puts neighbours of either direction into different banks.
#include "common.cuh"

constexpr int PLANES = 64, COLUMNS = 64, WARPS = 8, PITCH = COLUMNS + (sizeof(T) == 4 ? 1 : 2);
constexpr int64 FAR = 1LL << 60;

// Pieces of as many frames each, in which frames follow one another in turn.
struct Pieces {
    const T* const* frames;
    int64 count, each, pixels;

    __device__ const T* frame(int64 number) const {
        const int64 piece = number / each;
        return frames[piece % count] + (number - piece * each) * pixels;
    }
};

extern "C" __global__ void __launch_bounds__(256) upright(
    const T* const* frames, const long long* shapes, long long n_pieces,
    const long long* drift, long long n_drift,
    const long long* places, long long n_places, long long of_place,
    T* out, long long n_boxes, long long depth, long long height, long long width,
    long long begin, long long stop, long long first_row) {
    __shared__ T sample[PLANES * PITCH];
    __shared__ int64 starts[PLANES];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int64 across = (width + COLUMNS - 1) / COLUMNS, down = (depth + PLANES - 1) / PLANES;
    const int64 x_start = blockIdx.x % across * COLUMNS, row = blockIdx.x / across;
    const int64 y = row % height, z_start = row / height % down * PLANES, box = row / height / down;
    const int64 first_plane = places[2 * box], first = places[2 * box + 1];
    const int planes = (int)min((int64)PLANES, depth - z_start), columns = (int)min((int64)COLUMNS, width - x_start);
    const Pieces pieces = {frames, n_pieces, shapes[0], shapes[1] * shapes[2]};
    const int64 n_planes = shapes[2];

    // The frame of the block's first column on each plane.
    if (threadIdx.x < planes) starts[threadIdx.x] = first + x_start - drift[first_plane + z_start + threadIdx.x];
    for (int i = threadIdx.x; i < PLANES * PITCH; i += blockDim.x) sample[i] = (T)0;
    __syncthreads();
    int64 low = FAR, high = -FAR;
    for (int z = 0; z < planes; ++z) low = min(low, starts[z]), high = max(high, starts[z]);
    low = max(low, (int64)begin), high = min(high + columns, (int64)stop);

    for (int64 number = low + warp; number < high; number += WARPS) {
        const T* source = pieces.frame(number) + (first_row + y) * n_planes + first_plane + z_start;
#pragma unroll
        for (int z = lane; z < PLANES; z += 32) {
            if (z >= planes) continue;
            const int64 x = number - starts[z];
            if (x >= 0 && x < columns) sample[z * PITCH + (int)x] = source[z];
        }
    }
    __syncthreads();
    for (int z = warp; z < planes; z += WARPS) {
        T* target = out + ((box * depth + z_start + z) * height + y) * width + x_start;
        for (int x = lane; x < columns; x += 32) target[x] = sample[z * PITCH + x];
    }
}

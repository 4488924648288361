// Arrays of any shapes, each at the beginning of a row: means over bins, and levels taken away.
// T is the type of voxels.
#include "common.cuh"

// A thread makes one bin. It sums along x, then y, then z in turn, and divides each sum, as NumPy's twin does.
extern "C" __global__ void bin_means(
    const T* __restrict__ voxels, long long n_arrays, long long room,
    const long long* __restrict__ places, long long n_places, long long n_columns,
    long long depth, long long height, long long width,
    float* __restrict__ out, long long n_out, long long out_room
) {
    const int64 i = thread_number();
    if (i >= n_out * out_room) return;
    const int64 array = i / out_room, at = i % out_room;
    const long long* extent = places + array * n_columns;
    const int64 rows = extent[1] / height, columns = extent[2] / width;
    if (at >= extent[0] / depth * rows * columns) return;
    const int64 z = at / columns / rows * depth, y = at / columns % rows * height, x = at % columns * width;
    const T* first = voxels + array * room + (z * extent[1] + y) * extent[2] + x;
    float mean = 0.0f;
    for (int64 dx = 0; dx < width; ++dx) {
        float of_rows = 0.0f;
        for (int64 dy = 0; dy < height; ++dy) {
            float of_planes = 0.0f;
            for (int64 dz = 0; dz < depth; ++dz) of_planes += (float)first[(dz * extent[1] + dy) * extent[2] + dx];
            of_rows += of_planes / (float)depth;
        }
        mean += of_rows / (float)height;
    }
    out[i] = mean / (float)width;
}

constexpr int LANES = 32, THREADS = 1024, AT_ONCE = 4;

// A block takes the level away from one array: the sum of its bins, over a number of its own.
extern "C" __global__ void __launch_bounds__(1024) less_levels(
    const float* bins, long long n_arrays, long long room,
    const long long* __restrict__ sizes, long long n_sizes,
    const float* __restrict__ weights, long long n_weights, long long weight_room,
    const double* __restrict__ divisors, long long n_divisors, float* out, long long n_out, long long out_room
) {
    __shared__ double sums[LANES];
    const int64 array = blockIdx.x, n = sizes[array];
    const float* row = bins + array * room;
    const float* weight = n_weights ? weights + array * weight_room : nullptr;
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    double part[AT_ONCE] = {};
    for (int64 first = threadIdx.x; first < n; first += THREADS * AT_ONCE) {
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            if (first + k * THREADS < n) part[k] += row[first + k * THREADS];
        }
    }
    double sum = (part[0] + part[1]) + (part[2] + part[3]);
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
    if (lane == 0) sums[warp] = sum;
    __syncthreads();
    sum = 0;
    for (int w = 0; w < LANES; ++w) sum += sums[w];
    const float level = (float)(sum / divisors[array]);
    for (int64 at = threadIdx.x; at < n; at += THREADS) {
        out[array * out_room + at] = row[at] - (weight ? level * weight[at] : level);
    }
}

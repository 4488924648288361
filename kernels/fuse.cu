#include "common.cuh"

// A warp writes 31 columns of 8 rows of one plane; a block 2 such warps side by side on each of 4 planes, so that most
// neighbours along y and z are in the cache of the multiprocessor. A lane interpolates one column of voxels along z and
// y, each value once, and takes its neighbour along x from the next lane; the last lane does so for the one before only.
// Tiles that miss the warp's voxels are found first, by one lane each; most warps are left with a single tile, for which
// no weight is computed. Reads are clamped to what the tile covers instead of being skipped, so that all are under way
// at once; what was read in vain is not added.
constexpr int ROWS = 8, COLUMNS = 31, PLANES = 4, ACROSS = 2;
constexpr unsigned ALL = 0xffffffffu;

// Of blend.py: least distance of a covered voxel, width of a rim, less than any covered voxel's squared distance.
constexpr float LEAST_DISTANCE = 1.0f / 32.0f, FADE = 16.0f, NOT_COVERED = 1e-30f, LEAST_SUM = 1e-37f;

struct Tables {
    const int *bounds, *columns;
    const double* edges;
    const float *planes, *rows;
    const unsigned char* axes;
    int64 n_tiles, n_planes, n_rows;

    __device__ const int* bounds_of(int64 tile) const { return bounds + tile * 7; }
    __device__ const int* columns_of(int64 tile, int64 z) const { return columns + (tile * n_planes + z) * 3; }
    __device__ const float* plane_of(int64 tile, int64 z) const { return planes + (tile * n_planes + z) * 4; }
    __device__ const float* row_of(int64 tile, int64 y) const { return rows + (tile * n_rows + y) * 2; }
};

// A lane's first voxel; ``left`` is the warp's first column.
struct Voxels {
    int z, y, x, left;
};

// Distances to the nearer edge of a tile.
struct Near {
    float z, y, x;
};

__device__ inline float square(float value) { return value * value; }

__device__ inline float lerp(float lower, float upper, float fraction) { return (upper - lower) * fraction + lower; }

__device__ inline int clamped(int value, int first, int last) { return max(first, min(value, last)); }

// Which of 32 tiles, beginning with ``base``, cover anything of the warp's voxels.
__device__ inline unsigned meeting(const Tables& tables, int64 base, const Voxels& at) {
    const int64 tile = base + threadIdx.x % 32;
    bool meets = false;
    if (tile < tables.n_tiles) {
        const int *bounds = tables.bounds_of(tile), *columns = tables.columns_of(tile, at.z);
        meets = bounds[0] <= at.z && at.z < bounds[1] && max(bounds[2], at.y) < min(bounds[3], at.y + ROWS) &&
                max(columns[0], at.left) < min(columns[1], at.left + COLUMNS);
    }
    return __ballot_sync(ALL, meets);
}

__device__ inline Near near_edges(const Tables& tables, int64 tile, const Voxels& at) {
    const double* edges = tables.edges + (tile * tables.n_planes + at.z) * 2;
    const double before = (double)at.x - edges[0], after = edges[1] - (double)at.x;
    return {tables.plane_of(tile, at.z)[3], 0.0f, (float)(before < after ? before : after)};
}

// Along an axis that two tiles do not differ in, the one whose edge is nearer fades.
__device__ inline void fade(float& mine, float& other, float near_mine, float near_other) {
    if (fminf(near_mine, near_other) >= FADE) return;
    const float a = fminf(fmaxf(near_mine, LEAST_DISTANCE), FADE), b = fminf(fmaxf(near_other, LEAST_DISTANCE), FADE);
    const float further = fmaxf(a, b);
    mine *= square(a / further);
    other *= square(b / further);
}

// The weight of one tile against another where both cover the voxel.
__device__ inline float share(const Near& a, const Near& b, const unsigned char* axes) {
    float least_a = 3e38f, least_b = 3e38f;
    if (axes[0]) least_a = a.z, least_b = b.z;
    if (axes[1]) least_a = fminf(least_a, a.y), least_b = fminf(least_b, b.y);
    if (axes[2]) least_a = fminf(least_a, a.x), least_b = fminf(least_b, b.x);
    float mine = square(fmaxf(least_a, LEAST_DISTANCE)), other = square(fmaxf(least_b, LEAST_DISTANCE));
    if (!axes[0]) fade(mine, other, a.z, b.z);
    if (!axes[1]) fade(mine, other, a.y, b.y);
    if (!axes[2]) fade(mine, other, a.x, b.x);
    return mine / fmaxf(mine + other, NOT_COVERED);
}

// Multiplies a tile's weights by those against another one.
__device__ inline void weigh(const Tables& tables, int64 tile, int64 other, const Voxels& at, float (&weight)[ROWS]) {
    const int *bounds = tables.bounds_of(other), *columns = tables.columns_of(other, at.z);
    if (at.x < columns[0] || at.x >= columns[1]) return;
    const unsigned char* axes = tables.axes + (tile * tables.n_tiles + other) * 3;
    Near mine = near_edges(tables, tile, at), theirs = near_edges(tables, other, at);
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        if (at.y + r < bounds[2] || at.y + r >= bounds[3]) continue;
        mine.y = tables.row_of(tile, at.y + r)[0];
        theirs.y = tables.row_of(other, at.y + r)[0];
        weight[r] *= share(mine, theirs, axes);
    }
}

// A lane's column of interpolated voxels of a tile that meets the warp: along z, then y, then x, as the definition.
__device__ inline void interpolate(const Tables& tables, int64 tile, const T* voxels, int64 rows, int64 columns,
                                   const Voxels& at, float (&value)[ROWS + 1]) {
    const int *bounds = tables.bounds_of(tile), *covered = tables.columns_of(tile, at.z);
    const float* fraction = tables.plane_of(tile, at.z);
    const float along_z = fraction[0], along_y = fraction[1], along_x = fraction[2];
    const int x = clamped(at.x, covered[0], covered[1] - (along_x == 0.0f));
    const int first = bounds[2], last = min(bounds[3], at.y + ROWS) - (along_y == 0.0f);
    const T* voxel = voxels + ((int64)(bounds[4] + at.z) * rows + bounds[5] + clamped(at.y, first, last)) * columns +
                     covered[2] + x;
    const int64 below = along_z > 0.0f ? rows * columns : 0;
#pragma unroll
    for (int r = 0; r <= ROWS; ++r) {
        const float here = voxel[0], there = voxel[below];
        value[r] = along_z > 0.0f ? lerp(here, there, along_z) : here;
        if (at.y + r >= first && at.y + r < last) voxel += columns;
    }
    if (along_y > 0.0f) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) value[r] = lerp(value[r], value[r + 1], along_y);
    }
    if (along_x > 0.0f) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) value[r] = lerp(value[r], __shfl_down_sync(ALL, value[r], 1), along_x);
    }
}

extern "C" __global__ void __launch_bounds__(256) fuse_tiles(
    const T* const* voxels, const long long* shapes, long long n_tiles, const int* bounds, long long bounds_tiles,
    long long bounds_each, const int* columns, long long columns_tiles, long long columns_planes, long long columns_each,
    const double* edges, long long edges_tiles, long long edges_planes, long long edges_each, const float* planes,
    long long planes_tiles, long long planes_planes, long long planes_each, const float* rows, long long rows_tiles,
    long long rows_rows, long long rows_each, const unsigned char* axes, long long axes_tiles, long long axes_others,
    long long axes_each, T* out, long long out_planes, long long out_rows, long long out_columns) {
    const Tables tables = {bounds, columns, edges, planes, rows, axes, n_tiles, out_planes, out_rows};
    const int across = (out_columns + COLUMNS * ACROSS - 1) / (COLUMNS * ACROSS), down = (out_rows + ROWS - 1) / ROWS;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Voxels at;
    at.z = blockIdx.x / across / down * PLANES + warp / ACROSS;
    at.y = blockIdx.x / across % down * ROWS;
    at.left = (blockIdx.x % across * ACROSS + warp % ACROSS) * COLUMNS;
    at.x = at.left + lane;
    if (at.z >= out_planes || at.left >= out_columns) return;

    float total[ROWS] = {}, sum[ROWS] = {};
    int n_met = 0;
    for (int64 base = 0; base < n_tiles; base += 32) {
        const unsigned met = meeting(tables, base, at);
        n_met += __popc(met);
        for (unsigned left = met; left; left &= left - 1) {
            const int64 tile = base + __ffs(left) - 1;
            float weight[ROWS], value[ROWS + 1];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) weight[r] = 1.0f;
            for (int64 others = 0; others < n_tiles; others += 32) {
                for (unsigned o = others == base ? met : meeting(tables, others, at); o; o &= o - 1) {
                    const int64 other = others + __ffs(o) - 1;
                    if (other != tile) weigh(tables, tile, other, at, weight);
                }
            }
            interpolate(tables, tile, voxels[tile], shapes[tile * 3 + 1], shapes[tile * 3 + 2], at, value);
            const int *own = tables.bounds_of(tile), *covered = tables.columns_of(tile, at.z);
            const bool has_gain = own[6];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                if (at.x < covered[0] || at.x >= covered[1] || at.y + r < own[2] || at.y + r >= own[3]) continue;
                const float gain = has_gain ? tables.row_of(tile, at.y + r)[1] : 1.0f;
                total[r] += value[r] * (weight[r] * gain);
                sum[r] += weight[r];
            }
        }
    }
    if (lane == COLUMNS || at.x >= out_columns) return;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        if (at.y + r >= out_rows) break;
        const float value = n_met > 2 ? total[r] / fmaxf(sum[r], LEAST_SUM) : total[r];
        out[((int64)at.z * out_rows + at.y + r) * out_columns + at.x] = to_voxel<T>(value);
    }
}

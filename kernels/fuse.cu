#include "common.cuh"

// Fusion: a block of the mosaic from the voxels of its tiles, each tile one stage run.
//
// A warp writes 31 columns of 16 rows of one plane, 8 rows at a time. A block has 2 such warps side by side on each of
// 4 planes. Most neighbours along y and z are then in the multiprocessor's cache. A lane interpolates one column of
// voxels along z and y, each value once. The neighbour along x comes from the next lane; the last lane only serves the
// lane before it. First each lane tests one tile, and tiles that miss the warp's voxels drop out. Most warps keep a
// single tile, and compute no weights. At a tile's border reads are clamped, not skipped, so that all reads overlap;
// surplus values are not used.
constexpr int ROWS = 8, ALL_ROWS = 16, COLUMNS = 31, PLANES = 4, ACROSS = 2;
constexpr unsigned ALL = 0xffffffffu;

// As in gpustitch/oblique/fuse/blend.py: the least distance of a covered voxel, and the voxels over which a tile fades
// out. Then a bound below every covered voxel's squared distance, and a bound below every covered voxel's sum of
// weights.
constexpr float LEAST_DISTANCE = 1.0f / 32.0f, FADE = 16.0f, NOT_COVERED = 1e-30f, LEAST_SUM = 1e-37f;

struct Tables {
    const int *bounds, *columns;
    const double* edges;
    const float *planes, *rows;
    const unsigned char* axes;
    int n_tiles, n_planes, n_rows;
};

// A lane's first voxel; ``left`` is the warp's first column.
struct Voxels {
    int z, y, x, left;
};

// A tile's part of the warp's plane, and its distances and gains by rows.
struct Tile {
    int first_row, stop_row, first, stop, has_gain;
    const float* rows;

    __device__ Tile(const Tables& tables, int tile, const Voxels& at) {
        const int* bounds = tables.bounds + (int64)tile * 7;
        const int* columns = tables.columns + ((int64)tile * tables.n_planes + at.z) * 3;
        first_row = bounds[2], stop_row = bounds[3], first = columns[0], stop = columns[1], has_gain = bounds[6];
        rows = tables.rows + (int64)tile * tables.n_rows * 2;
    }
    __device__ bool covers_column(int x) const { return first <= x && x < stop; }
    __device__ bool covers_row(int y) const { return first_row <= y && y < stop_row; }
    __device__ float near_y(int y) const { return rows[2 * y]; }
    __device__ float gain(int y) const { return has_gain ? rows[2 * y + 1] : 1.0f; }
};

// A tile's voxels; ``offset`` belongs to the lane's column, in the tile's row at row 0 of ``out``.
struct Source {
    const T* voxels;
    int64 offset, row, plane;
    float along_z, along_y, along_x;
    int first_row, stop_row;
};

// Distances to the nearer edge of a tile along each axis.
struct Near {
    float z, y, x;
};

__device__ inline float square(float value) { return value * value; }

__device__ inline float lerp(float lower, float upper, float fraction) { return (upper - lower) * fraction + lower; }

__device__ inline int clamped(int value, int first, int last) { return max(first, min(value, last)); }

// Which of 32 tiles, beginning with ``base``, cover any of the warp's voxels.
__device__ inline unsigned meeting(const Tables& tables, int base, const Voxels& at) {
    const int number = base + threadIdx.x % 32;
    bool meets = false;
    if (number < tables.n_tiles) {
        const Tile tile(tables, number, at);
        const int first_plane = tables.bounds[(int64)number * 7], stop_plane = tables.bounds[(int64)number * 7 + 1];
        meets = (first_plane <= at.z) & (at.z < stop_plane) &
                (max(tile.first_row, at.y) < min(tile.stop_row, at.y + ALL_ROWS)) &
                (max(tile.first, at.left) < min(tile.stop, at.left + COLUMNS));
    }
    return __ballot_sync(ALL, meets);
}

__device__ inline Near near_edges(const Tables& tables, int tile, const Voxels& at) {
    const int64 plane = (int64)tile * tables.n_planes + at.z;
    const double before = (double)at.x - tables.edges[plane * 2], after = tables.edges[plane * 2 + 1] - (double)at.x;
    return {tables.planes[plane * 4 + 3], 0.0f, (float)(before < after ? before : after)};
}

// Along an axis in which two tiles do not differ, the tile with the nearer edge fades.
__device__ inline void fade(float& mine, float& other, float near_mine, float near_other) {
    if (fminf(near_mine, near_other) >= FADE) return;
    const float a = fminf(fmaxf(near_mine, LEAST_DISTANCE), FADE), b = fminf(fmaxf(near_other, LEAST_DISTANCE), FADE);
    const float factor = square(fminf(a, b) / fmaxf(a, b));
    mine *= a < b ? factor : 1.0f;
    other *= a < b ? 1.0f : factor;
}

// In which axes two tiles differ.
struct Axes {
    bool z, y, x;
};

// The weight of one tile against another where both cover the voxel.
__device__ inline float share(const Near& a, const Near& b, Axes differ) {
    float least_a = 3e38f, least_b = 3e38f;  // more than any distance; two tiles differ in at least one axis
    if (differ.z) least_a = a.z, least_b = b.z;
    if (differ.y) least_a = fminf(least_a, a.y), least_b = fminf(least_b, b.y);
    if (differ.x) least_a = fminf(least_a, a.x), least_b = fminf(least_b, b.x);
    float mine = square(fmaxf(least_a, LEAST_DISTANCE)), other = square(fmaxf(least_b, LEAST_DISTANCE));
    if (!differ.z) fade(mine, other, a.z, b.z);
    if (!differ.y) fade(mine, other, a.y, b.y);
    if (!differ.x) fade(mine, other, a.x, b.x);
    return mine / fmaxf(mine + other, NOT_COVERED);
}

// Multiplies a tile's weights by its weights against another tile.
__device__ inline void weigh(const Tables& tables, int number, int other, const Voxels& at, float (&weight)[ROWS]) {
    const Tile tile(tables, number, at), against(tables, other, at);
    if (!against.covers_column(at.x)) return;
    const unsigned char* axes = tables.axes + ((int64)number * tables.n_tiles + other) * 3;
    const Axes differ = {axes[0] != 0, axes[1] != 0, axes[2] != 0};
    Near mine = near_edges(tables, number, at), theirs = near_edges(tables, other, at);
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        if (!against.covers_row(at.y + r)) continue;
        mine.y = tile.near_y(at.y + r);
        theirs.y = against.near_y(at.y + r);
        weight[r] *= share(mine, theirs, differ);
    }
}

__device__ inline Source source_of(const Tables& tables, int number, const T* voxels, const int64* shape,
                                   const Voxels& at) {
    const int* bounds = tables.bounds + (int64)number * 7;
    const int64 plane = (int64)number * tables.n_planes + at.z;
    const int* columns = tables.columns + plane * 3;
    const float* fractions = tables.planes + plane * 4;
    Source source = {voxels, 0, shape[2], shape[1] * shape[2], fractions[0], fractions[1], fractions[2],
                     bounds[2], bounds[3]};
    const int x = clamped(at.x, columns[0], columns[1] - (source.along_x == 0.0f));
    source.offset = (bounds[4] + at.z) * source.plane + bounds[5] * source.row + columns[2] + x;
    return source;
}

// A lane's column of interpolated voxels, rows y to y + ROWS, of a tile that meets the warp: along z, then y, then x.
// Rows are clamped to the tile's rows. A tile that ``is_inner`` covers all these rows and the next, without clamping.
template <bool is_inner>
__device__ inline void interpolate(const Source& source, int y, float (&value)[ROWS + 1]) {
    const int first = source.first_row, last = min(source.stop_row, y + ROWS) - (source.along_y == 0.0f);
    const int start = is_inner ? y : clamped(y, first, max(first, last));
    const T* voxel = source.voxels + (source.offset + start * source.row);
    const int64 below = source.along_z > 0.0f ? source.plane : 0;
#pragma unroll
    for (int r = 0; r <= ROWS; ++r) {
        const float here = voxel[0], there = voxel[below];
        value[r] = source.along_z > 0.0f ? lerp(here, there, source.along_z) : here;
        if (is_inner || (first <= y + r && y + r < last)) voxel += source.row;
    }
    if (source.along_y > 0.0f) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) value[r] = lerp(value[r], value[r + 1], source.along_y);
    }
    if (source.along_x > 0.0f) {
#pragma unroll
        for (int r = 0; r < ROWS; ++r) value[r] = lerp(value[r], __shfl_down_sync(ALL, value[r], 1), source.along_x);
    }
}

// The weighted sum of all tiles that meet the warp; ``met`` marks the meeting tiles among the first 32.
__device__ inline void blend(const Tables& tables, unsigned met, const T* const* voxels, const int64* shapes,
                             const Voxels& at, float (&total)[ROWS + 1]) {
    float sum[ROWS];
    int n_met = 0;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) total[r] = sum[r] = 0.0f;
    for (int base = 0; base < tables.n_tiles; base += 32) {
        const unsigned mine = base ? meeting(tables, base, at) : met;
        n_met += __popc(mine);
        for (unsigned left = mine; left; left &= left - 1) {
            const int number = base + __ffs(left) - 1;
            float weight[ROWS], value[ROWS + 1];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) weight[r] = 1.0f;
            for (int others = 0; others < tables.n_tiles; others += 32) {
                for (unsigned o = others ? meeting(tables, others, at) : met; o; o &= o - 1) {
                    const int other = others + __ffs(o) - 1;
                    if (other != number) weigh(tables, number, other, at, weight);
                }
            }
            interpolate<false>(source_of(tables, number, voxels[number], shapes + (int64)number * 3, at), at.y, value);
            const Tile tile(tables, number, at);
            if (!tile.covers_column(at.x)) continue;
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                if (!tile.covers_row(at.y + r)) continue;
                total[r] += value[r] * (weight[r] * tile.gain(at.y + r));
                sum[r] += weight[r];
            }
        }
    }
    if (n_met <= 2) return;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) total[r] /= fmaxf(sum[r], LEAST_SUM);
}

template <bool is_inner>
__device__ inline void write(const float (&value)[ROWS + 1], T* target, int64 row, int n_rows) {
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        if (is_inner || r < n_rows) *target = to_voxel<T>(value[r]);
        target += row;
    }
}

extern "C" __global__ void __launch_bounds__(256, 3) fuse_tiles(
    const T* const* voxels, const long long* shapes, long long n_tiles,
    const int* bounds, long long bounds_tiles, long long bounds_each,
    const int* columns, long long columns_tiles, long long columns_planes, long long columns_each,
    const double* edges, long long edges_tiles, long long edges_planes, long long edges_each,
    const float* planes, long long planes_tiles, long long planes_planes, long long planes_each,
    const float* rows, long long rows_tiles, long long rows_rows, long long rows_each,
    const unsigned char* axes, long long axes_tiles, long long axes_others, long long axes_each,
    T* out, long long out_planes, long long out_rows, long long out_columns) {
    const Tables tables = {
        bounds, columns, edges, planes, rows, axes, (int)n_tiles, (int)out_planes, (int)out_rows};
    const unsigned across = ((unsigned)out_columns + COLUMNS * ACROSS - 1) / (COLUMNS * ACROSS);
    const unsigned down = ((unsigned)out_rows + ALL_ROWS - 1) / ALL_ROWS;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Voxels at;
    at.z = blockIdx.x / across / down * PLANES + warp / ACROSS;
    at.y = blockIdx.x / across % down * ALL_ROWS;
    at.left = (blockIdx.x % across * ACROSS + warp % ACROSS) * COLUMNS;
    at.x = at.left + lane;
    if (at.z >= (int)out_planes || at.left >= (int)out_columns) return;

    const bool writes = lane < COLUMNS && at.x < (int)out_columns;
    const int end = min(at.y + ALL_ROWS, (int)out_rows);
    T* target = out + (((int64)at.z * out_rows + at.y) * out_columns + at.x);

    const unsigned met = meeting(tables, 0, at);
    if (tables.n_tiles <= 32 && (met & (met - 1)) == 0) {
        const int only = met ? __ffs(met) - 1 : 0;
        const Tile tile(tables, only, at);
        if (!tile.has_gain) {
            const Source source = source_of(tables, only, voxels[only], shapes + only * 3, at);
            const bool is_covered = met && tile.covers_column(at.x);
            for (; at.y < end; at.y += ROWS, target += ROWS * out_columns) {
                float value[ROWS + 1] = {};
                if (met && tile.first_row <= at.y && at.y + ROWS < tile.stop_row) {
                    interpolate<true>(source, at.y, value);
#pragma unroll
                    for (int r = 0; r < ROWS; ++r) value[r] = is_covered ? value[r] : 0.0f;
                    if (writes) write<true>(value, target, out_columns, ROWS);
                } else {
                    if (met) interpolate<false>(source, at.y, value);
#pragma unroll
                    for (int r = 0; r < ROWS; ++r) value[r] = is_covered && tile.covers_row(at.y + r) ? value[r] : 0.0f;
                    if (writes) write<false>(value, target, out_columns, end - at.y);
                }
            }
            return;
        }
    }
    for (; at.y < end; at.y += ROWS, target += ROWS * out_columns) {
        float total[ROWS + 1];
        blend(tables, met, voxels, shapes, at, total);
        if (writes) write<false>(total, target, out_columns, end - at.y);
    }
}

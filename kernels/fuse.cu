#include "blend.cuh"

// Fusion: a block of the mosaic from the voxels of its tiles, each tile one stage run.
//
// A warp writes 31 columns of 16 rows of one plane, 8 rows at a time. A block has 2 such warps side by side on each of
// 4 planes. Most neighbours along y and z are then in the multiprocessor's cache. A lane interpolates one column of
// voxels along z and y, each value once. The neighbour along x comes from the next lane; the last lane only serves the
// lane before it. First each lane tests one tile, and tiles that miss the warp's voxels drop out. Most warps keep a
// single tile, and compute no weights. At a tile's border reads are clamped, not skipped, so that all reads overlap;
// surplus values are not used.
constexpr int ALL_ROWS = 16, COLUMNS = 31, PLANES = 4, ACROSS = 2;

// A tile's voxels; ``offset`` belongs to the lane's column, in the tile's row at row 0 of ``out``.
struct Source {
    const T* voxels;
    int64 offset, row, plane;
    float along_z, along_y, along_x;
    int first_row, stop_row;
};

// Which of 32 tiles, beginning with ``base``, cover any of the warp's voxels.
__device__ inline unsigned meeting(const Tables& tables, int base, const Voxels& at) {
    const int number = base + threadIdx.x % 32;
    bool meets = false;
    if (number < tables.n_tiles) {
        const Tile tile(tables, number, at);
        const int left = at.x - (int)threadIdx.x % 32;
        meets = (max(tile.first_row, at.y) < min(tile.stop_row, at.y + ALL_ROWS)) &
                (max(tile.first, left) < min(tile.stop, left + COLUMNS));
    }
    return __ballot_sync(ALL, meets);
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
    at.x = (blockIdx.x % across * ACROSS + warp % ACROSS) * COLUMNS + lane;
    if (at.z >= (int)out_planes || at.x - lane >= (int)out_columns) return;

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
        const auto meets = [&](int base) { return meeting(tables, base, at); };
        const auto interpolated = [&](int number, float(&value)[ROWS + 1]) {
            interpolate<false>(source_of(tables, number, voxels[number], shapes + (int64)number * 3, at), at.y, value);
        };
        float total[ROWS];
        blend<true>(tables, met, at, meets, interpolated, total);
        if (writes) write<false>(total, target, out_columns, end - at.y);
    }
}

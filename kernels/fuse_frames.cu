#include "blend.cuh"

// Fusion in the grid of the sheet: frames of placed tiles to frames of the mosaic, whose fastest axis is z. Columns of
// the tables count along f here.
//
// A thread writes 32 rows of one plane z and one f, 8 rows at a time; a warp has 32 neighbouring planes, so that its
// reads and writes lie side by side. Its taps are read once for all rows. A tap without a share is not read: its frame
// or its column may not exist. First the warp drops the tiles that miss its voxels. Most warps keep a single tile, and
// compute no weights. Rows are clamped to those of the tile, so that all reads overlap; surplus values are not used.
constexpr int ALL_ROWS = 32, PLANES = 128, COLUMNS = 2, TAPS = 3;

// One tile's pixels for a thread's voxels: ``tap[d]`` is the first frame of column ``d``, at row 0 of ``out``.
struct Source {
    const T* tap[COLUMNS];
    float share[COLUMNS][TAPS];
    int64 row, frame;
    float along_y;
    int first_row, stop_row;
};

struct Taps {
    const int64* starts;
    const float* shares;
};

// Which of 32 tiles, beginning with ``base``, cover any of the warp's voxels.
__device__ inline unsigned meeting(const Tables& tables, int base, const Voxels& at) {
    const int number = base + (int)threadIdx.x % 32;
    bool meets = false;
    if (number < tables.n_tiles) {
        const int* bounds = tables.bounds + (int64)number * 7;
        meets = max(bounds[2], at.y) < min(bounds[3], at.y + ALL_ROWS);
    }
    unsigned met = 0;
    for (unsigned left = __ballot_sync(ALL, meets); left; left &= left - 1) {
        const int bit = __ffs(left) - 1;
        const Tile tile(tables, base + bit, at);
        if (__any_sync(ALL, tile.covers_column(at.x))) met |= 1u << bit;
    }
    return met;
}

// Without any share where the tile does not cover the thread's plane and frame.
__device__ inline Source source_of(const Tables& tables, const Taps& taps, int number, const T* frames,
                                   const int64* shape, const Voxels& at) {
    const Tile tile(tables, number, at);
    const int* bounds = tables.bounds + (int64)number * 7;
    const bool is_covered = tile.covers_column(at.x);
    Source source;
    source.row = shape[2], source.frame = shape[1] * shape[2];
    source.along_y = tables.planes[((int64)number * tables.n_planes + at.z) * 4 + 1];
    source.first_row = tile.first_row, source.stop_row = tile.stop_row;
#pragma unroll
    for (int d = 0; d < COLUMNS; ++d) {
        const int64 column = (int64)number * COLUMNS + d;
        const int64 first = is_covered ? at.x + taps.starts[column * tables.n_planes + at.z] : 0;
        source.tap[d] = frames + (first * source.frame + bounds[5] * source.row + (bounds[4] + at.z + d));
#pragma unroll
        for (int j = 0; j < TAPS; ++j) {
            source.share[d][j] = is_covered ? taps.shares[(column * TAPS + j) * tables.n_planes + at.z] : 0.0f;
        }
    }
    return source;
}

// Rows y to y + ROWS of a tile: along y, then the sum over the taps. A tile that ``is_inner`` has all these rows and
// the next, without clamping.
template <bool is_inner, int N>
__device__ inline void interpolate(const Source& source, int y, float (&value)[N]) {
    const bool is_between = source.along_y > 0.0f;
    const int first = source.first_row, last = min(source.stop_row, y + ROWS) - !is_between;
    const int64 start = is_inner ? y : clamped(y, first, max(first, last));
#pragma unroll
    for (int r = 0; r < ROWS; ++r) value[r] = -0.0f;  // the only number that leaves every other as it is, -0 too
#pragma unroll
    for (int d = 0; d < COLUMNS; ++d) {
#pragma unroll
        for (int j = 0; j < TAPS; ++j) {
            const float share = source.share[d][j];
            if (share == 0.0f) continue;
            const T* pixel = source.tap[d] + (j * source.frame + start * source.row);
            float here[ROWS + 1];
#pragma unroll
            for (int r = 0; r <= ROWS; ++r) {
                here[r] = r < ROWS || is_between ? (float)*pixel : 0.0f;
                if (is_inner || (first <= y + r && y + r < last)) pixel += source.row;
            }
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                value[r] += share * (is_between ? lerp(here[r], here[r + 1], source.along_y) : here[r]);
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(128, 6) fuse_frames(
    const T* const* frames, const long long* shapes, long long n_tiles,
    const long long* starts, long long starts_tiles, long long starts_columns, long long starts_planes,
    const float* shares, long long shares_tiles, long long shares_columns, long long shares_taps,
    long long shares_planes,
    const int* bounds, long long bounds_tiles, long long bounds_each,
    const int* columns, long long columns_tiles, long long columns_planes, long long columns_each,
    const double* edges, long long edges_tiles, long long edges_planes, long long edges_each,
    const float* planes, long long planes_tiles, long long planes_planes, long long planes_each,
    const float* rows, long long rows_tiles, long long rows_rows, long long rows_each,
    const unsigned char* axes, long long axes_tiles, long long axes_others, long long axes_each,
    T* out, long long out_frames, long long out_rows, long long out_planes) {
    const Tables tables = {
        bounds, columns, edges, planes, rows, axes, (int)n_tiles, (int)out_planes, (int)out_rows};
    const Taps taps = {starts, shares};
    const unsigned across = ((unsigned)out_planes + PLANES - 1) / PLANES;
    const unsigned down = ((unsigned)out_rows + ALL_ROWS - 1) / ALL_ROWS;
    const int plane = blockIdx.x % across * PLANES + threadIdx.x;
    if (plane - (int)threadIdx.x % 32 >= (int)out_planes) return;
    // Threads beyond the last plane stay, for the warp's votes, and write nothing.
    const bool writes = plane < (int)out_planes;
    Voxels at;
    at.z = min(plane, (int)out_planes - 1);
    at.y = blockIdx.x / across % down * ALL_ROWS;
    at.x = blockIdx.x / across / down;
    const int end = min(at.y + ALL_ROWS, (int)out_rows);
    T* target = out + (((int64)at.x * out_rows + at.y) * out_planes + at.z);

    const unsigned met = meeting(tables, 0, at);
    const int only = met ? __ffs(met) - 1 : 0;
    const bool is_plain = tables.n_tiles <= 32 && (met & (met - 1)) == 0 && !bounds[only * 7 + 6];
    if (is_plain && !met) {
        for (int y = at.y; writes && y < end; ++y, target += out_planes) *target = 0;
        return;
    }
    if (is_plain) {
        const Tile tile(tables, only, at);
        const bool is_covered = tile.covers_column(at.x);
        const Source source = source_of(tables, taps, only, frames[only], shapes + only * 3, at);
        for (; at.y < end; at.y += ROWS, target += ROWS * out_planes) {
            float value[ROWS];
            if (tile.first_row <= at.y && at.y + ROWS < tile.stop_row) {
                interpolate<true>(source, at.y, value);
#pragma unroll
                for (int r = 0; r < ROWS; ++r) value[r] = is_covered ? value[r] : 0.0f;
                if (writes) write<true>(value, target, out_planes, ROWS);
            } else {
                interpolate<false>(source, at.y, value);
#pragma unroll
                for (int r = 0; r < ROWS; ++r) value[r] = is_covered && tile.covers_row(at.y + r) ? value[r] : 0.0f;
                if (writes) write<false>(value, target, out_planes, end - at.y);
            }
        }
        return;
    }
    const auto meets = [&](int base) { return meeting(tables, base, at); };
    const auto interpolated = [&](int number, float(&value)[ROWS + 1]) {
        const int64* shape = shapes + (int64)number * 3;
        interpolate<false>(source_of(tables, taps, number, frames[number], shape, at), at.y, value);
    };
    for (; at.y < end; at.y += ROWS, target += ROWS * out_planes) {
        float total[ROWS];
        blend<Voxel<T>::is_whole>(tables, met, at, meets, interpolated, total);
        if (writes) write<false>(total, target, out_planes, end - at.y);
    }
}

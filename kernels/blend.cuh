// What the bodies of fusion share: tables of the tiles' geometry, and the weights of tiles that cover the same voxels.
#pragma once

#include "common.cuh"

// A thread writes so many rows of one column and plane at a time.
constexpr int ROWS = 8;
constexpr unsigned ALL = 0xffffffffu;

// As in gpustitch/oblique/fuse/blend.py: the least distance of a covered voxel, and the voxels over which a tile fades
// out. Then a bound below every covered voxel's squared distance, and a bound below every covered voxel's sum of
// weights.
constexpr float LEAST_DISTANCE = 1.0f / 32.0f, FADE = 16.0f, NOT_COVERED = 1e-30f, LEAST_SUM = 1e-37f;

// As gpustitch/oblique/fuse/tables.py describes them.
struct Tables {
    const int *bounds, *columns;
    const double* edges;
    const float *planes, *rows;
    const unsigned char* axes;
    int n_tiles, n_planes, n_rows;
};

// A thread's first voxel.
struct Voxels {
    int z, y, x;
};

// A tile's part of a plane (no columns where it does not reach the plane), and its distances and gains by rows.
struct Tile {
    int first_row, stop_row, first, stop, has_gain;
    const float* rows;

    __device__ Tile(const Tables& tables, int tile, const Voxels& at) {
        const int* bounds = tables.bounds + (int64)tile * 7;
        const int* columns = tables.columns + ((int64)tile * tables.n_planes + at.z) * 3;
        first_row = bounds[2], stop_row = bounds[3], has_gain = bounds[6];
        first = columns[0], stop = bounds[0] <= at.z && at.z < bounds[1] ? columns[1] : first;
        rows = tables.rows + (int64)tile * tables.n_rows * 2;
    }
    __device__ bool covers_column(int x) const { return first <= x && x < stop; }
    __device__ bool covers_row(int y) const { return first_row <= y && y < stop_row; }
    __device__ float near_y(int y) const { return rows[2 * y]; }
    __device__ float gain(int y) const { return has_gain ? rows[2 * y + 1] : 1.0f; }
};

// Distances to the nearer edge of a tile along each axis.
struct Near {
    float z, y, x;
};

__device__ inline float square(float value) { return value * value; }

__device__ inline float lerp(float lower, float upper, float fraction) { return (upper - lower) * fraction + lower; }

__device__ inline int clamped(int value, int first, int last) { return max(first, min(value, last)); }

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

// The weighted sum of all tiles that meet the warp; ``met`` marks the meeting tiles among the first 32. ``meeting(base)``
// marks those of 32 tiles from ``base`` on, and ``interpolated(number, value)`` sets a tile's voxels. Unless these are
// ``finite``, a tile without weight adds nothing.
template <bool finite, typename Meeting, typename Interpolated>
__device__ inline void blend(const Tables& tables, unsigned met, const Voxels& at, Meeting meeting,
                             Interpolated interpolated, float (&total)[ROWS]) {
    float sum[ROWS];
    int n_met = 0;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) total[r] = sum[r] = 0.0f;
    for (int base = 0; base < tables.n_tiles; base += 32) {
        const unsigned mine = base ? meeting(base) : met;
        n_met += __popc(mine);
        for (unsigned left = mine; left; left &= left - 1) {
            const int number = base + __ffs(left) - 1;
            float weight[ROWS], value[ROWS + 1];
#pragma unroll
            for (int r = 0; r < ROWS; ++r) weight[r] = 1.0f;
            for (int others = 0; others < tables.n_tiles; others += 32) {
                for (unsigned o = others ? meeting(others) : met; o; o &= o - 1) {
                    const int other = others + __ffs(o) - 1;
                    if (other != number) weigh(tables, number, other, at, weight);
                }
            }
            interpolated(number, value);
            const Tile tile(tables, number, at);
            if (!tile.covers_column(at.x)) continue;
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                if (!tile.covers_row(at.y + r)) continue;
                const float factor = weight[r] * tile.gain(at.y + r);
                if (finite || factor != 0.0f) total[r] += value[r] * factor;
                sum[r] += weight[r];
            }
        }
    }
    if (n_met <= 2) return;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) total[r] /= fmaxf(sum[r], LEAST_SUM);
}

// Writes the first ``n_rows`` rows, or all ROWS of them.
template <bool all_rows, int N>
__device__ inline void write(const float (&value)[N], T* target, int64 row, int n_rows) {
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        if (all_rows || r < n_rows) *target = to_voxel<T>(value[r]);
        target += row;
    }
}

// Sums over what two arrays share at every shift in reach, for one of them and for its mirror images.
// T is the type of what is summed over ranges.
#include "common.cuh"

constexpr int AXES = 3, SUMS = 6, KEPT = 4;

// What two arrays share along an axis, at a shift: a range of the first.
struct Range {
    int64 start, stop;
    __device__ inline Range(int64 n_fixed, int64 n_moving, int64 shift) {
        start = shift < 0 ? -shift : 0;
        stop = n_moving - shift < n_fixed ? n_moving - shift : n_fixed;
        if (stop < start) start = stop = 0;
    }
    __device__ inline int64 size() const { return stop - start; }
};

// A thread sums one range of one line, in order. Rows in turn hold the first array, where a mirror image has ranges of
// its own behind the others, and the second. A result may have twice the rows: behind sums those of squares.
extern "C" __global__ void range_sums(
    const T* __restrict__ values, long long n_values, long long room,
    const long long* __restrict__ shapes, long long n_shapes, long long n_axes,
    long long axis, long long n_fixed, long long n_moving, long long low, long long n_shifts,
    double* __restrict__ out, long long n_out, long long out_room
) {
    const int64 i = thread_number();
    if (i >= n_out * out_room) return;
    const int64 row = i / out_room, source = row % n_values, at = i % out_room;
    const bool is_fixed = row % 2 == 0;
    const long long* shape = shapes + row * n_axes;
    const int64 n_ranges = is_fixed ? 2 * n_shifts : n_shifts;
    const int64 step = axis == 2 ? 1 : axis == 1 ? shape[2] : shape[1] * shape[2];
    const int64 before = axis == 0 ? 1 : axis == 1 ? shape[0] : shape[0] * shape[1];
    if (at >= before * n_ranges * step) return;
    const int64 line = at / (n_ranges * step), number = at / step % n_ranges;
    const int64 shift = low + number % n_shifts;
    const Range range(n_fixed, n_moving, shift);
    int64 start = range.start, stop = range.stop;
    if (!is_fixed && stop > start) {
        start += shift;
        stop += shift;
    } else if (number >= n_shifts) {
        start = n_fixed - range.stop;
        stop = n_fixed - range.start;
    }
    const T* first = values + source * room + line * shape[axis] * step + at % step;
    double sum = 0;
    if (row >= n_values) {
        for (int64 k = start; k < stop; ++k) sum += (double)(first[k * step] * first[k * step]);
    } else {
        for (int64 k = start; k < stop; ++k) sum += first[k * step];
    }
    out[i] = sum;
}

// Products of spectra: the conjugate of the first, mirrored, times the second. A mirror image has its frequencies turned
// round; along x half of them are kept, and the others are their conjugates with all axes turned.
extern "C" __global__ void mirrored_products(
    const float* __restrict__ fixed, long long n_fixed, long long depth, long long height, long long width,
    const float* __restrict__ moving, long long n_moving, long long m_depth, long long m_height, long long m_width,
    const long long* __restrict__ pairs, long long n_pairs, long long of_pair,
    const long long* __restrict__ mirrors, long long n_mirrors, long long of_mirror,
    float* __restrict__ out, long long n_out, long long o_depth, long long o_height, long long o_width
) {
    const int64 i = thread_number(), columns = width / 2, size = depth * height * columns;
    if (i >= n_out * size || i >= n_mirrors * n_pairs * size) return;
    const int64 at = i % size, image = i / size / n_pairs, pair = i / size % n_pairs;
    const long long* mirrored = mirrors + image * of_mirror;
    const bool is_conjugated = mirrored[2];
    int64 z = at / columns / height, y = at / columns % height;
    if ((bool)mirrored[0] != is_conjugated) z = z ? depth - z : 0;
    if ((bool)mirrored[1] != is_conjugated) y = y ? height - y : 0;
    const int64 here = (z * height + y) * columns + at % columns;
    float2 a = ((const float2*)fixed)[pairs[pair * of_pair] * size + here];
    const float2 b = ((const float2*)moving)[pairs[pair * of_pair + 1] * size + at];
    if (!is_conjugated) a.y = -a.y;
    ((float2*)out)[i] = make_float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

// A thread takes one shift of one image: number of shared voxels, covariance, variances, and sums of squares.
extern "C" __global__ void shared_sums(
    const float* __restrict__ products, long long n_products, long long depth, long long height, long long width,
    const double* __restrict__ sums, long long n_sums, long long room,
    const long long* __restrict__ reach, long long n_reach, long long of_reach,
    const long long* __restrict__ mirrors, long long n_mirrors, long long of_mirror,
    double* __restrict__ out, long long n_out, long long n_kinds, long long n_z, long long n_y, long long n_x
) {
    const int64 size = n_z * n_y * n_x, i = thread_number();
    if (i >= n_mirrors * size) return;
    const int64 image = i / size, at = i % size, lengths[AXES] = {depth, height, width};
    const int64 numbers[AXES] = {at / n_x / n_y, at / n_x % n_y, at % n_x}, counts[AXES] = {n_z, n_y, n_x};
    const long long* mirrored = mirrors + image * of_mirror;
    int64 n = 1, place = 0, of_fixed = 0;
    for (int axis = 0; axis < AXES; ++axis) {
        const long long *its = reach + axis * of_reach;
        const int64 shift = its[2] + numbers[axis], length = lengths[axis];
        n *= Range(its[0], its[1], shift).size();
        const int64 there = mirrored[axis] ? shift + its[0] - 1 : shift;
        place = place * length + (there % length + length) % length;
        of_fixed = of_fixed * 2 * counts[axis] + (mirrored[axis] ? counts[axis] : 0) + numbers[axis];
    }
    const int64 volume = depth * height * width, n_pairs = n_products / n_mirrors;
    const float* found = products + image * n_pairs * volume + place;
    // Where the arrays do not meet, what is left is an alias.
    const double meets = n ? 1 : 0, cross = found[0] * meets;
    double count = (double)n, f = 0, f_squares = 0, g = 0, g_squares = 0;
    if (n_sums) {
        f = sums[of_fixed];
        g = sums[room + at];
        f_squares = sums[2 * room + of_fixed];
        g_squares = sums[3 * room + at];
    } else {
        count = fmax(rint(found[volume] * meets), 0.0);
        f = found[2 * volume] * meets;
        f_squares = found[3 * volume] * meets;
        g = found[4 * volume] * meets;
        g_squares = found[5 * volume] * meets;
    }
    const double safe = fmax(count, 1.0);
    double* row = out + image * SUMS * size + at;
    row[0] = count;
    row[size] = cross - f * g / safe;
    row[2 * size] = f_squares - f * f / safe;
    row[3 * size] = g_squares - g * g / safe;
    row[4 * size] = f_squares;
    row[5 * size] = g_squares;
}

// A thread adds the sums of one shift; a variance that is the rounding of its sums is 0.
extern "C" __global__ void add_shared(
    const double* __restrict__ sums, long long n_images, long long n_kinds, long long n_shifts,
    const double* __restrict__ most, long long n_most, long long of_most, double rounding,
    double* __restrict__ out, long long n_out, long long n_kept, long long n_out_shifts
) {
    const int64 i = thread_number();
    if (i >= n_images * n_shifts) return;
    const int64 image = i / n_shifts, at = i % n_shifts;
    const double* row = sums + image * SUMS * n_shifts + at;
    double* kept = out + image * KEPT * n_shifts + at;
    kept[0] += row[0];
    kept[n_shifts] += row[n_shifts];
    for (int k = 0; k < 2; ++k) {
        const double variance = row[(2 + k) * n_shifts];
        if (row[0] > 1 && variance > rounding * most[image * of_most + k]) kept[(2 + k) * n_shifts] += variance;
    }
}

// A thread makes the correlation of one shift, and the number of voxels that it is of.
extern "C" __global__ void correlations(
    const double* __restrict__ sums, long long n_images, long long n_kept, long long n_shifts,
    const double* __restrict__ most, long long n_most, long long of_most, double faint,
    double* __restrict__ out, long long n_out, long long of_out, long long n_out_shifts
) {
    const int64 i = thread_number();
    if (i >= n_images * n_shifts) return;
    const int64 image = i / n_shifts, at = i % n_shifts;
    const double* row = sums + image * KEPT * n_shifts + at;
    const double variances = row[2 * n_shifts] * row[3 * n_shifts];
    const double least = faint * most[image * of_most] * most[image * of_most + 1];
    const double found = variances > least ? row[n_shifts] / sqrt(variances) : 0.0;
    out[image * of_out * n_shifts + at] = fmin(fmax(found, -1.0), 1.0);
    out[(image * of_out + 1) * n_shifts + at] = row[0];
}

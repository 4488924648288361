// Halving a volume along every axis, or along those of which out has half: each cell of voxels becomes one.
//
// A cell has two voxels along an axis that is halved. Along another axis its voxel counts twice, which changes neither
// mean nor maximum nor mode: so a cell always has eight.
//
// A block of threads writes 16 rows of 64 voxels. A thread reads the four rows of its cells as words of 2 RUN voxels (8
// bytes, 16 for float64). It writes RUN voxels (4 bytes, 8 for float64). Neighbouring threads take neighbouring words,
// so that few reads bring many bytes. Rows that do not begin at such a word, or are not halved, are read voxel by voxel.
// Past the end of an odd axis the last voxel is repeated: mean, maximum and mode are then those of the existing voxels.
#include "common.cuh"

constexpr int ROWS = 16, COLUMNS = 64;
constexpr int RUN = sizeof(T) < 4 ? 4 / sizeof(T) : 1, THREADS_X = COLUMNS / RUN;

struct alignas(2 * RUN * sizeof(T)) Word {
    T voxel[2 * RUN];
};

// A type that holds the sum of eight voxels.
template <typename V> struct Sum { typedef unsigned type; };
template <> struct Sum<unsigned int> { typedef unsigned long long type; };
template <> struct Sum<float> { typedef float type; };
template <> struct Sum<double> { typedef double type; };

// An eighth of a sum; whole numbers are rounded, halves to even.
template <typename S> __device__ inline S eighth(S total) { return (total + 3 + ((total >> 3) & 1)) >> 3; }
__device__ inline float eighth(float total) { return total * 0.125f; }
__device__ inline double eighth(double total) { return total * 0.125; }

// One voxel from the eight v[4 z + 2 y + x] of its cell.
struct Mean {
    // Floats are added in the definition's order.
    static __device__ inline T of(const T (&v)[8]) {
        typedef typename Sum<T>::type S;
        const S left = ((S)v[0] + (S)v[4]) + ((S)v[2] + (S)v[6]), right = ((S)v[1] + (S)v[5]) + ((S)v[3] + (S)v[7]);
        return (T)eighth(left + right);
    }
};

struct Max {
    // NaN is greater than all numbers.
    static __device__ inline T of(const T (&v)[8]) {
        T most = v[0];
#pragma unroll
        for (int i = 1; i < 8; ++i) most = v[i] > most || v[i] != v[i] ? v[i] : most;
        return most;
    }
};

struct Mode {
    static __device__ inline void order(T& a, T& b) {
        const T less = a < b ? a : b;
        b = a < b ? b : a;
        a = less;
    }
    // A network of 19 exchanges sorts the values, so that equal values are neighbours. The first longest run wins: of
    // several modes it has the least value.
    static __device__ inline T of(T (&v)[8]) {
        order(v[0], v[1]), order(v[2], v[3]), order(v[4], v[5]), order(v[6], v[7]);
        order(v[0], v[2]), order(v[1], v[3]), order(v[4], v[6]), order(v[5], v[7]);
        order(v[1], v[2]), order(v[5], v[6]), order(v[0], v[4]), order(v[1], v[5]);
        order(v[2], v[6]), order(v[3], v[7]), order(v[2], v[4]), order(v[3], v[5]);
        order(v[1], v[2]), order(v[3], v[4]), order(v[5], v[6]);
        T mode = v[0];
        int run = 1, longest = 1;
#pragma unroll
        for (int i = 1; i < 8; ++i) {
            run = v[i] == v[i - 1] ? run + 1 : 1;
            mode = run > longest ? v[i] : mode;
            longest = max(run, longest);
        }
        return mode;
    }
};

template <typename Cell>
__device__ inline void halve_with(
    const T* volume, int64 depth, int64 height, int64 width, T* out, int64 out_depth, int64 out_height, int64 out_width
) {
    const unsigned tiles_x = (unsigned)((out_width + COLUMNS - 1) / COLUMNS);
    const unsigned tiles_y = (unsigned)((out_height + ROWS - 1) / ROWS);
    const unsigned row_tile = blockIdx.x / tiles_x;
    const int64 z = row_tile / tiles_y, y_start = (int64)(row_tile % tiles_y) * ROWS;
    const int64 x = (int64)(blockIdx.x % tiles_x) * COLUMNS + threadIdx.x % THREADS_X * RUN;
    // Whether an axis is halved: 1 if so.
    const int of_z = out_depth < depth, of_y = out_height < height, of_x = out_width < width;
    const int64 y_stop = min(y_start + ROWS, out_height), next_z = min((z << of_z) + of_z, depth - 1) - (z << of_z);
    const bool as_words = of_x && width % (2 * RUN) == 0 && (unsigned long long)volume % sizeof(Word) == 0
        && (unsigned long long)out % (RUN * sizeof(T)) == 0;
    if (x >= out_width) return;
#pragma unroll 1
    for (int64 y = y_start + threadIdx.x / THREADS_X; y < y_stop; y += blockDim.x / THREADS_X) {
        const T* row[4];
        row[0] = volume + ((z << of_z) * height + (y << of_y)) * width;
        row[1] = row[0] + (min((y << of_y) + of_y, height - 1) - (y << of_y)) * width;
        row[2] = row[0] + next_z * height * width;
        row[3] = row[1] + next_z * height * width;
        Word pairs[4];
#pragma unroll
        for (int r = 0; r < 4; ++r) {
            if (as_words) {
                pairs[r] = *reinterpret_cast<const Word*>(row[r] + 2 * x);
            } else {
#pragma unroll
                for (int i = 0; i < 2 * RUN; ++i)
                    pairs[r].voxel[i] = row[r][min((x << of_x) + (i >> 1 - of_x), width - 1)];
            }
        }
        T result[RUN];
#pragma unroll
        for (int k = 0; k < RUN; ++k) {
            T cell[8];
#pragma unroll
            for (int i = 0; i < 8; ++i) cell[i] = pairs[i / 2].voxel[2 * k + i % 2];
            result[k] = Cell::of(cell);
        }
        T* target = out + (z * out_height + y) * out_width + x;
        if constexpr (RUN > 1) {
            if (as_words) {
                *reinterpret_cast<unsigned*>(target) = packed(result);
                continue;
            }
        }
#pragma unroll
        for (int k = 0; k < RUN; ++k) {
            if (x + k < out_width) target[k] = result[k];
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) halve(
    const T* __restrict__ volume, long long depth, long long height, long long width,
    T* __restrict__ out, long long out_depth, long long out_height, long long out_width
) {
    halve_with<Mean>(volume, depth, height, width, out, out_depth, out_height, out_width);
}

extern "C" __global__ void __launch_bounds__(256) halve_max(
    const T* __restrict__ volume, long long depth, long long height, long long width,
    T* __restrict__ out, long long out_depth, long long out_height, long long out_width
) {
    halve_with<Max>(volume, depth, height, width, out, out_depth, out_height, out_width);
}

extern "C" __global__ void __launch_bounds__(256) halve_mode(
    const T* __restrict__ volume, long long depth, long long height, long long width,
    T* __restrict__ out, long long out_depth, long long out_height, long long out_width
) {
    halve_with<Mode>(volume, depth, height, width, out, out_depth, out_height, out_width);
}

// Where frames are saturated, and the ends of the range put back after destriping.
#include "common.cuh"

// T is the type of frames, S that of full scales.
constexpr int WARP = 32, WARPS = 32, AT_ONCE = 8;
constexpr unsigned LEAST_FULL = 255, FEW = 2, MANY = 16, ABOVE_NEXT = 4;

template <typename V> struct Key { typedef unsigned type; static constexpr unsigned least = 0; };
template <> struct Key<float> { typedef float type; static constexpr float least = -3.402823466e38f; };
typedef typename Key<T>::type K;

// The greatest value, the greatest but that, and how many pixels hold each; a value that no pixel holds is none.
struct Tops {
    K first, second;
    unsigned n_first, n_second;

    __device__ void add(K value, unsigned n) {
        if (!n) return;
        if (n_first && value == first) {
            n_first += n;
        } else if (!n_first || value > first) {
            second = first, n_second = n_first;
            first = value, n_first = n;
        } else if (n_second && value == second) {
            n_second += n;
        } else if (!n_second || value > second) {
            second = value, n_second = n;
        }
    }
    __device__ void add(Tops other) { add(other.first, other.n_first), add(other.second, other.n_second); }
};

// Rows that hold one value: the greatest such value, and how many rows hold it.
struct Rows {
    K value;
    unsigned n;

    __device__ void add(K other, unsigned m) {
        if (!m) return;
        if (!n || other > value) {
            value = other, n = m;
        } else if (other == value) {
            n += m;
        }
    }
};

// Whether the count is 2**k - 1.
__device__ inline bool is_of_bits(double count) {
    const double next = count + 1.0;
    const long long whole = (long long)next;
    return (double)whole == next && (whole & (whole - 1)) == 0;
}

__device__ inline double full_scale_of(Tops tops, Rows rows, int64 columns) {
    const double most = (double)tops.first, none = 1.0 / 0.0;
    constexpr double type_most = sizeof(T) == 1 ? 255.0 : sizeof(T) == 2 ? 65535.0 : 4294967295.0;
    constexpr bool is_whole = (T)0.5f == (T)0;
    if (is_whole && most == type_most) return most;
    if (most <= 0.0 || (is_whole && most < LEAST_FULL)) return none;
    if (tops.n_first >= FEW && most >= LEAST_FULL && is_of_bits(most)) return most;
    const int64 in_rows = rows.n && rows.value == tops.first ? (int64)rows.n * columns : 0;
    const int64 held = (int64)tops.n_first - in_rows;
    if (held < MANY || !tops.n_second) return none;
    return held > (int64)ABOVE_NEXT * tops.n_second ? most : none;
}

// A block takes a frame, a warp every 32nd row. Most pixels are less than the two greatest so far: one comparison.
extern "C" __global__ void __launch_bounds__(1024) full_scales(
    const T* frames, long long n_images, long long n_rows, long long n_columns, S* out, long long n_frames) {
    __shared__ Tops tops_of[WARPS];
    __shared__ Rows rows_of[WARPS];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const T* frame = frames + blockIdx.x * n_rows * n_columns;
    Tops tops = {Key<T>::least, Key<T>::least, 0, 0};
    Rows rows = {Key<T>::least, 0};
    for (int64 y = warp; y < n_rows; y += WARPS) {
        const T* row = frame + y * n_columns;
        const K head = (K)row[0];
        bool is_even = true;
        for (int64 start = lane; start < n_columns; start += WARP * AT_ONCE) {
            K value[AT_ONCE];
#pragma unroll
            for (int k = 0; k < AT_ONCE; ++k) value[k] = start + k * WARP < n_columns ? (K)row[start + k * WARP] : head;
#pragma unroll
            for (int k = 0; k < AT_ONCE; ++k) {
                is_even = is_even && value[k] == head;
                if (start + k * WARP < n_columns && (value[k] >= tops.second || !tops.n_second)) tops.add(value[k], 1);
            }
        }
        if (__all_sync(0xffffffffu, is_even)) rows.add(head, 1);
    }
#pragma unroll
    for (int distance = WARP / 2; distance; distance /= 2) {
        Tops other;
        other.first = __shfl_xor_sync(0xffffffffu, tops.first, distance);
        other.second = __shfl_xor_sync(0xffffffffu, tops.second, distance);
        other.n_first = __shfl_xor_sync(0xffffffffu, tops.n_first, distance);
        other.n_second = __shfl_xor_sync(0xffffffffu, tops.n_second, distance);
        tops.add(other);
    }
    if (lane == 0) tops_of[warp] = tops, rows_of[warp] = rows;
    __syncthreads();
    if (threadIdx.x) return;
    for (int w = 1; w < WARPS; ++w) tops.add(tops_of[w]), rows.add(rows_of[w].value, rows_of[w].n);
    out[blockIdx.x] = (S)full_scale_of(tops, rows, n_columns);
}

// One thread per pixel.
extern "C" __global__ void __launch_bounds__(256) put_ends_back(
    const T* frames, long long n_images, long long image_rows, long long image_columns,
    const S* full_scale, long long n_full_scale, float* out, long long n_frames, long long rows, long long columns) {
    const int64 i = thread_number();
    if (i >= n_frames * rows * columns) return;
    const T count = frames[i];
    const double scale = full_scale[i / (rows * columns)];
    float value = count <= (T)0 ? 0.0f : out[i];
    if (scale < 1.0 / 0.0) value = (double)count == scale ? (float)scale : fminf(value, (float)scale);
    out[i] = value;
}

// Otsu's threshold of each frame, from how often each value occurs.
#include "common.cuh"

// A block of 256 threads counts its share of a frame's pixels. Values below 8192, nearly all of a camera's dark frames,
// are counted in shared memory, others in the result itself. In a frame of uint8 many threads would meet at few
// counters: every warp has counters of its own there. A thread reads eight pixels before counting, and counts equal
// pixels at once. Saturated or empty frames then do not wait for a single counter. T is the type of frames.
constexpr int THREADS = 256, WARPS = THREADS / 32, AT_ONCE = 8;
constexpr int VALUES = sizeof(T) == 1 ? 256 : 8192, COPIES = sizeof(T) == 1 ? WARPS : 1;
// Columns of the result that stand for one block.
constexpr int COLUMNS = 512;

extern "C" __global__ void __launch_bounds__(256) count_values_of_frames(
    const T* frames, long long n_images, long long n_rows, long long n_columns,
    unsigned int* out, long long n_frames, long long n_values) {
    __shared__ unsigned counters[COPIES * VALUES];
    const int64 shares = (n_values + COLUMNS - 1) / COLUMNS, frame = blockIdx.x / shares;
    const int64 size = n_rows * n_columns;
    const T* pixels = frames + frame * size;
    unsigned* counts = out + frame * n_values;
    unsigned* mine = counters + (COPIES > 1 ? threadIdx.x / 32 * VALUES : 0);
    for (int i = threadIdx.x; i < COPIES * VALUES; i += THREADS) counters[i] = 0;
    __syncthreads();
    const int64 stride = shares * THREADS * AT_ONCE;
    for (int64 first = (blockIdx.x % shares) * THREADS * AT_ONCE; first < size; first += stride) {
        int values[AT_ONCE];
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            const int64 place = first + k * THREADS + threadIdx.x;
            values[k] = place < size ? (int)pixels[place] : -1;
        }
        unsigned equal = 1;
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            const int value = values[k];
            if (k + 1 < AT_ONCE && values[k + 1] == value) {
                ++equal;
                continue;
            }
            if (value >= VALUES) {
                atomicAdd(counts + value, equal);
            } else if (value >= 0) {
                atomicAdd(mine + value, equal);
            }
            equal = 1;
        }
    }
    __syncthreads();
    for (int value = threadIdx.x; value < VALUES; value += THREADS) {
        unsigned sum = 0;
#pragma unroll
        for (int copy = 0; copy < COPIES; ++copy) sum += counters[copy * VALUES + value];
        if (sum) atomicAdd(counts + value, sum);
    }
}

// The threshold that parts two classes best so far.
struct Best {
    double variance;
    int value;

    __device__ void take(double other, int at) {
        if (other > variance || (other == variance && at < value)) variance = other, value = at;
    }
};

// A block takes a frame, a thread a run of values. Sums before a run come from a scan over the threads; they are whole,
// so their order does not matter. Products are rounded as scikit-image rounds them.
extern "C" __global__ void __launch_bounds__(1024) otsu_thresholds(
    const unsigned int* counts, long long n_images, long long n_values, float* out, long long n_frames) {
    constexpr int LANES = 32;
    __shared__ int64 numbers[LANES], sums[LANES];
    __shared__ Best bests[LANES];
    __shared__ int greatest;
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const int each = (int)((n_values + 1023) / 1024), first = threadIdx.x * each;
    const int stop = (int)min((int64)first + each, (int64)n_values);
    const unsigned* row = counts + blockIdx.x * n_values;
    if (threadIdx.x == 0) greatest = 0;
    __syncthreads();
    int64 number = 0, sum = 0;
    for (int value = first; value < stop; ++value) {
        const int64 count = row[value];
        number += count, sum += count * value;
        if (count) atomicMax(&greatest, value);
    }
    int64 before = number, sum_before = sum;
#pragma unroll
    for (int distance = 1; distance < LANES; distance *= 2) {
        const int64 other = __shfl_up_sync(0xffffffffu, before, distance);
        const int64 other_sum = __shfl_up_sync(0xffffffffu, sum_before, distance);
        if (lane >= distance) before += other, sum_before += other_sum;
    }
    if (lane == LANES - 1) numbers[warp] = before, sums[warp] = sum_before;
    __syncthreads();
    before -= number, sum_before -= sum;
    int64 total = 0, sum_total = 0;
    for (int w = 0; w < LANES; ++w) {
        if (w < warp) before += numbers[w], sum_before += sums[w];
        total += numbers[w], sum_total += sums[w];
    }
    Best best = {-1.0, 0};
    for (int value = first; value < stop; ++value) {
        const int64 count = row[value];
        before += count, sum_before += count * value;
        if (!count || before == total) continue;
        const int64 after = total - before;
        const double apart =
            (double)sum_before / (double)before - (double)(sum_total - sum_before) / (double)after;
        best.take((double)((float)before * (float)after) * (apart * apart), value);
    }
#pragma unroll
    for (int distance = LANES / 2; distance; distance /= 2) {
        const double variance = __shfl_xor_sync(0xffffffffu, best.variance, distance);
        best.take(variance, __shfl_xor_sync(0xffffffffu, best.value, distance));
    }
    if (lane == 0) bests[warp] = best;
    __syncthreads();
    if (threadIdx.x) return;
    for (int w = 1; w < LANES; ++w) best.take(bests[w].variance, bests[w].value);
    // Of one value alone, that value.
    out[blockIdx.x] = (float)(best.variance < 0.0 ? greatest : best.value);
}

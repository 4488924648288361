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

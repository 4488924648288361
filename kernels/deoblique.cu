// De-obliquing: camera frames (frame, row, column) become planes (z = column, y = row, x).
//
// A block of threads writes one row y of 32 planes and 128 columns x. Shared memory holds a window of frames and
// transposes their samples: reads run along the columns of a frame, writes along x, and every frame is fetched once.
// For a shear up to 2 the frames of all 32 planes fit the window. A thread writes the voxels of one 4-byte word. A
// pitch of 33 voxels puts the words of a warp into different banks. Neighbouring blocks in x share a quarter of their
// frames through the L2 cache.
#include "common.cuh"

constexpr int PLANES = 32, COLUMNS = 128, WINDOW = 192, PITCH = PLANES + 1;
constexpr int RUN = 4 / sizeof(T), SEGMENTS = COLUMNS / (32 * RUN);

// A plane's frames: column x of this block lies at frame x + offset; for columns from..to both frames exist.
struct Plane {
    int64 offset;
    int from, to;
    float weight;
};

__device__ inline Plane plane_of(int64 offset, float weight, int64 x_start, int64 n_frames, int columns) {
    Plane plane;
    // Beyond these bounds no column meets a frame; within them sums of columns and offsets cannot overflow.
    plane.offset = max(-x_start - COLUMNS, min(n_frames, offset)) + x_start;
    plane.from = (int)min(max(-plane.offset, (int64)0), (int64)columns);
    plane.to = (int)max(min(n_frames - (weight != 0.0f) - plane.offset, (int64)columns), (int64)0);
    plane.weight = weight;
    return plane;
}

// Number of planes, from the first on, whose frames for all columns fit the window; also the least of their offsets.
__device__ inline int fitting(const Plane* planes, int n_planes, int64* least) {
    int64 low = planes[0].offset, high = low;
    int n = 1;
    for (; n < n_planes; ++n) {
        const int64 next_low = min(low, planes[n].offset), next_high = max(high, planes[n].offset);
        if (next_high - next_low + COLUMNS + 1 > WINDOW) break;
        low = next_low;
        high = next_high;
    }
    *least = low;
    return n;
}

// Multiplies and adds in the steps of the definition; whole numbers are rounded to nearest, halves up. With weight 0 a
// whole number equals `near`, whatever `next` is; a float `next` could be NaN.
__device__ inline T between(T near, T next, float weight) {
    const float value = ((float)next - (float)near) * weight + (float)near;
    if constexpr (Voxel<T>::is_whole) return (T)(value + 0.5f);
    else return weight != 0.0f ? value : near;
}

// Writes voxels x, x + step, ... of a plane from samples in shared memory: as one word, or one by one. Then the step is
// a warp, so that the warp's writes lie beside each other.
__device__ inline void write_run(T* target, const T* near, Plane plane, int x, int step, int columns, bool as_word) {
    T voxel[RUN];
    if (x >= plane.from && x + (RUN - 1) * step < plane.to) {
#pragma unroll
        for (int k = 0; k < RUN; ++k) {
            voxel[k] = between(near[k * step * PITCH], near[(k * step + 1) * PITCH], plane.weight);
        }
    } else {
#pragma unroll
        for (int k = 0; k < RUN; ++k) {
            const bool there = x + k * step >= plane.from && x + k * step < plane.to;
            const T* at = near + k * step * PITCH;
            voxel[k] = there ? between(at[0], at[PITCH], plane.weight) : (T)0;
        }
    }
    if constexpr (RUN > 1) {
        if (as_word && x < columns) {
            *reinterpret_cast<unsigned*>(target) = packed(voxel);
            return;
        }
    }
#pragma unroll
    for (int k = 0; k < RUN; ++k) {
        if (x + k * step < columns) target[k * step] = voxel[k];
    }
}

extern "C" __global__ void __launch_bounds__(256) shear_lerp(
    const T* __restrict__ frames, long long n_frames, long long n_rows, long long n_columns,
    T* __restrict__ out, long long n_planes, long long height, long long width,
    const long long* __restrict__ offset, long long n_offset, const float* __restrict__ weight, long long n_weight
) {
    __shared__ T sample[WINDOW * PITCH];
    __shared__ Plane planes[PLANES];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
    const unsigned tiles_x = (unsigned)((width + COLUMNS - 1) / COLUMNS), row = blockIdx.x / tiles_x;
    const int64 x_start = (int64)(blockIdx.x % tiles_x) * COLUMNS;
    const int64 y = row % (unsigned)height, z_start = (int64)(row / (unsigned)height) * PLANES;
    const int depth = (int)min((int64)PLANES, n_planes - z_start), columns = (int)min((int64)COLUMNS, width - x_start);
    const bool as_words = width % RUN == 0 && (unsigned long long)out % 4 == 0;

    if (threadIdx.x < depth) {
        const int64 z = z_start + threadIdx.x;
        planes[threadIdx.x] = plane_of(offset[z], weight[z], x_start, n_frames, columns);
    }
    __syncthreads();

    for (int z = 0, n = 0; z < depth; z += n) {
        int64 first;
        n = fitting(planes + z, depth - z, &first);
        if (lane < n) {
            const int start = (int)min(max(-first, (int64)0), (int64)WINDOW);
            const int stop = (int)max(min(n_frames - first, (int64)WINDOW), (int64)0);
            const T* source = frames + y * n_columns + z_start + z + lane;
#pragma unroll 8
            for (int i = start + warp; i < stop; i += n_warps) {
                sample[i * PITCH + lane] = source[(first + i) * n_rows * n_columns];
            }
        }
        __syncthreads();
        for (int item = warp; item < n * SEGMENTS; item += n_warps) {
            const int p = z + item / SEGMENTS, segment = item % SEGMENTS * 32 * RUN;
            const int x = segment + (as_words ? lane * RUN : lane), step = as_words ? 1 : 32;
            T* target = out + ((z_start + p) * height + y) * width + x_start + x;
            const T* near = sample + ((int)(planes[p].offset - first) + x) * PITCH + p - z;
            write_run(target, near, planes[p], x, step, columns, as_words);
        }
        __syncthreads();
    }
}

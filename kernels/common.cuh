// Shared by several bodies. Without system headers, every compiler of CUDA C takes the files unchanged.
#pragma once

typedef long long int64;

// Types of voxels: whether values are whole numbers, and the greatest value.
template <typename V> struct Voxel;
template <> struct Voxel<unsigned char> { static constexpr bool is_whole = true; static constexpr float most = 255.0f; };
template <> struct Voxel<unsigned short> { static constexpr bool is_whole = true; static constexpr float most = 65535.0f; };
template <> struct Voxel<float> { static constexpr bool is_whole = false; static constexpr float most = 0.0f; };

// A float as a voxel: whole numbers are rounded, halves to even, and clipped to the type's range; NaN becomes 0.
template <typename V> __device__ inline V to_voxel(float value) {
    if constexpr (Voxel<V>::is_whole) {
        return (V)fminf(fmaxf(rintf(value), 0.0f), Voxel<V>::most);
    } else {
        return value;
    }
}

// Light times the gain of a flat field as a voxel: whole numbers are truncated if `truncate`, else rounded.
template <typename V> __device__ inline V to_counts(float value, bool truncate) {
    return to_voxel<V>(Voxel<V>::is_whole && truncate ? truncf(value) : value);
}

// The gain of a flat field (rows, columns), or one for all pixels: then a row or a column more changes nothing.
struct FlatGain {
    const float* values;
    int64 row;
    int column;

    __device__ float of(int64 y, int64 x) const { return values[y * row + x * column]; }
};

// Number of this thread in the launch.
__device__ inline int64 thread_number() { return (int64)blockIdx.x * blockDim.x + threadIdx.x; }

// Voxels of whole numbers as one word, the first in the lowest bits; compilers would write two of 16 bits one by one.
template <typename V, int N> __device__ inline unsigned packed(const V (&voxels)[N]) {
    unsigned word = 0;
#pragma unroll
    for (int i = 0; i < N; ++i) word |= (unsigned)voxels[i] << (8 * sizeof(V) * i);
    return word;
}

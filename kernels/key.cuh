// Numbers that sort like voxels.
#pragma once

// Unsigned numbers that sort like the values, and the way back. NaN comes last.
template <typename V> struct Key {
    static __device__ unsigned of(V value) { return value; }
    static __device__ double value(unsigned key) { return key; }
    static __device__ V back(unsigned key) { return (V)key; }
};
template <> struct Key<float> {
    static __device__ unsigned of(float value) {
        const unsigned bits = __float_as_uint(value);
        if (value != value) return 0xffffffffu;
        return bits >> 31 ? ~bits : bits | 0x80000000u;
    }
    static __device__ double value(unsigned key) { return back(key); }
    static __device__ float back(unsigned key) { return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key); }
};

// Vector types of CUDA, aligned as there, and make_*.
#pragma once

#define CUDA_CPU_VECTORS(T, NAME, ALIGN2, ALIGN4)                                                         \
    struct NAME##1 { T x; };                                                                              \
    struct __attribute__((aligned(ALIGN2))) NAME##2 { T x, y; };                                          \
    struct NAME##3 { T x, y, z; };                                                                        \
    struct __attribute__((aligned(ALIGN4))) NAME##4 { T x, y, z, w; };                                    \
    constexpr NAME##1 make_##NAME##1(T x) { return NAME##1{x}; }                                          \
    constexpr NAME##2 make_##NAME##2(T x, T y) { return NAME##2{x, y}; }                                  \
    constexpr NAME##3 make_##NAME##3(T x, T y, T z) { return NAME##3{x, y, z}; }                          \
    constexpr NAME##4 make_##NAME##4(T x, T y, T z, T w) { return NAME##4{x, y, z, w}; }

CUDA_CPU_VECTORS(signed char, char, 2, 4)
CUDA_CPU_VECTORS(unsigned char, uchar, 2, 4)
CUDA_CPU_VECTORS(short, short, 4, 8)
CUDA_CPU_VECTORS(unsigned short, ushort, 4, 8)
CUDA_CPU_VECTORS(int, int, 8, 16)
CUDA_CPU_VECTORS(unsigned int, uint, 8, 16)
CUDA_CPU_VECTORS(long long, longlong, 16, 16)
CUDA_CPU_VECTORS(unsigned long long, ulonglong, 16, 16)
CUDA_CPU_VECTORS(float, float, 8, 16)
CUDA_CPU_VECTORS(double, double, 16, 16)

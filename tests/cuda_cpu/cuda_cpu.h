// CUDA C for a C++ compiler: included before an unmodified .cu file, which then runs on the CPU. For tests only.
//
// How it works. A body is compiled as an ordinary C++17 function. threadIdx and its like are globals, set before every
// call. One OS thread calls the body once for each CUDA thread, block after block, inside a fiber (runtime.cpp). A
// thread that reaches a barrier, a shuffle or a vote leaves its fiber suspended, and the threads after it go on in
// another one; a body that never waits is thus a plain loop over its threads.
// __shared__ arrays are static variables, all in .bss, which is filled with 0xFF bytes (NaN, -1) before every block.
// The emulator appends a CUDA_CPU_ENTRY for each body: it deduces the kinds and sizes of the parameters from the
// function's type, so that module.py can compare them with the arguments.
// Errors of the body (divergent barriers, deadlocks, shuffles from absent lanes) end the launch with a text.
#pragma once

typedef decltype(sizeof(0)) size_t;

#define __CUDACC__ 1
#define __CUDACC_RTC__ 1
#define __CUDA_ARCH__ 750
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __shared__ static
#define __constant__ __attribute__((section(".data")))
#define __restrict__ __restrict
#define __align__(n) __attribute__((aligned(n)))
#define warpSize 32

#include "cuda_vectors.h"

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

extern "C" {
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

// The runtime: where a thread waits for others. Every call names its place in the source.
int cuda_cpu_barrier(const char* what, int predicate, const char* file, int line);
unsigned cuda_cpu_vote(const char* what, unsigned mask, int predicate, const char* file, int line);
unsigned long long cuda_cpu_shuffle(
    const char* what, unsigned mask, unsigned long long bits, int source, const char* file, int line);
int cuda_cpu_lane();
unsigned cuda_cpu_started_lanes();
void* cuda_cpu_dynamic_shared();
void cuda_cpu_spin(const char* file, int line);
[[noreturn]] void cuda_cpu_fail(const char* text, const char* file, int line);
int printf(const char*, ...);
}

#define CUDA_CPU_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

#define assert(condition) ((condition) ? (void)0 : cuda_cpu_fail("assert(" #condition ") fails", __FILE__, __LINE__))
inline void __trap(CUDA_CPU_HERE) { cuda_cpu_fail("__trap() is reached", file, line); }

#include "cuda_atomics.h"
#include "cuda_math.h"
#include "cuda_warp.h"

#include "cuda_entry.h"

// Barriers, votes and shuffles, in the terms of the runtime's three calls.
#pragma once

inline void __syncthreads(CUDA_CPU_HERE) { cuda_cpu_barrier("__syncthreads", 0, file, line); }
inline int __syncthreads_count(int predicate, CUDA_CPU_HERE) {
    return cuda_cpu_barrier("__syncthreads_count", predicate != 0, file, line);
}
inline int __syncthreads_or(int predicate, CUDA_CPU_HERE) {
    return cuda_cpu_barrier("__syncthreads_or", predicate != 0, file, line) != 0;
}
inline int __syncthreads_and(int predicate, CUDA_CPU_HERE) {
    return cuda_cpu_barrier("__syncthreads_and", predicate == 0, file, line) == 0;
}

inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_CPU_HERE) { cuda_cpu_vote("__syncwarp", mask, 0, file, line); }
inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_CPU_HERE) {
    return cuda_cpu_vote("__ballot_sync", mask, predicate != 0, file, line);
}
inline int __any_sync(unsigned mask, int predicate, CUDA_CPU_HERE) {
    return cuda_cpu_vote("__any_sync", mask, predicate != 0, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_CPU_HERE) {
    return cuda_cpu_vote("__all_sync", mask, predicate == 0, file, line) == 0;
}
// Lanes of the warp that exist and have not finished: what the hardware may answer where lanes do not diverge.
inline unsigned __activemask() { return cuda_cpu_started_lanes(); }

namespace cuda_cpu {

template <typename T> inline T shuffle(const char* what, unsigned mask, T value, int source, const char* file, int line) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles move values of 4 or 8 bytes");
    unsigned long long bits = 0;
    __builtin_memcpy(&bits, &value, sizeof(T));
    bits = cuda_cpu_shuffle(what, mask, bits, source, file, line);
    __builtin_memcpy(&value, &bits, sizeof(T));
    return value;
}

inline int segment_start(int width) { return cuda_cpu_lane() & ~(width - 1); }

}  // namespace cuda_cpu

// Overloads, not templates: a value of another type is converted, as in CUDA.
#define CUDA_CPU_SHUFFLES(T)                                                                                  \
    inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, CUDA_CPU_HERE) {                   \
        const int source = cuda_cpu::segment_start(width) + (lane & (width - 1));                             \
        return cuda_cpu::shuffle("__shfl_sync", mask, value, source, file, line);                             \
    }                                                                                                         \
    inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_CPU_HERE) {          \
        const int own = cuda_cpu_lane(), source = own - (int)delta;                                           \
        const int valid = source >= cuda_cpu::segment_start(width) ? source : own;                            \
        return cuda_cpu::shuffle("__shfl_up_sync", mask, value, valid, file, line);                           \
    }                                                                                                         \
    inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, CUDA_CPU_HERE) {        \
        const int own = cuda_cpu_lane(), source = own + (int)delta;                                           \
        const int valid = source < cuda_cpu::segment_start(width) + width ? source : own;                     \
        return cuda_cpu::shuffle("__shfl_down_sync", mask, value, valid, file, line);                         \
    }                                                                                                         \
    inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CUDA_CPU_HERE) {               \
        const int own = cuda_cpu_lane(), source = own ^ bits;                                                 \
        const int valid = source < cuda_cpu::segment_start(width) + width ? source : own;                     \
        return cuda_cpu::shuffle("__shfl_xor_sync", mask, value, valid, file, line);                          \
    }
CUDA_CPU_SHUFFLES(int)
CUDA_CPU_SHUFFLES(unsigned)
CUDA_CPU_SHUFFLES(long)
CUDA_CPU_SHUFFLES(unsigned long)
CUDA_CPU_SHUFFLES(long long)
CUDA_CPU_SHUFFLES(unsigned long long)
CUDA_CPU_SHUFFLES(float)
CUDA_CPU_SHUFFLES(double)

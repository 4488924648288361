// Atomics: one OS thread runs everything, so that plain operations are atomic. Types are those that CUDA has.
#pragma once

#define CUDA_CPU_ATOMIC(NAME, T, NEW)                                                                     \
    inline T NAME(T* address, T value) {                                                                  \
        const T old = *address;                                                                           \
        *address = NEW;                                                                                   \
        return old;                                                                                       \
    }
#define CUDA_CPU_WRAPPING(NAME, T, U, OPERATOR) CUDA_CPU_ATOMIC(NAME, T, (T)((U)old OPERATOR (U)value))
#define CUDA_CPU_ATOMIC_WHOLE(T, U)                                                                       \
    CUDA_CPU_WRAPPING(atomicAnd, T, U, &)                                                                 \
    CUDA_CPU_WRAPPING(atomicOr, T, U, |)                                                                  \
    CUDA_CPU_WRAPPING(atomicXor, T, U, ^)                                                                 \
    CUDA_CPU_ATOMIC(atomicExch, T, value)                                                                 \
    CUDA_CPU_ATOMIC(atomicMin, T, old < value ? old : value)                                              \
    CUDA_CPU_ATOMIC(atomicMax, T, old > value ? old : value)

CUDA_CPU_ATOMIC_WHOLE(int, unsigned)
CUDA_CPU_ATOMIC_WHOLE(unsigned, unsigned)
CUDA_CPU_ATOMIC_WHOLE(unsigned long long, unsigned long long)
CUDA_CPU_ATOMIC(atomicMin, long long, old < value ? old : value)
CUDA_CPU_ATOMIC(atomicMax, long long, old > value ? old : value)
CUDA_CPU_WRAPPING(atomicAdd, int, unsigned, +)
CUDA_CPU_WRAPPING(atomicAdd, unsigned, unsigned, +)
CUDA_CPU_WRAPPING(atomicAdd, unsigned long long, unsigned long long, +)
CUDA_CPU_WRAPPING(atomicSub, int, unsigned, -)
CUDA_CPU_WRAPPING(atomicSub, unsigned, unsigned, -)
CUDA_CPU_ATOMIC(atomicAdd, float, old + value)
CUDA_CPU_ATOMIC(atomicAdd, double, old + value)
CUDA_CPU_ATOMIC(atomicExch, float, value)
CUDA_CPU_ATOMIC(atomicInc, unsigned, old >= value ? 0 : old + 1)
CUDA_CPU_ATOMIC(atomicDec, unsigned, old == 0 || old > value ? value : old - 1)

// No other thread runs meanwhile: a comparison that fails again and again waits for a thread that cannot go on.
#define CUDA_CPU_CAS(T)                                                                                   \
    inline T atomicCAS(T* address, T compare, T value, CUDA_CPU_HERE) {                                   \
        const T old = *address;                                                                           \
        if (old == compare) *address = value;                                                             \
        else cuda_cpu_spin(file, line);                                                                   \
        return old;                                                                                       \
    }
CUDA_CPU_CAS(int)
CUDA_CPU_CAS(unsigned)
CUDA_CPU_CAS(unsigned long long)
CUDA_CPU_CAS(unsigned short)

inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}

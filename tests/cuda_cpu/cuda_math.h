// Mathematics of CUDA: the C library's functions, their overloads, and the intrinsics that bodies use.
#pragma once

extern "C" int abs(int) noexcept;

// NAMEf(float), NAME(double), and NAME by the type of its argument; whole numbers are taken as doubles.
#define CUDA_CPU_UNARY(NAME)                                                                          \
    extern "C" double NAME(double) noexcept;                                                          \
    extern "C" float NAME##f(float) noexcept;                                                         \
    inline float NAME(float x) { return __builtin_##NAME##f(x); }                                     \
    inline double NAME(int x) { return __builtin_##NAME((double)x); }                                 \
    inline double NAME(unsigned x) { return __builtin_##NAME((double)x); }                            \
    inline double NAME(long long x) { return __builtin_##NAME((double)x); }                           \
    inline double NAME(unsigned long long x) { return __builtin_##NAME((double)x); }
#define CUDA_CPU_BINARY(NAME)                                                                         \
    extern "C" double NAME(double, double) noexcept;                                                  \
    extern "C" float NAME##f(float, float) noexcept;                                                  \
    inline float NAME(float x, float y) { return __builtin_##NAME##f(x, y); }                         \
    inline double NAME(float x, double y) { return __builtin_##NAME((double)x, y); }                  \
    inline double NAME(double x, float y) { return __builtin_##NAME(x, (double)y); }                  \
    inline double NAME(double x, int y) { return __builtin_##NAME(x, (double)y); }                    \
    inline double NAME(int x, double y) { return __builtin_##NAME((double)x, y); }

CUDA_CPU_UNARY(sqrt) CUDA_CPU_UNARY(cbrt) CUDA_CPU_UNARY(exp) CUDA_CPU_UNARY(exp2) CUDA_CPU_UNARY(expm1)
CUDA_CPU_UNARY(log) CUDA_CPU_UNARY(log2) CUDA_CPU_UNARY(log10) CUDA_CPU_UNARY(log1p)
CUDA_CPU_UNARY(sin) CUDA_CPU_UNARY(cos) CUDA_CPU_UNARY(tan) CUDA_CPU_UNARY(asin) CUDA_CPU_UNARY(acos)
CUDA_CPU_UNARY(atan) CUDA_CPU_UNARY(sinh) CUDA_CPU_UNARY(cosh) CUDA_CPU_UNARY(tanh) CUDA_CPU_UNARY(erf)
CUDA_CPU_UNARY(erfc) CUDA_CPU_UNARY(floor) CUDA_CPU_UNARY(ceil) CUDA_CPU_UNARY(rint) CUDA_CPU_UNARY(nearbyint)
CUDA_CPU_UNARY(trunc) CUDA_CPU_UNARY(round) CUDA_CPU_UNARY(fabs)
CUDA_CPU_BINARY(pow) CUDA_CPU_BINARY(fmod) CUDA_CPU_BINARY(atan2) CUDA_CPU_BINARY(hypot) CUDA_CPU_BINARY(copysign)
CUDA_CPU_BINARY(fmin) CUDA_CPU_BINARY(fmax) CUDA_CPU_BINARY(fdim) CUDA_CPU_BINARY(remainder)

extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
inline float fma(float x, float y, float z) { return fmaf(x, y, z); }

extern "C" long lrint(double) noexcept;
extern "C" long lrintf(float) noexcept;
extern "C" long long llrint(double) noexcept;
extern "C" long long llrintf(float) noexcept;
extern "C" double ldexp(double, int) noexcept;
extern "C" float ldexpf(float, int) noexcept;

inline float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
inline float rsqrt(float x) { return rsqrtf(x); }
inline void sincosf(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
inline void sincos(double x, double* s, double* c) { *s = sin(x), *c = cos(x); }
inline float abs(float x) { return __builtin_fabsf(x); }
inline double abs(double x) { return __builtin_fabs(x); }
inline long long abs(long long x) { return x < 0 ? -x : x; }
inline long long llabs(long long x) { return x < 0 ? -x : x; }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }

inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isnan(double x) { return __builtin_isnan(x); }
inline bool isinf(float x) { return __builtin_isinf(x); }
inline bool isinf(double x) { return __builtin_isinf(x); }
inline bool isfinite(float x) { return __builtin_isfinite(x); }
inline bool isfinite(double x) { return __builtin_isfinite(x); }
inline bool signbit(float x) { return __builtin_signbit(x); }
inline bool signbit(double x) { return __builtin_signbit(x); }

// min and max of whole numbers, with CUDA's mixed overloads; of floating numbers they pass over NaN.
#define CUDA_CPU_MIN_MAX(T, A, B)                                                                     \
    inline T min(A x, B y) { return (T)x < (T)y ? (T)x : (T)y; }                                      \
    inline T max(A x, B y) { return (T)x > (T)y ? (T)x : (T)y; }
#define CUDA_CPU_MIN_MAX_OF(SIGNED, UNSIGNED)                                                         \
    CUDA_CPU_MIN_MAX(SIGNED, SIGNED, SIGNED)                                                          \
    CUDA_CPU_MIN_MAX(UNSIGNED, UNSIGNED, UNSIGNED)                                                    \
    CUDA_CPU_MIN_MAX(UNSIGNED, SIGNED, UNSIGNED)                                                      \
    CUDA_CPU_MIN_MAX(UNSIGNED, UNSIGNED, SIGNED)
CUDA_CPU_MIN_MAX_OF(int, unsigned)
CUDA_CPU_MIN_MAX_OF(long, unsigned long)
CUDA_CPU_MIN_MAX_OF(long long, unsigned long long)
#define CUDA_CPU_MIN_MAX_FLOATING(T, A, B, SUFFIX)                                                    \
    inline T min(A x, B y) { return __builtin_fmin##SUFFIX(x, y); }                                   \
    inline T max(A x, B y) { return __builtin_fmax##SUFFIX(x, y); }
CUDA_CPU_MIN_MAX_FLOATING(float, float, float, f)
CUDA_CPU_MIN_MAX_FLOATING(double, double, double, )
CUDA_CPU_MIN_MAX_FLOATING(double, float, double, )
CUDA_CPU_MIN_MAX_FLOATING(double, double, float, )

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
    unsigned reversed = 0;
    for (int bit = 0; bit < 32; ++bit) reversed |= (x >> bit & 1u) << (31 - bit);
    return reversed;
}
inline unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((unsigned long long)x * y >> 32); }
inline int __mulhi(int x, int y) { return (int)((long long)x * y >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
    return (unsigned long long)((unsigned __int128)x * y >> 64);
}

namespace cuda_cpu {

template <typename To, typename From> inline To same_bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "bits are kept");
    To bits;
    __builtin_memcpy(&bits, &value, sizeof(To));
    return bits;
}

}  // namespace cuda_cpu

inline int __float_as_int(float x) { return cuda_cpu::same_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return cuda_cpu::same_bits<unsigned>(x); }
inline float __int_as_float(int x) { return cuda_cpu::same_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return cuda_cpu::same_bits<float>(x); }
inline long long __double_as_longlong(double x) { return cuda_cpu::same_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return cuda_cpu::same_bits<double>(x); }

// Conversions saturate and turn NaN into 0, as the device's do.
#define CUDA_CPU_CONVERT(NAME, TO, FROM, ROUND, LOW, HIGH)                                            \
    inline TO NAME(FROM x) {                                                                          \
        const double rounded = ROUND((double)x);                                                      \
        if (rounded != rounded) return 0;                                                             \
        return rounded <= (double)LOW ? LOW : rounded >= (double)HIGH ? HIGH : (TO)rounded;           \
    }
#define CUDA_CPU_CONVERTS(NAME, TO, FROM, LOW, HIGH)                                                  \
    CUDA_CPU_CONVERT(NAME##_rn, TO, FROM, __builtin_rint, LOW, HIGH)                                  \
    CUDA_CPU_CONVERT(NAME##_rz, TO, FROM, __builtin_trunc, LOW, HIGH)                                 \
    CUDA_CPU_CONVERT(NAME##_rd, TO, FROM, __builtin_floor, LOW, HIGH)                                 \
    CUDA_CPU_CONVERT(NAME##_ru, TO, FROM, __builtin_ceil, LOW, HIGH)
CUDA_CPU_CONVERTS(__float2int, int, float, (-2147483647 - 1), 2147483647)
CUDA_CPU_CONVERTS(__float2uint, unsigned, float, 0u, 4294967295u)
CUDA_CPU_CONVERTS(__float2ll, long long, float, (-9223372036854775807ll - 1), 9223372036854775807ll)
CUDA_CPU_CONVERTS(__double2int, int, double, (-2147483647 - 1), 2147483647)
CUDA_CPU_CONVERTS(__double2uint, unsigned, double, 0u, 4294967295u)
CUDA_CPU_CONVERTS(__double2ll, long long, double, (-9223372036854775807ll - 1), 9223372036854775807ll)
inline float __int2float_rn(int x) { return (float)x; }
inline float __uint2float_rn(unsigned x) { return (float)x; }
inline float __ll2float_rn(long long x) { return (float)x; }
inline float __double2float_rn(double x) { return (float)x; }

// One rounding each: nothing is contracted.
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fsqrt_rn(float x) { return __builtin_sqrtf(x); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dsub_rn(double x, double y) { return x - y; }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __ddiv_rn(double x, double y) { return x / y; }
inline double __dsqrt_rn(double x) { return __builtin_sqrt(x); }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }

// Loads and stores with a hint for the caches.
template <typename T> inline T __ldg(const T* address) { return *address; }
template <typename T> inline T __ldcs(const T* address) { return *address; }
template <typename T> inline T __ldcg(const T* address) { return *address; }
template <typename T> inline T __ldca(const T* address) { return *address; }
template <typename T> inline void __stcs(T* address, T value) { *address = value; }
template <typename T> inline void __stcg(T* address, T value) { *address = value; }
template <typename T> inline void __stwt(T* address, T value) { *address = value; }

// What the emulator knows of a body: its name, its parameters' kinds and sizes, and how to call it once.
#pragma once

namespace cuda_cpu {

// Kind: i whole and signed, u whole and unsigned, f floating, b bool, p pointer, ? anything else.
struct Parameter {
    char kind;
    char element_kind;  // of what a pointer points to
    char is_const;      // whether what it points to is only read
    int size, element_size;
};

struct Entry {
    const char* name;
    void (*run)(void* const* values);
    const Parameter* parameters;
    int n_parameters;
    int most_threads;  // __launch_bounds__, or 0
};

template <typename T> struct Described {
    static constexpr char kind = T(-1) < T(0) ? 'i' : 'u';
};
template <typename T, char K> struct Kind {
    static constexpr char kind = K;
};
template <> struct Described<float> : Kind<float, 'f'> {};
template <> struct Described<double> : Kind<double, 'f'> {};
template <> struct Described<bool> : Kind<bool, 'b'> {};
template <typename T> struct Described<T*> : Kind<T*, 'p'> {};
template <typename T> struct Described<const T> : Described<T> {};

template <typename T> constexpr char kind_of() {
    if constexpr (__is_class(T) || __is_union(T)) return '?';
    else return Described<T>::kind;
}

template <typename T> struct Pointee {
    static constexpr Parameter value{kind_of<T>(), '?', 0, sizeof(T), 0};
};
template <typename T> struct Pointee<T*> {
    static constexpr Parameter value{'p', kind_of<T>(), 0, sizeof(T*), sizeof(T)};
};
template <typename T> struct Pointee<const T*> {
    static constexpr Parameter value{'p', kind_of<T>(), 1, sizeof(T*), sizeof(T)};
};

template <int... I> struct Indices {};
template <int N, int... I> struct Count : Count<N - 1, N - 1, I...> {};
template <int... I> struct Count<0, I...> {
    typedef Indices<I...> type;
};

template <auto F> struct Body;
template <typename... A, void (*F)(A...)> struct Body<F> {
    static constexpr int n = sizeof...(A);
    static constexpr Parameter parameters[n + 1] = {Pointee<A>::value..., {}};
    template <int... I> static void call(void* const* values, Indices<I...>) { F(*(A*)values[I]...); }
    static void run(void* const* values) { call(values, typename Count<n>::type()); }
};

constexpr int first_of(int first = 0, int = 0, int = 0) { return first; }

}  // namespace cuda_cpu

#define CUDA_CPU_ENTRY(NAME, ...)                                                                     \
    extern "C" __attribute__((visibility("default"))) const cuda_cpu::Entry* cuda_cpu_entry_##NAME() { \
        static const cuda_cpu::Entry entry = {                                                        \
            #NAME, cuda_cpu::Body<&NAME>::run, cuda_cpu::Body<&NAME>::parameters,                     \
            cuda_cpu::Body<&NAME>::n, cuda_cpu::first_of(__VA_ARGS__)};                               \
        return &entry;                                                                                \
    }

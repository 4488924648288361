// Notes every read and write of arrays that a body of the emulator makes: compilers call these functions before each
// access when they compile for ThreadSanitizer, whose library is not linked.
#include <stdint.h>
#include <stdlib.h>

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim;

struct Access {
    uint64_t address;
    uint32_t block, place, array;
    uint16_t thread;
    uint8_t size, is_write;
};

// Variables without a value of their own would be shared memory to the emulator.
#define KEPT __attribute__((section(".data")))
constexpr int MOST_ARRAYS = 64;
static Access* accesses KEPT = nullptr;
static uint64_t n KEPT = 0, room KEPT = 0, first[MOST_ARRAYS] KEPT = {}, last[MOST_ARRAYS] KEPT = {};
static int n_arrays KEPT = 0;

#define SEEN extern "C" __attribute__((visibility("default")))
SEEN void warp_lines_begin(uint64_t most, int count, const uint64_t* starts, const uint64_t* ends) {
    free(accesses);
    accesses = (Access*)malloc(most * sizeof(Access));
    room = accesses ? most : 0, n = 0, n_arrays = count;
    for (int i = 0; i < count; ++i) first[i] = starts[i], last[i] = ends[i];
}
SEEN uint64_t warp_lines_count() { return n; }
SEEN const Access* warp_lines_accesses() { return accesses; }

static void note(void* at, int size, int is_write, void* place) {
    const uint64_t address = (uint64_t)at;
    for (int i = 0; i < n_arrays; ++i) {
        if (address < first[i] || address >= last[i]) continue;
        const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
        if (n < room) {
            accesses[n] = {address - first[i], blockIdx.x, (uint32_t)(uint64_t)place, (uint32_t)i, (uint16_t)thread,
                           (uint8_t)size, (uint8_t)is_write};
        }
        ++n;
        return;
    }
}

#define NOTED(NAME, SIZE, IS_WRITE) \
    void __tsan_##NAME(void* at) { note(at, SIZE, IS_WRITE, __builtin_return_address(0)); }
#define NOTED_OF(SIZE)                                                        \
    NOTED(read##SIZE, SIZE, 0) NOTED(write##SIZE, SIZE, 1)                    \
    NOTED(unaligned_read##SIZE, SIZE, 0) NOTED(unaligned_write##SIZE, SIZE, 1)
extern "C" {
NOTED_OF(1) NOTED_OF(2) NOTED_OF(4) NOTED_OF(8) NOTED_OF(16)
void __tsan_read_range(void* at, long size) { note(at, (int)size, 0, __builtin_return_address(0)); }
void __tsan_write_range(void* at, long size) { note(at, (int)size, 1, __builtin_return_address(0)); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}

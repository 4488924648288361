// Fibers: stacks that the scheduler enters, and that give control to each other or back to it. Freed stacks are kept
// for later.
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef CUDA_CPU_ASAN
enum { stack_bytes = 512 << 10, guard_bytes = 64 << 10 };
extern "C" void __sanitizer_start_switch_fiber(void** kept, const void* bottom, size_t size);
extern "C" void __sanitizer_finish_switch_fiber(void* kept, const void** bottom, size_t* size);
extern "C" void __asan_unpoison_memory_region(void const volatile* address, size_t size);
#else
enum { stack_bytes = 64 << 10, guard_bytes = 64 << 10 };
#endif

#if defined(__x86_64__) && !defined(CUDA_CPU_UCONTEXT)
// Keeps what a call keeps (rbx, rbp, r12 to r15) on the stack that is left, and goes on with the other stack.
extern "C" void cuda_cpu_switch(void** left, void* entered);
asm(R"(
.text
.type cuda_cpu_switch, @function
.hidden cuda_cpu_switch
.globl cuda_cpu_switch
cuda_cpu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size cuda_cpu_switch, . - cuda_cpu_switch
)");
struct Context {
    void* top = nullptr;
    void prepare(char* stack, size_t size, void (*run)()) {
        void** frame = (void**)(stack + size) - 8;  // 6 registers, the function, and where it would return to
        for (int i = 0; i < 8; ++i) frame[i] = nullptr;
        frame[6] = (void*)run;
        top = frame;
    }
    void leave_for(Context& other) { cuda_cpu_switch(&top, other.top); }
};
#else
#include <ucontext.h>
struct Context {
    ucontext_t kept = {};
    void prepare(char* stack, size_t size, void (*run)()) {
        getcontext(&kept);
        kept.uc_stack.ss_sp = stack;
        kept.uc_stack.ss_size = size;
        kept.uc_link = nullptr;
        makecontext(&kept, run, 0);
    }
    void leave_for(Context& other) { swapcontext(&kept, &other.kept); }
};
#endif

struct Fiber {
    Context context;
    char* stack;
    size_t size;  // what is used of it
    Fiber *next_free, *next;
    void* fake_stack;
};

static Context scheduler_context;
static const void* scheduler_stack = nullptr;
static size_t scheduler_stack_bytes = 0;
static bool scheduler_left = false;  // whether the stack that was left last is the scheduler's
static Fiber *free_fibers = nullptr, *all_fibers = nullptr;

// What a fiber does first: tells the address sanitizer that the stack has changed.
static inline void fiber_entered(void* fake_stack) {
#ifdef CUDA_CPU_ASAN
    if (scheduler_left) __sanitizer_finish_switch_fiber(fake_stack, &scheduler_stack, &scheduler_stack_bytes);
    else __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#else
    (void)fake_stack;
#endif
}

// From one fiber to another one, without the scheduler between.
static inline void fiber_to_fiber(Fiber* left, Fiber* entered) {
    if (left == entered) return;
    scheduler_left = false;
#ifdef CUDA_CPU_ASAN
    __sanitizer_start_switch_fiber(&left->fake_stack, entered->stack, stack_bytes);
#endif
    left->context.leave_for(entered->context);
    fiber_entered(left->fake_stack);
}

static inline void fiber_to_scheduler(Fiber* fiber) {
#ifdef CUDA_CPU_ASAN
    __sanitizer_start_switch_fiber(&fiber->fake_stack, scheduler_stack, scheduler_stack_bytes);
#endif
    fiber->context.leave_for(scheduler_context);
    fiber_entered(fiber->fake_stack);
}

static inline void scheduler_to_fiber(Fiber* fiber) {
    scheduler_left = true;
#ifdef CUDA_CPU_ASAN
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, fiber->stack, stack_bytes);
#endif
    scheduler_context.leave_for(fiber->context);
#ifdef CUDA_CPU_ASAN
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

// A fiber that is to run `run` from its beginning.
static Fiber* fresh_fiber(void (*run)()) {
    Fiber* fiber = free_fibers;
    if (fiber) {
        free_fibers = fiber->next_free;
    } else {
        void* memory = mmap(
            nullptr, stack_bytes + guard_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        fiber = (Fiber*)calloc(1, sizeof(Fiber));
        if (memory == MAP_FAILED || !fiber) abort();
        mprotect(memory, guard_bytes, PROT_NONE);
        fiber->stack = (char*)memory + guard_bytes;
        // Frames at one place of all stacks would share few lines of the cache.
        static unsigned n_made = 0;
        fiber->size = stack_bytes - n_made++ % 128 * 64;
        fiber->next = all_fibers;
        all_fibers = fiber;
    }
    fiber->next_free = nullptr;
    fiber->fake_stack = nullptr;
    fiber->context.prepare(fiber->stack, fiber->size, run);
    return fiber;
}

// Suspended work is given up: every stack is free again.
static inline void free_all_fibers() {
    free_fibers = nullptr;
    for (Fiber* fiber = all_fibers; fiber; fiber = fiber->next) {
#ifdef CUDA_CPU_ASAN
        __asan_unpoison_memory_region(fiber->stack, stack_bytes);
#endif
        fiber->next_free = free_fibers;
        free_fibers = fiber;
    }
}

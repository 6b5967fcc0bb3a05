// Runs CUDA kernels on a CPU, for tests: the threads of a block are coroutines; a warp runs up to the next barrier before another one
// begins, in ascending or descending order, so that a result that hangs on the order of threads shows. Only what our kernels use.
#pragma once
#include <sys/mman.h>
#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(n)
#define DYNAMIC_SHARED(type, name) type *name = (type *)emulation::dynamic_shared

struct int2 {
    int x, y;
};
struct uint2 {
    unsigned x, y;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
struct Three {
    unsigned x, y, z;
};
static Three threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

enum Wait { RUNNING, BLOCK, WARP, DONE };
constexpr size_t STACK = 1 << 16;

struct Fiber {
    ucontext_t context;
    Wait wait;
    unsigned gave;      // to the warp
};

static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static unsigned current;
static char *dynamic_shared;
static void (*body)(void **);
static void **arguments;

inline void pause(Wait wait) {
    fibers[current].wait = wait;
    swapcontext(&fibers[current].context, &scheduler);
}

inline void start() {
    body(arguments);
    fibers[current].wait = DONE;
    swapcontext(&fibers[current].context, &scheduler);
}

// Runs the threads of a warp, in turns at its own barriers, until all wait for the block or are done. False if they wait for each other for ever.
inline bool run_warp(unsigned first, unsigned end, bool descending) {
    for (;;) {
        unsigned at_warp = 0;
        for (unsigned k = first; k < end; k++) {
            current = descending ? first + end - 1 - k : k;
            if (fibers[current].wait == RUNNING) {
                threadIdx = {current, 0, 0};
                swapcontext(&scheduler, &fibers[current].context);
            }
        }
        for (unsigned i = first; i < end; i++) at_warp += fibers[i].wait == WARP;
        if (at_warp == 0) return true;
        if (at_warp < end - first) return false;        // the others have left or are elsewhere: undefined on a GPU
        for (unsigned i = first; i < end; i++) fibers[i].wait = RUNNING;
    }
}

// Runs a block: each warp as far as it gets before the next one begins. False if threads wait for each other for ever.
inline bool run_block(bool descending) {
    const unsigned count = fibers.size(), warps = (count + 31) / 32;
    for (;;) {
        for (unsigned k = 0; k < warps; k++) {
            const unsigned first = 32 * (descending ? warps - 1 - k : k);
            if (!run_warp(first, first + 32 < count ? first + 32 : count, descending)) return false;
        }
        unsigned at_barrier = 0;
        for (const Fiber &fiber : fibers) at_barrier += fiber.wait == BLOCK;
        if (at_barrier == 0) return true;
        if (at_barrier < count) return false;           // some have left: undefined on a GPU
        for (Fiber &fiber : fibers) fiber.wait = RUNNING;
    }
}

inline int run(void (*kernel)(void **), void **args, const unsigned *grid, unsigned block, unsigned shared, bool descending) {
    const size_t bytes = (size_t)block * STACK;
    char *stacks = (char *)mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) return 1;
    dynamic_shared = (char *)aligned_alloc(16, (shared + 15) / 16 * 16 + 16);
    body = kernel;
    arguments = args;
    blockDim = {block, 1, 1};
    gridDim = {grid[0], grid[1], 1};
    fibers.assign(block, Fiber());
    int failed = 0;
    for (unsigned y = 0; y < grid[1] && !failed; y++)
        for (unsigned x = 0; x < grid[0] && !failed; x++) {
            blockIdx = {x, y, 0};
            memset(dynamic_shared, 0xA5, shared);       // shared memory holds no zeros at first
            for (unsigned i = 0; i < block; i++) {
                Fiber &fiber = fibers[i];
                getcontext(&fiber.context);
                fiber.context.uc_stack.ss_sp = stacks + i * STACK;
                fiber.context.uc_stack.ss_size = STACK;
                fiber.context.uc_link = nullptr;
                makecontext(&fiber.context, start, 0);
                fiber.wait = RUNNING;
            }
            if (!run_block(descending)) {
                fprintf(stderr, "threads of a block wait for each other for ever\n");
                failed = 2;
            }
        }
    free(dynamic_shared);
    munmap(stacks, bytes);
    return failed;
}

template <class... A, size_t... I>
void unpack(void (*kernel)(A...), void **args, std::index_sequence<I...>) {
    kernel(*(A *)args[I]...);
}
template <class... A>
void call(void (*kernel)(A...), void **args) {
    unpack(kernel, args, std::index_sequence_for<A...>());
}

}  // namespace emulation

// A kernel under its name, callable from Python: 0 if it ran.
#define EMULATE(name)                                                                                                                \
    extern "C" int emulate_##name(const unsigned *grid, unsigned block, unsigned shared, void **args, bool descending) {             \
        return emulation::run([](void **a) { emulation::call(name, a); }, args, grid, block, shared, descending);                    \
    }

inline void __syncthreads() { emulation::pause(emulation::BLOCK); }

// Lanes exchange at a warp barrier and read at a second one, lest one runs ahead and overwrites.
inline unsigned __shfl_xor_sync(unsigned, unsigned value, int lane) {
    const unsigned me = emulation::current;
    emulation::fibers[me].gave = value;
    emulation::pause(emulation::WARP);
    const unsigned other = emulation::fibers[me ^ lane].gave;
    emulation::pause(emulation::WARP);
    return other;
}
inline unsigned __ballot_sync(unsigned, bool vote) {
    const unsigned me = emulation::current;
    emulation::fibers[me].gave = vote;
    emulation::pause(emulation::WARP);
    unsigned all = 0;
    for (unsigned i = 0; i < 32; i++) all |= emulation::fibers[me / 32 * 32 + i].gave << i;
    emulation::pause(emulation::WARP);
    return all;
}
inline int atomicAdd(int *where, int what) { return std::exchange(*where, *where + what); }
inline int __float2int_rn(float x) { return (int)std::nearbyint(x); }

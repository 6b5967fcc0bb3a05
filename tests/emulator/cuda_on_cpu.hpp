// Runs CUDA kernels on a CPU, for tests: the threads of a block are coroutines that take turns at barriers, in ascending or
// descending order, so that a result that hangs on the order of threads shows. Only what our kernels use.
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

// Releases who waits for a warp or a block all of which is there. False if nobody can go on.
inline bool release() {
    bool any = false;
    const unsigned count = fibers.size();
    unsigned at_barrier = 0, done = 0;
    for (unsigned warp = 0; warp < count; warp += 32) {
        const unsigned end = warp + 32 < count ? warp + 32 : count;
        unsigned waiting = 0;
        for (unsigned i = warp; i < end; i++) {
            waiting += fibers[i].wait == WARP;
            at_barrier += fibers[i].wait == BLOCK;
            done += fibers[i].wait == DONE;
        }
        if (waiting == end - warp) {
            for (unsigned i = warp; i < end; i++) fibers[i].wait = RUNNING;
            any = true;
        }
    }
    if (at_barrier && at_barrier == count) {        // a thread that has left must not be waited for: that is undefined on a GPU
        for (Fiber &fiber : fibers) fiber.wait = RUNNING;
        any = true;
    }
    return any || done == count;
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
            for (unsigned done = 0; done < block;) {
                for (unsigned k = 0; k < block; k++) {
                    current = descending ? block - 1 - k : k;
                    if (fibers[current].wait != RUNNING) continue;
                    threadIdx = {current, 0, 0};
                    swapcontext(&scheduler, &fibers[current].context);
                    done += fibers[current].wait == DONE;
                }
                if (!release()) {
                    fprintf(stderr, "threads of a block wait for each other for ever\n");
                    failed = 2;
                    break;
                }
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

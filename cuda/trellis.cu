// What the sender does on a GPU (§6.3.8): the best walks for an integer target. Twin of trellis.send's search: every number that decides
// between two walks is an integer, so that both find the same ones.
//
// STATE_BITS is given to the compiler; a module serves one L.
#include "tile.cuh"

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(16) type name[]
#endif

using namespace sdf;

namespace {
constexpr u32 STATES = 1u << STATE_BITS, HALF = STATES / 2, SURVIVOR_WORDS = HALF / 32;
constexpr int CHUNK_BITS = STATE_BITS < 12 ? STATE_BITS : 12;           // states whose scores one block transforms in shared memory
constexpr u32 CHUNK = 1u << CHUNK_BITS;
constexpr u32 WALK_THREADS = HALF < 1024 ? HALF : 1024;
constexpr u32 PAIRS = HALF / WALK_THREADS;                              // pairs of states that a thread carries
// Path metrics: two copies in shared memory, or one, or two in global memory, as space allows on every device from sm_80 on.
constexpr bool SHARED = STATE_BITS <= 14, DOUBLE = STATE_BITS <= 12 || !SHARED;
constexpr u32 TRACE_WORDS = 1024;                                       // survivor words that the way back holds in shared memory
}  // namespace

// What each place adds to a score where the state's sign at it is 1: the target mixed by columns, under its middle signs, mixed by rows, under
// its base signs, times a power of two and rounded half to even.  Grid: tiles; THREADS threads.
extern "C" __global__ void weigh(int *products, const int *places, float scale, u32 dimensions, u32 seed, u32 step) {
    __shared__ int x[TILE];
    const Rows tile(dimensions, blockIdx.x);
    for (u32 i = threadIdx.x; i < tile.items; i += THREADS)
        if (tile.has(i)) x[i] = negated(flipped(seed, step, MIDDLE, tile.place(i), dimensions), places[tile.place(i)]);
    tile.mix(x);
    for (u32 i = threadIdx.x; i < tile.items; i += THREADS) {
        if (!tile.has(i)) continue;
        const u32 place = tile.place(i);
        products[place] = __float2int_rn(negated(flipped(seed, step, BASE, place, dimensions), x[i]) * scale);
    }
}

// Inner product of every state's vector with the target, (branches, 2^L).
// Grid: (branches from `first`, 2^L / CHUNK); THREADS threads.  A code's bits above the chunk are one sign for the whole chunk.
extern "C" __global__ void branch_scores(int *scores, const int *products, u32 first, u32 dimensions, u32 count) {
    __shared__ int sums[CHUNK];
    const u32 branch = first + blockIdx.x, high = blockIdx.y << CHUNK_BITS;
    for (u32 i = threadIdx.x; i < CHUNK; i += THREADS) sums[i] = 0;
    __syncthreads();
    const u64 begin = border(dimensions, branch, count), end = border(dimensions, (u64)branch + 1, count);
    for (u64 place = begin + threadIdx.x; place < end; place += THREADS) {
        const u32 code = code_of((u32)(place - begin), STATE_BITS);
        atomicAdd(&sums[code & (CHUNK - 1)], negated(turned(high, code), products[place]));
    }
    __syncthreads();
    for (u32 span = 1; span < CHUNK; span *= 2) {
        for (u32 pair = threadIdx.x; pair < CHUNK / 2; pair += THREADS) add_and_subtract(sums, pair, span);
        __syncthreads();
    }
    for (u32 i = threadIdx.x; i < CHUNK; i += THREADS) scores[(u64)blockIdx.x * STATES + high + i] = sums[i];
}

namespace {
// The better predecessor's metric of pair `pair`, whose survivor bit goes to `survivors`; whole warps together, neighbours in `pair`.
__device__ __forceinline__ u32 compare(const u32 *metrics, u32 pair, u32 *survivors) {
    const u32 zero = metrics[pair], one = metrics[pair + HALF];
    const bool taken = select(zero, one);
    const u32 vote = __ballot_sync(0xFFFFFFFFu, taken);
    if (pair % 32 == 0) survivors[pair / 32] = vote;
    return taken ? one : zero;
}

__device__ __forceinline__ void exchange(u32 *&a, u32 *&b) {
    u32 *const c = a;
    a = b;
    b = c;
}
}  // namespace

// The best path of every walk from `first_walk`, one block each: bits, one byte each.  scores: of the branches from the first walk's first.
// survivors: a bit per pair of states and branch, SURVIVOR_WORDS words a branch; metrics: 2 x 2^L words a walk where they are not shared.
// Ties go to the predecessor whose oldest bit is 0, and to the lowest final state.  Threads: WALK_THREADS.
extern "C" __global__ void __launch_bounds__(WALK_THREADS)
best_walks(u8 *bits, u32 *survivors, u32 *metrics, const int *scores, u32 first_walk, u32 count) {
    DYNAMIC_SHARED(u32, memory);
    __shared__ u32 best_metric[32], best_state[32], trace[TRACE_WORDS];
    __shared__ u32 traced;
    const u32 walks = walk_count(count), walk = first_walk + blockIdx.x, base = (u32)border(count, first_walk, walks);
    const u32 first = (u32)border(count, walk, walks), length = (u32)border(count, walk + 1, walks) - first, me = threadIdx.x;
    scores += (u64)(first - base) * STATES;
    survivors += (u64)(first - base) * SURVIVOR_WORDS;
    u32 *here = SHARED ? memory : metrics + (u64)blockIdx.x * 2 * STATES;
    u32 *there = DOUBLE ? here + STATES : here;
    for (u32 state = me; state < STATES; state += WALK_THREADS) here[state] = first_metric(state);
    __syncthreads();
    if (SHARED) {
        int2 ahead[SHARED ? PAIRS : 1];         // scores come from far away: they are asked for a branch early
#pragma unroll
        for (u32 k = 0; k < PAIRS; k++) ahead[k] = ((const int2 *)scores)[me + k * WALK_THREADS];
        for (u32 t = 0; t < length; t++) {
            const int2 *next = (const int2 *)(scores + (u64)(t + 1 < length ? t + 1 : t) * STATES);
            uint2 pairs[SHARED ? PAIRS : 1];
#pragma unroll
            for (u32 k = 0; k < PAIRS; k++) {
                const u32 pair = me + k * WALK_THREADS, best = compare(here, pair, survivors + (u64)t * SURVIVOR_WORDS);
                pairs[k] = make_uint2(best + (u32)ahead[k].x, best + (u32)ahead[k].y);
                ahead[k] = next[pair];
            }
            if (!DOUBLE) __syncthreads();
#pragma unroll
            for (u32 k = 0; k < PAIRS; k++) ((uint2 *)there)[me + k * WALK_THREADS] = pairs[k];
            __syncthreads();
            exchange(here, there);
        }
    } else {
        for (u32 t = 0; t < length; t++) {
            const int2 *score = (const int2 *)(scores + (u64)t * STATES);
#pragma unroll 4
            for (u32 k = 0; k < PAIRS; k++) {
                const u32 pair = me + k * WALK_THREADS, best = compare(here, pair, survivors + (u64)t * SURVIVOR_WORDS);
                const int2 s = score[pair];
                ((uint2 *)there)[pair] = make_uint2(best + (u32)s.x, best + (u32)s.y);
            }
            __syncthreads();
            exchange(here, there);
        }
    }
    // The final state: the highest metric, the lowest state among equals, by pairs of threads, then of warps.
    u32 state = me, metric = here[me];
    for (u32 s = me + WALK_THREADS; s < STATES; s += WALK_THREADS)
        if (select(metric, here[s])) {
            metric = here[s];
            state = s;
        }
    for (int level = 0; level < 2; level++) {
        for (int lane = 16; lane > 0; lane /= 2) {
            const u32 its_metric = __shfl_xor_sync(0xFFFFFFFFu, metric, lane), its_state = __shfl_xor_sync(0xFFFFFFFFu, state, lane);
            if (select(metric, its_metric) || (its_metric == metric && its_state < state)) {
                metric = its_metric;
                state = its_state;
            }
        }
        if (level == 0) {
            if (me % 32 == 0) {
                best_metric[me / 32] = metric;
                best_state[me / 32] = state;
            }
            __syncthreads();
            const u32 warp = me % 32 < WALK_THREADS / 32 ? me % 32 : 0;
            metric = best_metric[warp];
            state = best_state[warp];
        }
    }
    // The way back, as many branches at a time as fit.
    constexpr u32 CACHED = TRACE_WORDS / SURVIVOR_WORDS;
    if (me == 0) traced = state;
    for (u32 end = length; end > 0;) {
        const u32 begin = CACHED == 0 ? 0 : end > CACHED ? end - CACHED : 0;
        if (CACHED)
            for (u32 i = me; i < (end - begin) * SURVIVOR_WORDS; i += WALK_THREADS) trace[i] = survivors[(u64)begin * SURVIVOR_WORDS + i];
        __syncthreads();
        if (me == 0) {
            const u32 *words = CACHED ? trace : survivors;
            state = traced;
            for (u32 t = end; t-- > begin;) {
                bits[first + t] = (u8)(state & 1);
                const u32 pair = state / 2;
                state = predecessor(state, words[(u64)(t - begin) * SURVIVOR_WORDS + pair / 32] >> (pair & 31) & 1, STATE_BITS);
            }
            traced = state;
        }
        __syncthreads();
        end = begin;
    }
}

// The Poisson functional representation on a GPU (§6.4): chosen candidates for the receiver, all candidates' scores for the sender, and those
// among them that can be chosen. Twin of sdf_format/coding/rcc/pfr.py.
#include "tile.cuh"

using namespace sdf;

namespace {
constexpr u32 CANDIDATES = 65535, PLACES = 65536;           // §6.4.2; room for their scores, a power of two
constexpr u32 STREAM_CANDIDATES = 2, STREAM_ARRIVALS = 1u << 31;
constexpr u32 MOST_PATTERNS = 1024;
constexpr u32 RECORD_THREADS = 1024, SEGMENT = PLACES / RECORD_THREADS;

// §6.4.2: normal of a base vector at a place.
__device__ int candidate_normal(const short *table, u32 seed, u32 step, u32 dimensions, u32 base, u32 place) {
    return normal(table, seed, step, STREAM_CANDIDATES, (u64)base * 8 * (((u64)dimensions + 7) / 8) + place);
}
__device__ u32 sign_code(u32 place, u32 sign_bits) { return sign_bits ? code_of(place, (int)sign_bits) : 0; }

// Time between arrivals, of mean 1.
__device__ double wait_before(u32 seed, u32 step, u32 chunk, u32 candidate) {
    const u32 word = philox(seed, step, STREAM_ARRIVALS, (u64)chunk * (PLACES / 4) + candidate / 4).at[candidate & 3];
    return -log((word + 0.5) / 4294967296.0);
}
}  // namespace

// The chosen candidates' values, by place.  chosen: number - 1, by chunk.  Grid: places.
extern "C" __global__ void read_candidates(int *places, const u32 *chosen, const short *table, u32 dimensions, u32 chunks, u32 sign_bits,
                                           u32 seed, u32 step) {
    const u64 place = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (place >= dimensions) return;
    const u32 chunk = part_of(place, dimensions, chunks), index = chosen[chunk], pattern = index & ((1u << sign_bits) - 1);
    const u32 code = sign_code((u32)(place - border(dimensions, chunk, chunks)), sign_bits);
    places[place] = negated(turned(pattern, code), candidate_normal(table, seed, step, dimensions, index >> sign_bits, (u32)place));
}

// Inner product of every candidate of a chunk with the target, (chunks from `first`, PLACES).  scale: a power of two.
// Grid: (chunks, base vectors); THREADS threads.
extern "C" __global__ void candidate_scores(int *scores, const int *target, const short *table, float scale, u32 first, u32 dimensions,
                                            u32 chunks, u32 sign_bits, u32 seed, u32 step) {
    __shared__ int sums[MOST_PATTERNS];
    const u32 chunk = first + blockIdx.x, base = blockIdx.y, patterns = 1u << sign_bits;
    for (u32 i = threadIdx.x; i < patterns; i += THREADS) sums[i] = 0;
    __syncthreads();
    const u64 begin = border(dimensions, chunk, chunks), end = border(dimensions, (u64)chunk + 1, chunks);
    for (u64 place = begin + threadIdx.x; place < end; place += THREADS) {
        const float product = (float)candidate_normal(table, seed, step, dimensions, base, (u32)place) * (float)target[place];
        atomicAdd(&sums[sign_code((u32)(place - begin), sign_bits)], __float2int_rn(product * scale));
    }
    __syncthreads();
    for (u32 span = 1; span < patterns; span *= 2) {
        for (u32 pair = threadIdx.x; pair < patterns / 2; pair += THREADS) add_and_subtract(sums, pair, span);
        __syncthreads();
    }
    for (u32 i = threadIdx.x; i < patterns; i += THREADS) scores[(u64)blockIdx.x * PLACES + base * patterns + i] = sums[i];
}

// Candidates of a chunk that score better than all before them: their numbers, scores and times, (chunks, most) each, the first `found` of
// which are there; `found` may exceed `most`.  Grid: chunks from `first`; RECORD_THREADS threads, each with SEGMENT candidates.
extern "C" __global__ void __launch_bounds__(RECORD_THREADS)
records(u32 *numbers, int *record_scores, double *times, u32 *found, const int *scores, u32 most, u32 first, u32 seed, u32 step) {
    __shared__ int best[2][RECORD_THREADS];
    __shared__ double waited[2][RECORD_THREADS];
    __shared__ u32 counts[2][RECORD_THREADS];
    const u32 me = threadIdx.x, chunk = first + blockIdx.x, begin = me * SEGMENT;
    const u32 end = begin + SEGMENT < CANDIDATES ? begin + SEGMENT : CANDIDATES;
    const int lowest = -0x7FFFFFFF - 1;
    scores += (u64)blockIdx.x * PLACES;
    int own_best = lowest;
    double own_wait = 0;
    for (u32 i = begin; i < end; i++) {
        own_best = scores[i] > own_best ? scores[i] : own_best;
        own_wait += wait_before(seed, step, chunk, i);
    }
    best[0][me] = own_best;
    waited[0][me] = own_wait;
    __syncthreads();
    // What the threads before have, in rounds that double their reach.
    u32 side = 0;
    for (u32 reach = 1; reach < RECORD_THREADS; reach *= 2, side ^= 1) {
        const bool more = me >= reach;
        best[side ^ 1][me] = more && best[side][me - reach] > best[side][me] ? best[side][me - reach] : best[side][me];
        waited[side ^ 1][me] = waited[side][me] + (more ? waited[side][me - reach] : 0);
        __syncthreads();
    }
    const int best_before = me ? best[side][me - 1] : lowest;
    int so_far = best_before;
    u32 own_count = 0;
    for (u32 i = begin; i < end; i++)
        if (scores[i] > so_far) {
            so_far = scores[i];
            own_count++;
        }
    counts[0][me] = own_count;
    __syncthreads();
    u32 turn = 0;
    for (u32 reach = 1; reach < RECORD_THREADS; reach *= 2, turn ^= 1) {
        counts[turn ^ 1][me] = counts[turn][me] + (me >= reach ? counts[turn][me - reach] : 0);
        __syncthreads();
    }
    u32 at = me ? counts[turn][me - 1] : 0;
    double time = me ? waited[side][me - 1] : 0;
    so_far = best_before;
    for (u32 i = begin; i < end && own_count; i++) {
        time += wait_before(seed, step, chunk, i);
        if (scores[i] <= so_far) continue;
        so_far = scores[i];
        if (at < most) {
            const u64 slot = (u64)blockIdx.x * most + at;
            numbers[slot] = i + 1;
            record_scores[slot] = scores[i];
            times[slot] = log(time);
        }
        at++;
    }
    if (me == RECORD_THREADS - 1) found[blockIdx.x] = counts[turn][me];
}

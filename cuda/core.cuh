// The arithmetic of §6 that kernels, their emulation and the tests share. Plain C++ as well as CUDA: no memory but what is
// passed in, no header, integers throughout. The Python twins are sdf_format/coding/noise.py and sdf_format/coding/rcc/trellis.py.
#pragma once

#ifdef __CUDACC__
#define SDF_HERE __host__ __device__ __forceinline__
#else
#define SDF_HERE inline
#endif

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

namespace sdf {

constexpr u32 WALK_BITS = 1024;             // §6.3.1
constexpr u32 GOLDEN = 2654435769u;         // §6.3.3, §6.3.6
constexpr u32 MIX = 256;                    // §6.3.5
constexpr u32 OUTER = 0, MIDDLE = 1, BASE = 2;                              // §6.3.4, planes of signs
constexpr u32 STREAM_NORMALS = 0, STREAM_PERMUTATION = 1;

struct Words {
    u32 at[4];
};

// §6.1.1: block `index` of (seed, step, stream).
SDF_HERE Words philox(u32 seed, u32 step, u32 stream, u64 index) {
    u32 c0 = (u32)index, c1 = (u32)(index >> 32), c2 = step, c3 = stream, k0 = seed, k1 = 0;
    for (int round = 0; round < 10; round++) {
        const u64 a = (u64)0xD2511F53u * c0, b = (u64)0xCD9E8D57u * c2;
        c0 = (u32)(b >> 32) ^ c1 ^ k0;
        c1 = (u32)b;
        c2 = (u32)(a >> 32) ^ c3 ^ k1;
        c3 = (u32)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// §6.1.2: normal `index` of an address [1/4096]; the table has 65536 entries.
SDF_HERE int normal(const short *table, u32 seed, u32 step, u32 stream, u64 index) {
    const u32 lane = (u32)index & 7;
    return table[philox(seed, step, stream, index >> 3).at[lane >> 1] >> 16 * (lane & 1) & 0xFFFF];
}

// §6.3.1: first of the things that part `part` of `parts` nearly equal parts has, and the part that a thing belongs to.
SDF_HERE u64 border(u64 total, u64 part, u64 parts) { return total * part / parts; }
SDF_HERE u32 part_of(u64 thing, u64 total, u64 parts) { return (u32)(((thing + 1) * parts - 1) / total); }
SDF_HERE u32 walk_count(u32 bits) { return (bits + WALK_BITS - 1) / WALK_BITS; }

SDF_HERE u32 parity(u32 x) {
    x ^= x >> 16;
    x ^= x >> 8;
    x ^= x >> 4;
    return 0x6996u >> (x & 15) & 1;
}

// §6.3.2: the state of branch `branch` of a walk whose first branch is `first`; one byte a bit.
SDF_HERE u32 state_of(const u8 *bits, u32 first, u32 branch, int state_bits) {
    u32 state = 0;
    for (int age = state_bits - 1; age >= 0; age--)
        if (branch - first >= (u32)age) state = state << 1 | bits[branch - age];
    return state;
}

// §6.3.3: the dimension at a place of the mixing order.
SDF_HERE u32 dimension_of(u64 place, u32 multiplier, u32 offset, u32 dimensions) {
    return (u32)((place * multiplier + offset) % dimensions);
}

// §6.3.4: whether the sign of a place is -1 in a plane.
SDF_HERE bool flipped(u32 seed, u32 step, u32 plane, u64 place, u32 dimensions) {
    const u64 block = 1 + plane * (((u64)dimensions + 127) >> 7) + (place >> 7);
    return philox(seed, step, STREAM_PERMUTATION, block).at[place >> 5 & 3] >> (place & 31) & 1;
}
SDF_HERE int negated(bool whether, int x) { return whether ? -x : x; }

// §6.3.6: the sign code of a place within its branch, and whether it turns the sign in a state.
SDF_HERE u32 code_of(u32 place, int state_bits) { return (place + 1) * GOLDEN >> (32 - state_bits); }
SDF_HERE bool turned(u32 state, u32 code) { return parity(state & code); }

// A pair of a Walsh-Hadamard transform in natural order: number `pair` of the stage that adds entries `span` apart, entries `stride` wide.
SDF_HERE void add_and_subtract(int *x, u32 pair, u32 span, u32 stride = 1) {
    int *low = x + (u64)((pair / span) * 2 * span + pair % span) * stride, *high = low + (u64)span * stride;
    const int sum = *low + *high;
    *high = *low - *high;
    *low = sum;
}

// §6.3.8, advice. Path metrics are integers modulo 2^32: all within 2^31 of each other, so that their order is the sign of a difference
// and they need no rescaling. A state that no walk reaches starts so low that it never wins.
constexpr u32 UNREACHED = 0xC0000000u;

SDF_HERE u32 first_metric(u32 state) { return state ? UNREACHED : 0; }

// Both predecessors of a pair of states compared: true if the one with the oldest bit 1 wins; ties go to 0.
SDF_HERE bool select(u32 zero, u32 one) { return (int)(one - zero) > 0; }

// The state before, from the survivor bit of the state's pair.
SDF_HERE u32 predecessor(u32 state, u32 survivor, int state_bits) { return state >> 1 | survivor << (state_bits - 1); }

}  // namespace sdf

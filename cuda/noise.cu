// What the receiver does on a GPU (§6.3.7): the displacement of a step from its bits, exact. Twin of trellis.receive.
#include "tile.cuh"

using namespace sdf;

// The state of every branch of a step, from its bits, one byte each.  Grid: branches.
extern "C" __global__ void walk_states(u32 *states, const u8 *bits, u32 count, u32 state_bits) {
    const u32 branch = blockIdx.x * blockDim.x + threadIdx.x;
    if (branch >= count) return;
    const u32 walks = walk_count(count), walk = part_of(branch, count, walks);
    states[branch] = state_of(bits, (u32)border(count, walk, walks), branch, state_bits);
}

// Normals 0 .. count - 1 of an address [1].  Grid: normals.
extern "C" __global__ void normals(float *z, const short *table, u32 count, u32 seed, u32 step, u32 stream) {
    const u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) z[i] = normal(table, seed, step, stream, i) * (1.f / 4096);
}

// The signs that the walks name, mixed by rows and under their middle signs, by place.  Grid: tiles; THREADS threads.
extern "C" __global__ void read_walks(int *places, const u32 *states, u32 dimensions, u32 count, u32 state_bits, u32 seed, u32 step) {
    __shared__ int x[TILE];
    const Rows tile(dimensions, blockIdx.x);
    for (u32 i = threadIdx.x; i < tile.items; i += THREADS) {
        if (!tile.has(i)) continue;
        const u32 place = tile.place(i), branch = part_of(place, dimensions, count);
        const u32 code = code_of(place - (u32)border(dimensions, branch, count), state_bits);
        x[i] = negated(turned(states[branch], code) != flipped(seed, step, BASE, place, dimensions), 1);
    }
    tile.mix(x);
    for (u32 i = threadIdx.x; i < tile.items; i += THREADS)
        if (tile.has(i)) places[tile.place(i)] = negated(flipped(seed, step, MIDDLE, tile.place(i), dimensions), x[i]);
}

// Numbers by place, mixed by columns and under their outer signs, times a power of two: z, by dimension.  Grid: tiles; THREADS threads.
extern "C" __global__ void from_mixing_order(float *z, const int *places, float unit, u32 dimensions, u32 seed, u32 step, u32 multiplier, u32 offset) {
    __shared__ int x[TILE];
    const Columns tile(dimensions, blockIdx.x);
    for (u32 i = threadIdx.x; i < tile.items; i += THREADS)
        if (tile.has(i)) x[i] = places[tile.place(i)];
    tile.mix(x);
    for (u32 i = threadIdx.x; i < tile.items; i += THREADS) {
        if (!tile.has(i)) continue;
        const u32 place = tile.place(i);
        z[dimension_of(place, multiplier, offset, dimensions)] = negated(flipped(seed, step, OUTER, place, dimensions), x[i]) * unit;
    }
}

// The way back: numbers by dimension, under their outer signs, mixed by columns.  Grid: tiles; THREADS threads.
extern "C" __global__ void to_mixing_order(int *places, const int *values, u32 dimensions, u32 seed, u32 step, u32 multiplier, u32 offset) {
    __shared__ int x[TILE];
    const Columns tile(dimensions, blockIdx.x);
    for (u32 i = threadIdx.x; i < tile.items; i += THREADS) {
        if (!tile.has(i)) continue;
        const u32 place = tile.place(i);
        x[i] = negated(flipped(seed, step, OUTER, place, dimensions), values[dimension_of(place, multiplier, offset, dimensions)]);
    }
    tile.mix(x);
    for (u32 i = threadIdx.x; i < tile.items; i += THREADS)
        if (tile.has(i)) places[tile.place(i)] = x[i];
}

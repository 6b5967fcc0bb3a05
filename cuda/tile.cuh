// The places that one block of threads mixes in shared memory (§6.3.5).
#pragma once
#include "core.cuh"

namespace sdf {

constexpr u32 LINES = 32;       // rows or columns a block takes; 32 neighbours in each row of the columns are one memory transaction
constexpr u32 TILE = MIX * LINES;
constexpr u32 THREADS = 256;

// Blocks 0 .. ceil(q / LINES) - 1 hold the q = D / MIX lines, the one behind them the D mod MIX places that are not mixed.
struct Tile {
    u32 lines, first, items, rest;
    bool mixed;

    __device__ Tile(u32 dimensions, u32 block)
        : lines(dimensions / MIX), first(block * LINES), items(TILE), rest(dimensions % MIX), mixed(block * LINES < lines) {
        if (!mixed) items = rest;
    }
    // All threads of a block together; a barrier before and after.  across: of neighbours in a line; along: from line to line.
    __device__ void transform(int *x, u32 across, u32 along) const {
        __syncthreads();
        if (mixed) {
            for (u32 span = 1; span < MIX; span *= 2) {
                for (u32 i = threadIdx.x; i < TILE / 2; i += THREADS) {
                    const u32 line = across == 1 ? i / (MIX / 2) : i % LINES, pair = across == 1 ? i % (MIX / 2) : i / LINES;
                    add_and_subtract(x + line * along, pair, span, across);
                }
                __syncthreads();
            }
        } else {
            for (u32 i = threadIdx.x; i < items; i += THREADS) x[i] *= 16;
            __syncthreads();
        }
    }
};

struct Columns : Tile {
    __device__ Columns(u32 dimensions, u32 block) : Tile(dimensions, block) {}
    __device__ bool has(u32 item) const { return !mixed || first + item % LINES < lines; }
    __device__ u32 place(u32 item) const { return mixed ? item / LINES * lines + first + item % LINES : MIX * lines + item; }
    __device__ void mix(int *x) const { transform(x, LINES, 1); }
};

struct Rows : Tile {
    __device__ Rows(u32 dimensions, u32 block) : Tile(dimensions, block) {}
    __device__ bool has(u32 item) const { return !mixed || first + item / MIX < lines; }
    __device__ u32 place(u32 item) const { return mixed ? rest + first * MIX + item : item; }
    __device__ void mix(int *x) const { transform(x, 1, MIX); }
};

}  // namespace sdf

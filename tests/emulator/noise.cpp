#include "cuda_on_cpu.hpp"
// The kernels as they are.
#include "noise.cu"
EMULATE(walk_states)
EMULATE(normals)
EMULATE(read_walks)
EMULATE(from_mixing_order)
EMULATE(to_mixing_order)

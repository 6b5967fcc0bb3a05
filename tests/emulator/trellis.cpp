#include "cuda_on_cpu.hpp"
// The kernels as they are.
#include "trellis.cu"
EMULATE(weigh)
EMULATE(branch_scores)
EMULATE(best_walks)

#include "cuda_on_cpu.hpp"
// The kernels as they are.
#include "pfr.cu"
EMULATE(read_candidates)
EMULATE(candidate_scores)
EMULATE(records)

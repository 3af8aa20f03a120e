// How a decode step's kernels follow each other where launches overlap. A kernel that may be launched so begins with
// follow_kernel_before(), before it reads or writes anything.
//
// It lets the next kernel start only when it has waited itself, so no more than two are under way, and the end of one
// is the end of all in front of it. linear.cu reads its weight, which nothing writes, before it waits; nothing else
// does. Kernels that were launched in the ordinary way pass through at once.
//
// Macro: OVERLAPS (0 or 1); 0 leaves no trace in the compiled kernel.
#pragma once

#include "ptx.cuh"

// Of pointers. While the kernel in front may still be writing, the compiler must not be told that nobody else does:
// it would be free to read before the wait.
#if OVERLAPS
#define UNSHARED
#else
#define UNSHARED __restrict__
#endif

DEVICE void follow_kernel_before() {
#if OVERLAPS
    wait_for_kernel_before();
    let_next_kernel_start();
#endif
}

// The instructions that CUDA C++ has no words for, as functions. Half floats travel as bits: two in an unsigned, the
// lower address in the lower half, eight in a uint4. Nothing here includes a header, so NVRTC alone compiles it.
// The tests compile the kernels with a C++ compiler against their own version of this file.
#pragma once

#define DEVICE __device__ __forceinline__

typedef unsigned short half_bits;

constexpr unsigned FULL_WARP = 0xffffffffu;
constexpr float LOG2_E = 1.4426950408889634f;

DEVICE float negative_infinity() { return __int_as_float(0xff800000); }

DEVICE float2 unpack_halves(unsigned pair) {
    float2 values;
    asm("{ .reg .f16 low, high; mov.b32 {low, high}, %2; cvt.f32.f16 %0, low; cvt.f32.f16 %1, high; }"
        : "=f"(values.x), "=f"(values.y)
        : "r"(pair));
    return values;
}

DEVICE unsigned pack_halves(float low, float high) {
    unsigned pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// 2^x; 2^-inf is 0.
DEVICE float exp2_fast(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// The lower (upper) halves of two registers: {low of a, low of b}.
DEVICE unsigned lower_halves(unsigned a, unsigned b) { return __byte_perm(a, b, 0x5410); }
DEVICE unsigned upper_halves(unsigned a, unsigned b) { return __byte_perm(a, b, 0x7632); }

// sums[16 x 8] += a[16 x 16] b[16 x 8]. With g = lane / 4 and p = lane % 4 * 2, a lane holds
//   a0..a3: rows g, g + 8, g, g + 8 of a at columns p, p + 1 (a0, a1) and p + 8, p + 9 (a2, a3);
//   b0, b1: rows p, p + 1 and p + 8, p + 9 of b at column g;
//   sums:   row g at columns p, p + 1, then row g + 8.
DEVICE void multiply_add(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0,
                         unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Transposes the 8 x 8 halves of a warp: a lane gives row g, columns p, p + 1, and gets column g, rows p, p + 1.
DEVICE unsigned transpose_tile(unsigned pair) {
    unsigned result;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(pair));
    return result;
}

// Four 8 x 8 tiles of halves from shared memory. Lane 8 i + r gives the address of row r of tile i; tile i arrives in
// tiles[i], row g, columns p, p + 1 in a lane (transposed: column g, rows p, p + 1).
DEVICE void load_tiles(unsigned (&tiles)[4], const half_bits* row) {
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
                 : "r"(address)
                 : "memory");
}

DEVICE void load_tiles_transposed(unsigned (&tiles)[4], const half_bits* row) {
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
                 : "r"(address)
                 : "memory");
}

// Starts a copy of 16 bytes to shared memory, of zeros where not valid; the source must be an address even then.
DEVICE void copy_async(half_bits* shared, const half_bits* global, bool valid) {
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(bytes) : "memory");
}

// Waits for this thread's copies; a barrier must follow before other threads' copies are read.
DEVICE void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

DEVICE unsigned warp_max(unsigned value) {
    unsigned result;
    asm volatile("redux.sync.max.u32 %0, %1, 0xffffffff;" : "=r"(result) : "r"(value));
    return result;
}

DEVICE float warp_max(float value) {
    for (int distance = 16; distance > 0; distance /= 2)
        value = fmaxf(value, __shfl_xor_sync(FULL_WARP, value, distance));
    return value;
}

DEVICE float warp_sum(float value) {
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(FULL_WARP, value, distance);
    return value;
}

// Kernels launched with programmatic stream serialization start before the kernel in front of them ends. This waits
// until it has, and all it wrote can be read; nothing where the launch was an ordinary one.
DEVICE void wait_for_kernel_before() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets such a kernel behind this one start once every block has come here.
DEVICE void let_next_kernel_start() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

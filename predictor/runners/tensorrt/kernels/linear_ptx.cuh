// What linear.cu needs beyond ptx.cuh: copies that stream past the caches, integer products.
// Shared memory is addressed by the 32 bits that the instructions take. Replaced for the tests as ptx.cuh is.
#pragma once

#include "ptx.cuh"

// The shared memory whose size the launch says.
DEVICE unsigned char* dynamic_shared() {
    extern __shared__ __align__(128) unsigned char bytes[];
    return bytes;
}

DEVICE unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Starts a copy of 16 bytes to shared memory, of zeros where not valid; the source must be an address even then. For
// weights, of which whole lines are read: L2 fetches 128 bytes. There is no cache policy: with one, an H200 reports
// an illegal instruction.
DEVICE void stream_async(unsigned shared, const char* global, bool valid) {
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes)
                 : "memory");
}

DEVICE void copy_async(unsigned shared, const char* global, bool valid) {
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(global), "r"(bytes) : "memory");
}

// Ends a group of this thread's copies.
DEVICE void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until no more than the newest PENDING groups of this thread are under way.
template <int PENDING>
DEVICE void wait_for_groups() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// A flag that other blocks wait for: what the block wrote before, up to a barrier, can be read by who saw the flag.
DEVICE void raise_flag(unsigned* flag) { asm volatile("st.release.gpu.u32 [%0], 1;" ::"l"(flag) : "memory"); }

DEVICE void wait_for_flag(const unsigned* flag) {
    unsigned raised;
    do {
        asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(raised) : "l"(flag) : "memory");
    } while (raised == 0);
}

// Four tiles of 8 rows of 16 bytes. Lane 8 i + r gives the address of row r of tile i; of tile i, lane 4 g + q gets
// bytes 4 q to 4 q + 3 of row g, whatever they mean.
DEVICE void load_tiles(unsigned (&tiles)[4], unsigned row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
                 : "r"(row)
                 : "memory");
}

// sums[16 x 8] += a[16 x 32] b[32 x 8] of int8, exactly. In bytes, operands lie in the lanes as those of the product
// of halves do: a lane's four bytes of a row are four columns of a (rows of b), and the sums have the same places.
DEVICE void multiply_add(int (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0,
                         unsigned b1) {
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

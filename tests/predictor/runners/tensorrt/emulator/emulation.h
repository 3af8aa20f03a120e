// Enough of CUDA to run a kernel on the host, block by block. A thread is a coroutine that runs until it waits for its
// warp or its block; which one runs next is drawn by lot, so that a missing barrier shows. Shared memory is filled with
// NaN before each block, and asynchronous copies happen when they are waited for, never earlier.
//
// A kernel may be told of memory that the kernel in front of it is still writing. It is filled with ones, NaN or -1,
// until no thread of the block can go on without what is in it; what was written there before that is lost.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static __attribute__((section("emulated_shared")))
extern "C" char __start_emulated_shared[] __attribute__((weak));
extern "C" char __stop_emulated_shared[] __attribute__((weak));

struct dim3 { int x, y, z; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float __int_as_float(int bits) { float f; std::memcpy(&f, &bits, 4); return f; }
inline float __uint_as_float(unsigned bits) { float f; std::memcpy(&f, &bits, 4); return f; }
inline unsigned __float_as_uint(float f) { unsigned bits; std::memcpy(&bits, &f, 4); return bits; }
inline int __float2int_rn(float f) {
    return f != f ? 0 : f >= 0x1p31f ? 0x7fffffff : f < -0x1p31f ? -0x7fffffff - 1 : static_cast<int>(std::nearbyint(f));
}
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float f) { return 1.0f / std::sqrt(f); }
template <class T> T max(T a, T b) { return a > b ? a : b; }
template <class T> T min(T a, T b) { return a < b ? a : b; }

namespace emulation {

constexpr int WARP = 32;
constexpr int STACK = 256 * 1024;
enum class Wait { NOTHING, WARP_MATES, BLOCK_MATES, KERNEL_BEFORE, DONE };

// A thread of each block in turn. It keeps its stack, and is entered once: later switches are jumps, which unlike
// swapcontext make no system calls.
struct Thread {
    ucontext_t entry;
    jmp_buf place;
    bool entered = false;
    std::unique_ptr<char[]> stack{new char[STACK]};
    Wait wait = Wait::NOTHING;
    int parity = 0;
    bool has_waited = false;  // for the kernel in front
    std::vector<std::function<void()>> copies;
};

struct Lanes { unsigned long long words[2][WARP][6]; };

inline std::deque<Thread> threads;  // a context must not move
inline std::vector<Lanes> warps;
inline jmp_buf scheduler;
inline int current;
inline std::function<void()> body;
inline dim3 thread_index, block_index, block_size, grid_size;

struct Unwritten {
    unsigned char* address;
    std::size_t size;
    std::vector<unsigned char> content;
};
inline std::vector<Unwritten> unwritten;
inline bool hidden = false;

inline void hide() {
    for (auto& memory : unwritten) {
        memory.content.assign(memory.address, memory.address + memory.size);
        std::memset(memory.address, 0xff, memory.size);
    }
    hidden = !unwritten.empty();
}
inline void reveal() {
    for (auto& memory : unwritten)
        if (hidden) std::memcpy(memory.address, memory.content.data(), memory.size);
    hidden = false;
}

inline void wait_for(Wait what) {
    Thread& self = threads[current];
    self.wait = what;
    if (_setjmp(self.place) == 0) _longjmp(scheduler, 1);
}

inline void enter() {
    for (;;) {
        body();
        wait_for(Wait::DONE);  // until the next block
    }
}

inline void resume(int thread) {
    current = thread;
    thread_index = {thread, 0, 0};
    if (_setjmp(scheduler) != 0) return;
    Thread& self = threads[thread];
    if (self.entered) _longjmp(self.place, 1);
    self.entered = true;
    setcontext(&self.entry);
}

inline void prepare(Thread& thread) {
    thread.wait = Wait::NOTHING;
    thread.parity = 0;
    thread.has_waited = false;
    thread.copies.clear();
    if (thread.entered) return;
    getcontext(&thread.entry);
    thread.entry.uc_stack.ss_sp = thread.stack.get();
    thread.entry.uc_stack.ss_size = STACK;
    makecontext(&thread.entry, enter, 0);
}

// Gives up to six words to the warp and gets everyone's.
inline const unsigned long long (*exchange(std::initializer_list<unsigned long long> words))[6] {
    const int self = current;
    auto& lanes = warps[self / WARP].words[threads[self].parity];
    threads[self].parity ^= 1;
    std::copy(words.begin(), words.end(), lanes[self % WARP]);
    wait_for(Wait::WARP_MATES);
    return lanes;
}

inline bool release(int first, int last, Wait what) {
    bool waiting = false;
    for (int i = first; i < last; i++) {
        if (threads[i].wait == what) waiting = true;
        else if (threads[i].wait != Wait::DONE) return false;
    }
    for (int i = first; waiting && i < last; i++)
        if (threads[i].wait == what) threads[i].wait = Wait::NOTHING;
    return waiting;
}

inline void run_block(std::mt19937& lot) {
    const int count = block_size.x;
    if (__start_emulated_shared != nullptr)
        std::memset(__start_emulated_shared, 0xff, __stop_emulated_shared - __start_emulated_shared);
    while (static_cast<int>(threads.size()) < count) threads.emplace_back();
    warps.resize(count / WARP);
    std::vector<int> order(count);
    for (int i = 0; i < count; i++) {
        order[i] = i;
        prepare(threads[i]);
    }
    hide();
    for (;;) {
        std::shuffle(order.begin(), order.end(), lot);
        bool ran = false, done = true, released = false;
        for (int i : order) {
            if (threads[i].wait == Wait::NOTHING) {
                resume(i);
                ran = true;
            }
            done = done && threads[i].wait == Wait::DONE;
        }
        if (done) return reveal();
        for (int i = 0; i < count; i += WARP) ran |= release(i, i + WARP, Wait::WARP_MATES);
        ran |= release(0, count, Wait::BLOCK_MATES);
        for (int i = 0; !ran && i < count; i++)
            if (threads[i].wait == Wait::KERNEL_BEFORE) threads[i].wait = Wait::NOTHING, released = true;
        if (released && hidden) reveal(), ran = true;
        if (!ran) {
            std::fprintf(stderr, "threads wait for each other\n");
            std::abort();
        }
    }
}

template <class... A, std::size_t... I>
void launch(void (*kernel)(A...), void** arguments, const int* grid, int count, unsigned seed, std::index_sequence<I...>) {
    std::mt19937 lot(seed);
    body = [=] { kernel(*static_cast<A*>(arguments[I])...); };
    grid_size = {grid[0], grid[1], grid[2]};
    block_size = {count, 1, 1};
    std::vector<int> order(grid[0] * grid[1] * grid[2]);
    for (std::size_t i = 0; i < order.size(); i++) order[i] = static_cast<int>(i);
    std::shuffle(order.begin(), order.end(), lot);
    for (int i : order) {
        block_index = {i % grid[0], i / grid[0] % grid[1], i / grid[0] / grid[1]};
        run_block(lot);
    }
}

}  // namespace emulation

#define threadIdx emulation::thread_index
#define blockIdx emulation::block_index
#define blockDim emulation::block_size
#define gridDim emulation::grid_size

inline void wait_for_kernel_before() {
    if (emulation::hidden) emulation::wait_for(emulation::Wait::KERNEL_BEFORE);
    emulation::threads[emulation::current].has_waited = true;
}
// The next kernel relies on the end of this one being the end of those before it.
inline void let_next_kernel_start() {
    if (emulation::unwritten.empty() || emulation::threads[emulation::current].has_waited) return;
    std::fprintf(stderr, "a kernel lets the next one start before it has waited itself\n");
    std::abort();
}
// What the next launches' kernels in front are still writing.
extern "C" void emulate_unwritten(void* const* addresses, const std::size_t* sizes, int count) {
    emulation::unwritten.clear();
    for (int i = 0; i < count; i++)
        emulation::unwritten.push_back({static_cast<unsigned char*>(addresses[i]), sizes[i], {}});
}

inline void __syncthreads() {
    emulation::wait_for(emulation::Wait::BLOCK_MATES);
}
inline void __syncwarp() { emulation::wait_for(emulation::Wait::WARP_MATES); }
inline void __threadfence() {}
template <class T> T __ldcg(const T* address) { return *address; }
inline int atomicAdd(int* address, int value) { int old = *address; *address += value; return old; }

template <class T> T __shfl_xor_sync(unsigned, T value, int mask) {
    unsigned long long word = 0;
    std::memcpy(&word, &value, sizeof value);
    const int lane = emulation::current % emulation::WARP;
    word = emulation::exchange({word})[lane ^ mask][0];
    std::memcpy(&value, &word, sizeof value);
    return value;
}

#define EMULATED(kernel)                                                                                          \
    extern "C" void emulate_##kernel(const int* grid, int threads, unsigned seed, void** arguments) {             \
        run_emulated(kernel, grid, threads, seed, arguments);                                                     \
    }
template <class... A>
void run_emulated(void (*kernel)(A...), const int* grid, int threads, unsigned seed, void** arguments) {
    emulation::launch(kernel, arguments, grid, threads, seed, std::index_sequence_for<A...>{});
}

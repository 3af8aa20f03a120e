// The functions of the kernels' linear_ptx.cuh, on the host. Blocks run one after the other in the order of their
// numbers: a block that waits for one of a higher number would wait for ever, and stops the test.
#pragma once
#include "ptx.cuh"

constexpr int MOST_SHARED = 227 * 1024;
alignas(128) __shared__ unsigned char emulated_dynamic[MOST_SHARED];

inline unsigned char* dynamic_shared() { return emulated_dynamic; }
inline unsigned shared_address(const unsigned char* pointer) {
    return static_cast<unsigned>(pointer - emulated_dynamic);
}
inline unsigned char* at_shared(unsigned address) {
    if (address % 16 != 0 || address + 16 > MOST_SHARED) std::abort();
    return emulated_dynamic + address;
}

// Copies of each thread: those of the group that has not ended, and the groups under way. They happen when they are
// waited for; the place holds garbage until then. Those begun before the kernel in front has ended read at once.
using Group = std::vector<std::function<void()>>;
inline std::map<int, Group> open_groups;
inline std::map<int, std::deque<Group>> ended_groups;

inline void copy_async(unsigned shared, const char* global, bool valid) {
    std::memset(at_shared(shared), 0xff, 16);
    if (emulation::hidden && valid) {
        std::vector<char> early(global, global + 16);
        open_groups[emulation::current].push_back([=] { std::memcpy(at_shared(shared), early.data(), 16); });
        return;
    }
    open_groups[emulation::current].push_back([=] {
        if (valid) std::memcpy(at_shared(shared), global, 16);
        else std::memset(at_shared(shared), 0, 16);
    });
}
inline void stream_async(unsigned shared, const char* global, bool valid) { copy_async(shared, global, valid); }
inline void end_group() {
    ended_groups[emulation::current].push_back(std::move(open_groups[emulation::current]));
    open_groups[emulation::current].clear();
}
template <int PENDING> void wait_for_groups() {
    auto& groups = ended_groups[emulation::current];
    for (; groups.size() > PENDING; groups.pop_front())
        for (auto& copy : groups.front()) copy();
}

inline void raise_flag(unsigned* flag) { *flag = 1; }
inline void wait_for_flag(const unsigned* flag) {
    if (*flag == 0) std::abort();
}

inline void load_tiles(unsigned (&tiles)[4], unsigned row) {
    auto lanes = emulation::exchange({row});
    const int lane = emulated_lane();
    for (int tile = 0; tile < 4; tile++)
        std::memcpy(&tiles[tile], at_shared(lanes[tile * 8 + lane / 4][0]) + lane % 4 * 4, 4);
    emulation::exchange({0});  // nobody goes on and writes before all have read
}

inline int int8_of(unsigned long long word, int index) { return static_cast<int8_t>(word >> (8 * index)); }

inline void multiply_add(int (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0,
                         unsigned b1) {
    auto lanes = emulation::exchange({a0, a1, a2, a3, b0, b1});
    const int lane = emulated_lane();
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 32; k++) {
            int a = int8_of(lanes[row % 8 * 4 + k % 16 / 4][row / 8 + k / 16 * 2], k % 4);
            int b = int8_of(lanes[column * 4 + k % 16 / 4][4 + k / 16], k % 4);
            sums[i] += a * b;
        }
    }
}

template <class... A, std::size_t... I>
void run_in_order(void (*kernel)(A...), const int* grid, int threads, unsigned seed, void** arguments,
                  std::index_sequence<I...>) {
    std::mt19937 lot(seed);
    emulation::body = [=] { kernel(*static_cast<A*>(arguments[I])...); };
    emulation::grid_size = {grid[0], 1, 1};
    emulation::block_size = {threads, 1, 1};
    for (int block = 0; block < grid[0]; block++) {
        open_groups.clear();
        ended_groups.clear();
        emulation::block_index = {block, 0, 0};
        emulation::run_block(lot);
    }
}
template <class... A>
void run_emulated_in_order(void (*kernel)(A...), const int* grid, int threads, unsigned seed, void** arguments) {
    run_in_order(kernel, grid, threads, seed, arguments, std::index_sequence_for<A...>{});
}

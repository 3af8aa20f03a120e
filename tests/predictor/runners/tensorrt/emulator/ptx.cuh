// The functions of the kernels' ptx.cuh, on the host: the same names and meanings, the layouts of the PTX manual.
#pragma once
#include "emulation.h"

#define DEVICE inline

typedef unsigned short half_bits;

constexpr unsigned FULL_WARP = 0xffffffffu;
constexpr float LOG2_E = 1.4426950408889634f;

inline float negative_infinity() { return -INFINITY; }

inline float to_float(half_bits bits) { _Float16 half; std::memcpy(&half, &bits, 2); return half; }
inline half_bits to_half(float value) {
    _Float16 half = static_cast<_Float16>(value);
    half_bits bits;
    std::memcpy(&bits, &half, 2);
    return bits;
}
inline float2 unpack_halves(unsigned pair) { return {to_float(pair & 0xffff), to_float(pair >> 16)}; }
inline unsigned pack_halves(float low, float high) { return to_half(low) | static_cast<unsigned>(to_half(high)) << 16; }
inline float exp2_fast(float x) { return std::exp2(x); }
inline unsigned lower_halves(unsigned a, unsigned b) { return (a & 0xffff) | b << 16; }
inline unsigned upper_halves(unsigned a, unsigned b) { return a >> 16 | (b & 0xffff0000u); }

inline int emulated_lane() { return emulation::current % emulation::WARP; }
inline float half_of(unsigned long long word, int index) { return to_float(static_cast<half_bits>(word >> (16 * index))); }

inline void multiply_add(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    auto lanes = emulation::exchange({a0, a1, a2, a3, b0, b1});
    const int lane = emulated_lane();
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 16; k++) {
            float a = half_of(lanes[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2], k % 2);
            float b = half_of(lanes[column * 4 + k % 8 / 2][4 + k / 8], k % 2);
            sums[i] += a * b;
        }
    }
}

inline unsigned transpose_tile(unsigned pair) {
    auto lanes = emulation::exchange({pair});
    const int column = emulated_lane() / 4, row = emulated_lane() % 4 * 2;
    auto element = [&](int r) { return static_cast<unsigned>(lanes[r * 4 + column / 2][0] >> (16 * (column % 2)) & 0xffff); };
    return element(row) | element(row + 1) << 16;
}

inline void load_any_tiles(unsigned (&tiles)[4], const half_bits* row, bool transposed) {
    auto lanes = emulation::exchange({reinterpret_cast<unsigned long long>(row)});
    const int g = emulated_lane() / 4, p = emulated_lane() % 4 * 2;
    for (int tile = 0; tile < 4; tile++) {
        auto element = [&](int r, int c) -> unsigned { return reinterpret_cast<const half_bits*>(lanes[tile * 8 + r][0])[c]; };
        tiles[tile] = transposed ? element(p, g) | element(p + 1, g) << 16 : element(g, p) | element(g, p + 1) << 16;
    }
    emulation::exchange({0});  // nobody goes on and writes before all have read
}
inline void load_tiles(unsigned (&tiles)[4], const half_bits* row) { load_any_tiles(tiles, row, false); }
inline void load_tiles_transposed(unsigned (&tiles)[4], const half_bits* row) { load_any_tiles(tiles, row, true); }

inline void copy_async(half_bits* shared, const half_bits* global, bool valid) {
    std::memset(shared, 0xff, 16);
    emulation::threads[emulation::current].copies.push_back([=] {
        if (valid) std::memcpy(shared, global, 16);
        else std::memset(shared, 0, 16);
    });
}
inline void wait_for_copies() {
    auto& copies = emulation::threads[emulation::current].copies;
    for (auto& copy : copies) copy();
    copies.clear();
}

inline unsigned warp_max(unsigned value) {
    for (int distance = 16; distance > 0; distance /= 2) value = max(value, __shfl_xor_sync(FULL_WARP, value, distance));
    return value;
}
inline float warp_max(float value) {
    for (int distance = 16; distance > 0; distance /= 2) value = fmaxf(value, __shfl_xor_sync(FULL_WARP, value, distance));
    return value;
}
inline float warp_sum(float value) {
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(FULL_WARP, value, distance);
    return value;
}

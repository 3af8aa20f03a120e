// Heads of queries, keys and values, out of the product that gives all three: the product's scale and bias, then, for
// queries and keys, the norm over the head where the model has one and the rotary position embedding in its
// rotate-half convention: dimension i turns with dimension i + HEAD_DIM / 2.
#pragma once

#include "operands.cuh"
#include "ptx.cuh"

constexpr int TURNS = HEAD_DIM / 8;  // lanes that share a head; each has four pairs of dimensions that turn together
constexpr int HEAD_LANES = TURNS <= 1 ? 1 : TURNS <= 2 ? 2 : TURNS <= 4 ? 4 : TURNS <= 8 ? 8 : TURNS <= 16 ? 16 : 32;
constexpr int HEAD_PIECES = HEAD_DIM / WIDE;
constexpr int QKV_WIDTH = (HEADS + 2 * KV_HEADS) * HEAD_DIM;

// A product [rows, QKV_WIDTH], queries first, then keys, then values. All but `product` may be null.
struct Qkv {
    const void* product;
    const float* scale;   // [QKV_WIDTH]; null where the product is half
    const float* bias;    // [QKV_WIDTH]
    const float* q_norm;  // weights [HEAD_DIM]
    const float* k_norm;
};

// Tables [positions, HEAD_DIM / 2].
struct Rotary {
    const float* cos;
    const float* sin;
};

// Dimensions 4 turn .. + 3 of a head, then those HEAD_DIM / 2 later.
DEVICE Eight load_pairs(const Qkv& qkv, long long row, int head, int turn) {
    const int first = head * HEAD_DIM + 4 * turn, second = first + HEAD_DIM / 2;
    Eight pairs;
    if (qkv.scale == nullptr) {
        const half_bits* values = static_cast<const half_bits*>(qkv.product) + row * QKV_WIDTH;
        pairs = join(load_four(values + first), load_four(values + second));
    } else {
        const float* values = static_cast<const float*>(qkv.product) + row * QKV_WIDTH;
        pairs = join(load_four(values + first), load_four(values + second));
        multiply(pairs, join(load_four(qkv.scale + first), load_four(qkv.scale + second)));
    }
    if (qkv.bias != nullptr) add(pairs, join(load_four(qkv.bias + first), load_four(qkv.bias + second)));
    return pairs;
}

// Root mean square norm over a head. All lanes of the warp must call; those that have no dimensions pass zeros.
DEVICE void norm_pairs(Eight& pairs, const float* weight, int turn, float epsilon) {
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < WIDE; i++) squares += pairs.at[i] * pairs.at[i];
#pragma unroll
    for (int distance = HEAD_LANES / 2; distance > 0; distance /= 2)
        squares += __shfl_xor_sync(FULL_WARP, squares, distance);
    const float factor = rsqrtf(squares * (1.0f / HEAD_DIM) + epsilon);
    if (turn >= TURNS) return;
    multiply(pairs, join(load_four(weight + 4 * turn), load_four(weight + HEAD_DIM / 2 + 4 * turn)));
#pragma unroll
    for (int i = 0; i < WIDE; i++) pairs.at[i] *= factor;
}

// Cosines of the four pairs, then sines.
DEVICE Eight load_turns(const Rotary& rotary, int position, int turn) {
    const long long at = static_cast<long long>(position) * (HEAD_DIM / 2) + 4 * turn;
    return join(load_four(rotary.cos + at), load_four(rotary.sin + at));
}

DEVICE void rotate_pairs(Eight& pairs, const Eight& turns) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float cos = turns.at[i], sin = turns.at[i + 4];
        const float first = pairs.at[i], second = pairs.at[i + 4];
        pairs.at[i] = first * cos - second * sin;
        pairs.at[i + 4] = second * cos + first * sin;
    }
}

// A query or key as attention wants it. All lanes of the warp must call, HEAD_LANES neighbours for one head, with
// `valid` where there is such a head and turn < TURNS; others get zeros.
DEVICE Eight turned_pairs(const Qkv& qkv, const Rotary& rotary, long long row, int head, int position, int turn,
                          bool valid, float epsilon) {
    Eight pairs = {}, turns = {};
    if (valid) {
        turns = load_turns(rotary, position, turn);
        pairs = load_pairs(qkv, row, head, turn);
    }
    if (qkv.q_norm != nullptr)  // where there is one, there are both
        norm_pairs(pairs, head < HEADS ? qkv.q_norm : qkv.k_norm, valid ? turn : TURNS, epsilon);
    rotate_pairs(pairs, turns);
    return pairs;
}

DEVICE void store_pairs(half_bits* head, const Eight& pairs, int turn) {
    const float* v = pairs.at;
    reinterpret_cast<uint2*>(head)[turn] = make_uint2(pack_halves(v[0], v[1]), pack_halves(v[2], v[3]));
    head += HEAD_DIM / 2;
    reinterpret_cast<uint2*>(head)[turn] = make_uint2(pack_halves(v[4], v[5]), pack_halves(v[6], v[7]));
}

// Dimensions 8 piece .. + 7 of value head `head` of KV_HEADS.
DEVICE uint4 value_piece(const Qkv& qkv, long long row, int head, int piece) {
    const int column = (HEADS + KV_HEADS + head) * HEAD_DIM + piece * WIDE;
    Eight values = load_product(qkv.product, qkv.scale, row * QKV_WIDTH, column);
    if (qkv.bias != nullptr) add(values, load_eight(qkv.bias + column));
    return pack_eight(values);
}

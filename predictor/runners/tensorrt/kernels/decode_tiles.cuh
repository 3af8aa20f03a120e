// What a warp of decode_attention does with a tile of 16 tokens; decode_attention.cu says why it is laid out so.
#pragma once

#include "ptx.cuh"

constexpr int WARPS = DECODE_WARPS;
constexpr int THREADS = WARPS * 32;
constexpr int TILE = 16;                              // tokens
constexpr int GROUP = HEADS / KV_HEADS;
constexpr int HEAD_TILES = (GROUP + 7) / 8;           // of eight query heads
constexpr int PIECES = HEAD_DIM / 8;                  // of 16 bytes in a row of the cache
constexpr int KEY_BLOCKS = (PIECES + 3) / 4;          // of 32 dimensions: four lanes load a block of a row
constexpr int VALUE_BLOCKS = (PIECES + 7) / 8;        // of 64 dimensions: eight lanes load a block of a row
constexpr int QUERY_PIECES = KEY_BLOCKS * 4 + 4;      // of a row in shared memory; the last four spread the banks
constexpr bool PREFETCH = HEAD_DIM <= 128;            // beyond it, a second tile does not fit the registers

static_assert(MAX_SPLITS <= 32, "one lane per share when shares are merged");

struct KeyTile {
    uint4 piece[2][KEY_BLOCKS];  // tokens g and g + 8 of the tile, piece 4 * block + lane % 4
};

struct ValueTile {
    uint4 piece[4][VALUE_BLOCKS];  // tokens p, p + 1, p + 8, p + 9 of the tile, piece 8 * block + g
};

struct Shared {
    uint4 queries[HEAD_TILES * 8 * QUERY_PIECES];  // turned; zero beyond GROUP and HEAD_DIM
    uint4 new_key[PIECES];
    uint4 new_value[PIECES];
    float output[GROUP * HEAD_DIM];
    float top[WARPS + 1][HEAD_TILES * 8];  // highest score of each warp's tokens, and the new token's
    float sum[WARPS + 1][HEAD_TILES * 8];  // of 2^(score - top)
    float weights[GROUP][MAX_SPLITS];
    bool last;
};

// What a warp knows of its tokens: for heads 8 * tile + p and + 1, the output of dimensions 8 g + 64 * block and on.
struct State {
    float output[HEAD_TILES][VALUE_BLOCKS * 4][4];
    float top[HEAD_TILES][2];
    float sum[HEAD_TILES][2];
};

DEVICE void load_keys(KeyTile& tile, const uint4* keys, int first, int end) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int token = first + lane / 4 + 8 * half;
#pragma unroll
        for (int block = 0; block < KEY_BLOCKS; block++) {
            int piece = block * 4 + lane % 4;
            bool valid = token < end && piece < PIECES;
            tile.piece[half][block] = valid ? keys[token * PIECES + piece] : make_uint4(0, 0, 0, 0);
        }
    }
}

// Zeros beyond the end: whatever lies there, a weight of zero would not hide a NaN.
DEVICE void load_values(ValueTile& tile, const uint4* values, int first, int end) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        int token = first + lane % 4 * 2 + i % 2 + i / 2 * 8;
#pragma unroll
        for (int block = 0; block < VALUE_BLOCKS; block++) {
            int piece = block * 8 + lane / 4;
            bool valid = token < end && piece < PIECES;
            tile.piece[i][block] = valid ? values[token * PIECES + piece] : make_uint4(0, 0, 0, 0);
        }
    }
}

// scores[t]: head 8 t + p of token g, head + 1 of token g, then both of token g + 8.
DEVICE void score_tile(float (&scores)[HEAD_TILES][4], const KeyTile& keys, const uint4* queries) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < HEAD_TILES; t++) {
#pragma unroll
        for (int i = 0; i < 4; i++) scores[t][i] = 0.0f;
#pragma unroll
        for (int block = 0; block < KEY_BLOCKS; block++) {
            uint4 query = queries[(t * 8 + lane / 4) * QUERY_PIECES + block * 4 + lane % 4];
            const uint4 &low = keys.piece[0][block], &high = keys.piece[1][block];
            multiply_add(scores[t], low.x, high.x, low.y, high.y, query.x, query.y);
            multiply_add(scores[t], low.z, high.z, low.w, high.w, query.z, query.w);
        }
    }
}

// Turns the scores of tokens `first` to `first` + 15 into weights, and rescales what the state holds to the new top.
DEVICE void weigh_tile(State& state, float (&scores)[HEAD_TILES][4], int first, int end, float scale) {
    const int token = first + threadIdx.x % 32 / 4;
#pragma unroll
    for (int t = 0; t < HEAD_TILES; t++) {
        float factor[2];
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float low = token < end ? scores[t][e] * scale : negative_infinity();
            float high = token + 8 < end ? scores[t][e + 2] * scale : negative_infinity();
            float top = fmaxf(low, high);
#pragma unroll
            for (int distance = 4; distance < 32; distance *= 2)
                top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, distance));
            top = fmaxf(top, state.top[t][e]);
            factor[e] = exp2_fast(state.top[t][e] - top);
            scores[t][e] = exp2_fast(low - top);
            scores[t][e + 2] = exp2_fast(high - top);
            state.sum[t][e] = state.sum[t][e] * factor[e] + scores[t][e] + scores[t][e + 2];
            state.top[t][e] = top;
        }
#pragma unroll
        for (int m = 0; m < VALUE_BLOCKS * 4; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) state.output[t][m][i] *= factor[i % 2];
    }
}

template <int M>
DEVICE unsigned word(const uint4& piece) {
    return M == 0 ? piece.x : M == 1 ? piece.y : M == 2 ? piece.z : piece.w;
}

// Word M of the pieces holds dimensions 2 M and 2 M + 1 of eight: rows g and g + 8 of the product.
template <int M>
DEVICE void add_word(State& state, const ValueTile& values, int block, const unsigned (&weights)[HEAD_TILES][2]) {
    unsigned w0 = word<M>(values.piece[0][block]), w1 = word<M>(values.piece[1][block]);
    unsigned w2 = word<M>(values.piece[2][block]), w3 = word<M>(values.piece[3][block]);
#pragma unroll
    for (int t = 0; t < HEAD_TILES; t++)
        multiply_add(state.output[t][block * 4 + M], lower_halves(w0, w1), upper_halves(w0, w1), lower_halves(w2, w3),
                     upper_halves(w2, w3), weights[t][0], weights[t][1]);
}

DEVICE void add_tile(State& state, const ValueTile& values, const float (&scores)[HEAD_TILES][4]) {
    unsigned weights[HEAD_TILES][2];
#pragma unroll
    for (int t = 0; t < HEAD_TILES; t++) {
        weights[t][0] = transpose_tile(pack_halves(scores[t][0], scores[t][1]));
        weights[t][1] = transpose_tile(pack_halves(scores[t][2], scores[t][3]));
    }
#pragma unroll
    for (int block = 0; block < VALUE_BLOCKS; block++) {
        add_word<0>(state, values, block, weights);
        add_word<1>(state, values, block, weights);
        add_word<2>(state, values, block, weights);
        add_word<3>(state, values, block, weights);
    }
}

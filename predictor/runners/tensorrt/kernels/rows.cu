// Small kernels: a step's tokens in, its prompts' K/V to the cache.
#include "heads.cuh"
#include "ptx.cuh"

// One thread per token: token_ids[t] is the best candidate of row sources[t] of the previous step's output, or the
// host's token where there is no source.
extern "C" __global__ void choose_tokens(int* token_ids, const int* previous_ids, const int* sources,
                                         const int* host_tokens, int tokens) {
    int token = blockIdx.x * blockDim.x + threadIdx.x;
    if (token >= tokens) return;
    int source = sources[token];
    token_ids[token] = source >= 0 ? previous_ids[source * CANDIDATES] : host_tokens[token];
}

// One block per row from first_row on: writes the turned key and the value of a prompt's token to (slots[row],
// positions[row]) of the cache, half [slots, KV_HEADS, capacity, HEAD_DIM]. Skips rows with slot < 0.
extern "C" __global__ void write_kv(Qkv qkv, Rotary rotary, half_bits* keys, half_bits* values, const int* slots,
                                    const int* positions, int first_row, int capacity, float epsilon) {
    const int row = first_row + blockIdx.x;
    const int slot = slots[row], position = positions[row];
    if (slot < 0) return;
    const long long cache = (static_cast<long long>(slot) * KV_HEADS * capacity + position) * HEAD_DIM;
    const long long head_stride = static_cast<long long>(capacity) * HEAD_DIM;
    const int lane = threadIdx.x % 32;
    for (int first = threadIdx.x - lane; first < KV_HEADS * HEAD_LANES; first += blockDim.x) {
        const int head = (first + lane) / HEAD_LANES, turn = (first + lane) % HEAD_LANES;
        const bool valid = head < KV_HEADS && turn < TURNS;
        const Eight key = turned_pairs(qkv, rotary, row, HEADS + head, position, turn, valid, epsilon);
        if (valid) store_pairs(keys + cache + head * head_stride, key, turn);
    }
    for (int i = threadIdx.x; i < KV_HEADS * HEAD_PIECES; i += blockDim.x) {
        const int head = i / HEAD_PIECES, piece = i % HEAD_PIECES;
        reinterpret_cast<uint4*>(values + cache + head * head_stride)[piece] = value_piece(qkv, row, head, piece);
    }
}

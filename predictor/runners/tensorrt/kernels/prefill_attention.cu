// Causal attention of prompt rows over their slot: over the rows' own tokens and whatever the slot held before them.
//
// A block takes one head of one tile of up to 64 rows, which are consecutive tokens of a slot; each of its four warps
// takes 16 rows. Keys and values pass through shared memory, values arriving while scores are computed and the next
// keys while values are added. The softmax is online, in float32, in powers of two (as in "FlashAttention-2",
// Dao, 2023). write_kv of rows.cu must have run: the rows' own keys and values are in the cache.
#include "heads.cuh"
#include "ptx.cuh"

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * 32;
constexpr int GROUP = HEADS / KV_HEADS;
constexpr int PIECES = HEAD_DIM / 8;                 // of 16 bytes in a row
constexpr int STEPS = (HEAD_DIM + 15) / 16;          // of 16 dimensions; the last may be half empty
constexpr int KEYS = STEPS <= 8 ? 64 : 32;           // tokens at a time
constexpr int STRIDE = STEPS * 16 + 8;               // of rows in shared memory, so that eight rows meet all banks

// Starts to copy tokens `first` .. + KEYS - 1, zeros from `end` on and beyond HEAD_DIM.
DEVICE void start_copy(half_bits* shared, const half_bits* rows, int first, int end) {
    for (int i = threadIdx.x; i < KEYS * STEPS * 2; i += THREADS) {
        int token = i / (STEPS * 2), piece = i % (STEPS * 2);
        bool valid = first + token < end && piece < PIECES;
        const half_bits* from = valid ? rows + (first + token) * HEAD_DIM + piece * 8 : rows;
        copy_async(shared + token * STRIDE + piece * 8, from, valid);
    }
}

// A pair of dimensions, or zeros beyond the last.
DEVICE unsigned load_query(const half_bits* row, int dimension) {
    return dimension < HEAD_DIM ? *reinterpret_cast<const unsigned*>(row + dimension) : 0;
}

// The warp's 16 rows, turned, as operands: registers 0 and 2 hold row g, 1 and 3 row g + 8. They pass through eight
// rows of shared memory that only this warp touches until the next barrier.
DEVICE void load_queries(unsigned (&queries)[STEPS][4], half_bits* shared, const Qkv& qkv, const Rotary& rotary,
                         int head, const int4& tile, float epsilon) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    shared += warp * 8 * STRIDE;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        for (int first = 0; first < 8 * HEAD_LANES; first += 32) {
            const int i = (first + lane) / HEAD_LANES, turn = (first + lane) % HEAD_LANES;
            const int row = warp * 16 + half * 8 + i;  // of the tile
            const bool valid = i < 8 && row < tile.w && turn < TURNS;
            const Eight pairs = turned_pairs(qkv, rotary, tile.z + row, head, tile.y + row, turn, valid, epsilon);
            if (i < 8 && turn < TURNS) store_pairs(shared + i * STRIDE, pairs, turn);
        }
        __syncwarp();
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            const int dimension = step * 16 + lane % 4 * 2;
            queries[step][half] = load_query(shared + lane / 4 * STRIDE, dimension);
            queries[step][half + 2] = load_query(shared + lane / 4 * STRIDE, dimension + 8);
        }
        __syncwarp();
    }
}

DEVICE void score_keys(float (&scores)[KEYS / 8][4], const unsigned (&queries)[STEPS][4], const half_bits* keys) {
    const int lane = threadIdx.x % 32;
    const half_bits* row = keys + (lane / 16 * 8 + lane % 8) * STRIDE + lane / 8 % 2 * 8;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) scores[n][i] = 0.0f;
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
#pragma unroll
        for (int n = 0; n < KEYS / 16; n++) {
            unsigned tiles[4];
            load_tiles(tiles, row + n * 16 * STRIDE + step * 16);
            const unsigned(&query)[4] = queries[step];
            multiply_add(scores[2 * n], query[0], query[1], query[2], query[3], tiles[0], tiles[1]);
            multiply_add(scores[2 * n + 1], query[0], query[1], query[2], query[3], tiles[2], tiles[3]);
        }
    }
}

struct State {
    float output[STEPS * 2][4];
    float top[2];  // highest scaled score so far of rows g and g + 8
    float sum[2];  // of 2^(score - top), this lane's columns alone
};

// Turns the scores of tokens from `first` on into weights. Rows see tokens up to position and position + 8.
DEVICE void weigh_keys(State& state, float (&scores)[KEYS / 8][4], int first, int position, float scale) {
    const int column = first + threadIdx.x % 4 * 2;
#pragma unroll
    for (int e = 0; e < 2; e++) {
        float top = state.top[e];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (int i = 2 * e; i < 2 * e + 2; i++) {
                bool visible = column + n * 8 + i % 2 <= position + 8 * e;
                scores[n][i] = visible ? scores[n][i] * scale : negative_infinity();
                top = fmaxf(top, scores[n][i]);
            }
        }
        top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 1));
        top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 2));
        const float factor = exp2_fast(state.top[e] - top);
        state.top[e] = top;
        state.sum[e] *= factor;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) {
#pragma unroll
            for (int i = 2 * e; i < 2 * e + 2; i++) {
                scores[n][i] = exp2_fast(scores[n][i] - top);
                state.sum[e] += scores[n][i];
            }
        }
#pragma unroll
        for (int n = 0; n < STEPS * 2; n++) {
            state.output[n][2 * e] *= factor;
            state.output[n][2 * e + 1] *= factor;
        }
    }
}

DEVICE void add_values(State& state, const float (&weights)[KEYS / 8][4], const half_bits* values) {
    const int lane = threadIdx.x % 32;
    const half_bits* row = values + (lane / 8 % 2 * 8 + lane % 8) * STRIDE + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++) {
        const unsigned a0 = pack_halves(weights[2 * k][0], weights[2 * k][1]);
        const unsigned a1 = pack_halves(weights[2 * k][2], weights[2 * k][3]);
        const unsigned a2 = pack_halves(weights[2 * k + 1][0], weights[2 * k + 1][1]);
        const unsigned a3 = pack_halves(weights[2 * k + 1][2], weights[2 * k + 1][3]);
#pragma unroll
        for (int n = 0; n < STEPS; n++) {
            unsigned tiles[4];
            load_tiles_transposed(tiles, row + k * 16 * STRIDE + n * 16);
            multiply_add(state.output[2 * n], a0, a1, a2, a3, tiles[0], tiles[1]);
            multiply_add(state.output[2 * n + 1], a0, a1, a2, a3, tiles[2], tiles[3]);
        }
    }
}

// Row g of the warp's where e is 0, row g + 8 where it is 1: `row` of the activation, if that is `valid`.
DEVICE void write_row(void* attended, const float* input_scale, long long row, int head, bool valid,
                      const State& state, int e) {
    float sum = state.sum[e];
    sum += __shfl_xor_sync(FULL_WARP, sum, 1);
    sum += __shfl_xor_sync(FULL_WARP, sum, 2);
    const float scale = 1.0f / sum;
    if (!valid) return;
#pragma unroll
    for (int n = 0; n < STEPS * 2; n++) {
        const int dimension = n * 8 + threadIdx.x % 4 * 2;
        if (dimension < HEAD_DIM)
            store_pair(attended, input_scale, row * (HEADS * HEAD_DIM), head * HEAD_DIM + dimension,
                       state.output[n][2 * e] * scale, state.output[n][2 * e + 1] * scale);
    }
}

// Grid (HEADS, tiles). A tile is {slot, position of its first row, first row, rows <= 64}; one of 0 rows does
// nothing. keys and values half [slots, KV_HEADS, capacity, HEAD_DIM]; attended half [T, HEADS * HEAD_DIM], or int8
// where there is an input_scale [HEADS * HEAD_DIM]; scale: log2(e) times the scale of the scores.
extern "C" __global__ void __launch_bounds__(THREADS)
    prefill_attention(Qkv qkv, Rotary rotary, const half_bits* keys, const half_bits* values, const int4* tiles,
                      void* attended, const float* input_scale, int capacity, float scale, float epsilon) {
    __shared__ __align__(16) half_bits shared_keys[KEYS * STRIDE];
    __shared__ __align__(16) half_bits shared_values[KEYS * STRIDE];
    const int head = blockIdx.x;
    const int4 tile = tiles[blockIdx.y];
    const int slot = tile.x, start = tile.y, count = tile.w;
    if (slot < 0 || count <= 0) return;
    const int end = start + count;

    const int warp_row = threadIdx.x / 32 * 16;  // of the tile
    const int row = warp_row + threadIdx.x % 32 / 4;
    const int last = start + min(count, warp_row + 16) - 1;  // last token that the warp sees
    const bool busy = warp_row < count;

    const long long cache = (static_cast<long long>(slot) * KV_HEADS + head / GROUP) * capacity * HEAD_DIM;
    keys += cache;
    values += cache;
    start_copy(shared_keys, keys, 0, end);
    unsigned queries[STEPS][4];
    load_queries(queries, shared_values, qkv, rotary, head, tile, epsilon);

    State state = {};
    state.top[0] = state.top[1] = negative_infinity();
    for (int first = 0; first < end; first += KEYS) {
        wait_for_copies();
        __syncthreads();  // keys are here, and all warps are done with the values before
        start_copy(shared_values, values, first, end);
        const bool visible = busy && first <= last;
        float scores[KEYS / 8][4];
        if (visible) {
            score_keys(scores, queries, shared_keys);
            weigh_keys(state, scores, first, start + row, scale);
        }
        wait_for_copies();
        __syncthreads();  // values are here, and all warps are done with the keys
        if (first + KEYS < end) start_copy(shared_keys, keys, first + KEYS, end);
        if (visible) add_values(state, scores, shared_values);
    }
    const long long first_row = static_cast<long long>(tile.z) + row;
    write_row(attended, input_scale, first_row, head, row < count, state, 0);
    write_row(attended, input_scale, first_row + 8, head, row + 8 < count, state, 1);
}

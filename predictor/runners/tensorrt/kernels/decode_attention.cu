// Attention of one new token per sequence over its slot of the K/V cache, read in place and once: bound by memory.
//
// A block takes one sequence, one K/V head with the GROUP query heads that share it, and one share of the past. Its
// warps take tiles of 16 tokens in turn and keep everything in registers: 16-byte loads from the cache have the
// layout that the tensor cores want, if dimensions are counted in another order, the same for queries and keys.
// Products are transposed (tokens or dimensions are rows, query heads are columns), so that up to eight heads fit
// one instruction:
//     scores[16 tokens x 8 heads]  = keys[16 x dims] queries^T[dims x 8]
//     output[16 dims x 8 heads]   += values^T[16 x tokens] weights[tokens x 8]
// The softmax is online, in float32, in powers of two. The block with the last share adds the new token, which it
// turns, writes to the cache and takes from shared memory; nobody reads it from the cache. The block that finishes
// last merges the shares, as in "Flash-Decoding for long-context inference" (Dao et al., 2023), in the same launch.
#include "decode_tiles.cuh"
#include "heads.cuh"
#include "overlap.cuh"
#include "ptx.cuh"

// Turns the queries into shared memory and, in the block that owns the new token, its key and value there and into
// the cache at `key` and `value`.
DEVICE void prepare(Shared& shared, const Qkv& qkv, const Rotary& rotary, int row, int kv_head, int position,
                    bool owner, half_bits* key, half_bits* value, float epsilon) {
    const int lane = threadIdx.x % 32, heads = owner ? GROUP + 1 : GROUP;  // the last one is the key
    for (int first = threadIdx.x - lane; first < heads * HEAD_LANES; first += THREADS) {
        const int i = (first + lane) / HEAD_LANES, turn = (first + lane) % HEAD_LANES;
        const int head = i < GROUP ? kv_head * GROUP + i : HEADS + kv_head;
        const bool valid = i < heads && turn < TURNS;
        const Eight pairs = turned_pairs(qkv, rotary, row, head, position, turn, valid, epsilon);
        if (!valid) continue;
        uint4* copy = i < GROUP ? shared.queries + i * QUERY_PIECES : shared.new_key;
        store_pairs(reinterpret_cast<half_bits*>(copy), pairs, turn);
        if (i == GROUP) store_pairs(key, pairs, turn);
    }
    for (int i = threadIdx.x; i < HEAD_TILES * 8 * QUERY_PIECES; i += THREADS)
        if (i / QUERY_PIECES >= GROUP || i % QUERY_PIECES >= PIECES) shared.queries[i] = make_uint4(0, 0, 0, 0);
    for (int i = threadIdx.x; owner && i < PIECES; i += THREADS) {
        const uint4 piece = value_piece(qkv, row, kv_head, i);
        shared.new_value[i] = piece;
        reinterpret_cast<uint4*>(value)[i] = piece;
    }
}

// The new token counts as one more warp of one token.
DEVICE void score_new_token(Shared& shared, bool owner, float scale) {
    const unsigned* key = reinterpret_cast<const unsigned*>(shared.new_key);
    for (int head = threadIdx.x / 32; head < GROUP; head += WARPS) {
        const unsigned* query = reinterpret_cast<const unsigned*>(shared.queries + head * QUERY_PIECES);
        float dot = 0.0f;
        for (int i = threadIdx.x % 32; owner && i < HEAD_DIM / 2; i += 32) {
            float2 q = unpack_halves(query[i]), k = unpack_halves(key[i]);
            dot += q.x * k.x + q.y * k.y;
        }
        dot = warp_sum(dot);
        if (threadIdx.x % 32 == 0) {
            shared.top[WARPS][head] = owner ? dot * scale : negative_infinity();
            shared.sum[WARPS][head] = owner ? 1.0f : 0.0f;
        }
    }
}

DEVICE float highest(const Shared& shared, int head) {
    float top = shared.top[0][head];
#pragma unroll
    for (int i = 1; i <= WARPS; i++) top = fmaxf(top, shared.top[i][head]);
    return top;
}

// Adds this warp's output, scaled to the block's top, to the block's; the first warp sets it.
DEVICE void add_output(Shared& shared, const State& state, bool set) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < HEAD_TILES; t++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int head = t * 8 + lane % 4 * 2 + e;
            if (head >= GROUP) continue;
            const float factor = exp2_fast(state.top[t][e] - highest(shared, head));
#pragma unroll
            for (int m = 0; m < VALUE_BLOCKS * 8; m++) {
                int dimension = m / 8 * 64 + lane / 4 * 8 + m % 8;
                if (dimension >= HEAD_DIM) continue;
                float value = state.output[t][m / 2][m % 2 * 2 + e] * factor;
                float& sum = shared.output[head * HEAD_DIM + dimension];
                sum = set ? value : sum + value;
            }
        }
    }
}

// Merges the warps. Afterwards shared.output is the block's, and shared.top[0] and sum[0] hold its heads' tops and
// sums.
DEVICE void merge_warps(Shared& shared, State& state, bool owner) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < HEAD_TILES; t++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float sum = state.sum[t][e];
#pragma unroll
            for (int distance = 4; distance < 32; distance *= 2) sum += __shfl_xor_sync(FULL_WARP, sum, distance);
            if (lane < 4) {
                shared.top[warp][t * 8 + lane * 2 + e] = state.top[t][e];
                shared.sum[warp][t * 8 + lane * 2 + e] = sum;
            }
        }
    }
    __syncthreads();
    for (int turn = 0; turn < WARPS; turn++) {
        if (warp == turn) add_output(shared, state, turn == 0);
        __syncthreads();
    }
    const half_bits* new_value = reinterpret_cast<const half_bits*>(shared.new_value);
    for (int i = threadIdx.x; owner && i < GROUP * HEAD_DIM / 2; i += THREADS) {
        const int head = 2 * i / HEAD_DIM;
        const float weight = exp2_fast(shared.top[WARPS][head] - highest(shared, head));
        const float2 value = unpack_halves(reinterpret_cast<const unsigned*>(new_value)[i % (HEAD_DIM / 2)]);
        shared.output[2 * i] += weight * value.x;
        shared.output[2 * i + 1] += weight * value.y;
    }
    __syncthreads();
    if (threadIdx.x < GROUP) {
        const int head = threadIdx.x;
        const float top = highest(shared, head);
        float sum = 0.0f;
        for (int i = 0; i <= WARPS; i++) sum += shared.sum[i][head] * exp2_fast(shared.top[i][head] - top);
        shared.top[0][head] = top;
        shared.sum[0][head] = sum;
    }
    __syncthreads();
}

// Where the heads of a block go: in row `row` of half or int8 [rows, HEADS * HEAD_DIM], from `column` on.
struct Output {
    void* attended;
    const float* input_scale;
    long long row_start;
    int column;
};

// Dimensions 2 i and 2 i + 1 of the block's heads.
DEVICE void write_pair(const Output& out, int i, float low, float high) {
    store_pair(out.attended, out.input_scale, out.row_start, out.column + 2 * i, low, high);
}

DEVICE void write_output(const Shared& shared, const Output& out) {
    for (int i = threadIdx.x; i < GROUP * HEAD_DIM / 2; i += THREADS) {
        float scale = 1.0f / shared.sum[0][2 * i / HEAD_DIM];
        write_pair(out, i, shared.output[2 * i] * scale, shared.output[2 * i + 1] * scale);
    }
}

// Leaves this block's share for the last block; true in that one, whose threads then see all shares.
DEVICE bool hand_in(Shared& shared, float2* stats, float2* outputs, int split, int active, int* counter) {
    for (int i = threadIdx.x; i < GROUP * HEAD_DIM / 2; i += THREADS)
        outputs[split * (GROUP * HEAD_DIM / 2) + i] = make_float2(shared.output[2 * i], shared.output[2 * i + 1]);
    if (threadIdx.x < GROUP)
        stats[split * GROUP + threadIdx.x] = make_float2(shared.top[0][threadIdx.x], shared.sum[0][threadIdx.x]);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        shared.last = atomicAdd(counter, 1) == active - 1;
        if (shared.last) *counter = 0;  // for the next launch, also of a replayed graph
        __threadfence();
    }
    __syncthreads();
    return shared.last;
}

DEVICE void merge_shares(Shared& shared, const float2* stats, const float2* outputs, int active, const Output& out) {
    const int lane = threadIdx.x % 32;
    for (int head = threadIdx.x / 32; head < GROUP; head += WARPS) {
        float2 stat = make_float2(negative_infinity(), 0.0f);
        if (lane < active) stat = __ldcg(stats + lane * GROUP + head);
        const float weight = exp2_fast(stat.x - warp_max(stat.x));
        const float sum = warp_sum(weight * stat.y);
        shared.weights[head][lane] = weight / sum;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < GROUP * HEAD_DIM / 2; i += THREADS) {
        const int head = 2 * i / HEAD_DIM;
        float2 value = make_float2(0.0f, 0.0f);
#pragma unroll 4
        for (int split = 0; split < active; split++) {
            const float2 share = __ldcg(outputs + split * (GROUP * HEAD_DIM / 2) + i);
            value.x += shared.weights[head][split] * share.x;
            value.y += shared.weights[head][split] * share.y;
        }
        write_pair(out, i, value.x, value.y);
    }
}

// Grid (splits <= MAX_SPLITS, KV_HEADS, rows). keys and values half [slots, KV_HEADS, capacity, HEAD_DIM]; positions:
// of the new tokens, so also how many tokens a slot holds; attended half [rows, HEADS * HEAD_DIM], or int8 where
// there is an input_scale [HEADS * HEAD_DIM]; scale: log2(e) times the scale of the scores. A row with slot < 0 gets
// zeros.
// Work space: stats [rows, KV_HEADS, splits, GROUP], outputs [rows, KV_HEADS, splits, GROUP, HEAD_DIM / 2], and
// counters [rows, KV_HEADS], which must be zero before the first launch and are zero again after every one.
extern "C" __global__ void __launch_bounds__(THREADS, HEAD_DIM <= 128 && HEAD_TILES == 1 ? 4 : 1)
    decode_attention(Qkv qkv, Rotary rotary, half_bits* keys, half_bits* values, const int* slots,
                     const int* positions, void* attended, const float* input_scale, int* counters, float2* stats,
                     float2* outputs, int capacity, float scale, float epsilon) {
    __shared__ Shared shared;
    follow_kernel_before();
    const int split = blockIdx.x, splits = gridDim.x, kv_head = blockIdx.y, row = blockIdx.z;
    const int slot = slots[row], position = positions[row];
    const long long row_start = static_cast<long long>(row) * HEADS * HEAD_DIM;
    const Output out = {attended, input_scale, row_start, kv_head * GROUP * HEAD_DIM};
    if (slot < 0) {
        for (int i = threadIdx.x; split == 0 && i < GROUP * HEAD_DIM / 2; i += THREADS)
            write_pair(out, i, 0.0f, 0.0f);
        return;
    }
    const int tiles = (position + TILE - 1) / TILE;
    const int share = max((tiles + splits - 1) / splits, WARPS);  // tiles; fewer would leave warps without work
    const int active = max((tiles + share - 1) / share, 1);
    if (split >= active) return;
    const int end = min(position, (split + 1) * share * TILE);
    const bool owner = split == active - 1;

    const long long cache = (static_cast<long long>(slot) * KV_HEADS + kv_head) * capacity * HEAD_DIM;
    const uint4* past_keys = reinterpret_cast<const uint4*>(keys + cache);
    const uint4* past_values = reinterpret_cast<const uint4*>(values + cache);
    int first = (split * share + threadIdx.x / 32) * TILE;
    KeyTile key_tile;
    ValueTile value_tile;
    load_keys(key_tile, past_keys, first, end);
    if (PREFETCH) load_values(value_tile, past_values, first, end);

    const long long new_token = cache + static_cast<long long>(position) * HEAD_DIM;
    prepare(shared, qkv, rotary, row, kv_head, position, owner, keys + new_token, values + new_token, epsilon);
    __syncthreads();
    score_new_token(shared, owner, scale);

    State state = {};
#pragma unroll
    for (int t = 0; t < HEAD_TILES; t++) state.top[t][0] = state.top[t][1] = negative_infinity();
    for (; first < end; first += WARPS * TILE) {
        float scores[HEAD_TILES][4];
        score_tile(scores, key_tile, shared.queries);
        if (PREFETCH)
            load_keys(key_tile, past_keys, first + WARPS * TILE, end);
        else
            load_values(value_tile, past_values, first, end);
        weigh_tile(state, scores, first, end, scale);
        add_tile(state, value_tile, scores);
        if (PREFETCH)
            load_values(value_tile, past_values, first + WARPS * TILE, end);
        else
            load_keys(key_tile, past_keys, first + WARPS * TILE, end);
    }
    merge_warps(shared, state, owner);
    if (active == 1) {
        write_output(shared, out);
        return;
    }
    const long long head_row = static_cast<long long>(row) * KV_HEADS + kv_head;
    stats += head_row * splits * GROUP;
    outputs += head_row * splits * (GROUP * HEAD_DIM / 2);
    if (hand_in(shared, stats, outputs, split, active, counters + head_row))
        merge_shares(shared, stats, outputs, active, out);
}

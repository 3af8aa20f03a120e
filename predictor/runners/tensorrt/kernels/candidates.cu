// The best CANDIDATES tokens of each row of logits, with their log-softmax, best first; of equal logits the lower id.
//
// A block takes a slice of a row and keeps it in registers. It orders numbers as 64-bit keys, which are all
// different: the logit as an unsigned number that sorts alike, then the inverted id. Threads work in pairs; the
// CANDIDATES-th best of the pairs' best keys bounds the answer from below and is reached by at most CANDIDATES
// pairs, so what is left is few and certainly fits. The block of a row that finishes last merges the slices in the
// same launch.
#include "operands.cuh"
#include "overlap.cuh"
#include "ptx.cuh"

typedef unsigned long long key_bits;

constexpr int THREADS = SLICE_THREADS;
constexpr int PER_THREAD = LOGITS_PER_THREAD;  // four of each 16-byte load
constexpr int SLICE = THREADS * PER_THREAD;
constexpr int PAIRS = THREADS / 2;
constexpr int MAX_LEFT = CANDIDATES * 2 * PER_THREAD;
constexpr unsigned NOT_A_NUMBER = 1;  // below minus infinity; 0 stands for no logit at all

static_assert(CANDIDATES <= PAIRS / 2, "the bound needs more pairs than candidates");
static_assert(MAX_SLICES * CANDIDATES <= MAX_LEFT, "the slices' candidates must fit");

// Order of the numbers: a < b if and only if sortable(a) < sortable(b); -0 equals 0.
DEVICE unsigned sortable(float logit) {
    if (logit != logit) return NOT_A_NUMBER;
    unsigned bits = logit == 0.0f ? 0 : __float_as_uint(logit);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The number again; NOT_A_NUMBER comes back as one that is not.
DEVICE float number(unsigned order) {
    return __uint_as_float(order & 0x80000000u ? order ^ 0x80000000u : ~order);
}

DEVICE key_bits make_key(unsigned order, int id) {
    return static_cast<key_bits>(order) << 32 | ~static_cast<unsigned>(id);
}
DEVICE unsigned order_of(key_bits key) { return static_cast<unsigned>(key >> 32); }
DEVICE int id_of(key_bits key) { return static_cast<int>(~static_cast<unsigned>(key)); }

struct Shared {
    key_bits keys[MAX_LEFT];
    key_bits pair_best[PAIRS];
    key_bits bound;  // at least CANDIDATES keys reach it, or there are fewer
    float2 stats[MAX_SLICES];
    unsigned warp_top[THREADS / 32];
    float warp_sum[THREADS / 32];
    int left;
    bool last;
};

// Id of the thread's i-th logit: ascending in i.
DEVICE int logit_id(int slice, int i) { return slice * SLICE + i / 4 * (THREADS * 4) + threadIdx.x * 4 + i % 4; }

// Logits `id` to + 3 of a row.
DEVICE float4 load_logits(const void* logits, const float* scale, long long row_start, int id) {
    if (scale == nullptr) return load_four(static_cast<const half_bits*>(logits) + row_start + id);
    const float4 sums = load_four(static_cast<const float*>(logits) + row_start + id), scales = load_four(scale + id);
    return make_float4(sums.x * scales.x, sums.y * scales.y, sums.z * scales.z, sums.w * scales.w);
}

DEVICE float load_logit(const void* logits, const float* scale, long long row_start, int id) {
    if (scale == nullptr) return unpack_halves(static_cast<const half_bits*>(logits)[row_start + id]).x;
    return static_cast<const float*>(logits)[row_start + id] * scale[id];
}

DEVICE void load_slice(unsigned (&orders)[PER_THREAD], const void* logits, const float* scale, long long row_start,
                       int slice, int vocabulary) {
    if (vocabulary % 4 == 0) {
#pragma unroll
        for (int i = 0; i < PER_THREAD; i += 4) {
            const int id = logit_id(slice, i);
            float4 four = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            if (id < vocabulary) four = load_logits(logits, scale, row_start, id);
            orders[i] = id < vocabulary ? sortable(four.x) : 0;
            orders[i + 1] = id < vocabulary ? sortable(four.y) : 0;
            orders[i + 2] = id < vocabulary ? sortable(four.z) : 0;
            orders[i + 3] = id < vocabulary ? sortable(four.w) : 0;
        }
    } else {  // rows are not aligned
#pragma unroll
        for (int i = 0; i < PER_THREAD; i++) {
            const int id = logit_id(slice, i);
            orders[i] = id < vocabulary ? sortable(load_logit(logits, scale, row_start, id)) : 0;
        }
    }
}

// Highest logit of the slice and the sum of e^(logit - highest). Any NaN makes the sum NaN.
DEVICE float2 slice_stats(Shared& shared, const unsigned (&orders)[PER_THREAD], unsigned thread_top) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    unsigned top = warp_max(thread_top);
    if (lane == 0) shared.warp_top[warp] = top;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < THREADS / 32; i++) top = max(top, shared.warp_top[i]);
    const float highest = number(top);
    const float offset = highest == negative_infinity() ? 0.0f : highest * LOG2_E;
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < PER_THREAD; i++)
        if (orders[i] != 0) sum += exp2_fast(number(orders[i]) * LOG2_E - offset);
    sum = warp_sum(sum);
    if (lane == 0) shared.warp_sum[warp] = sum;
    __syncthreads();
    sum = 0.0f;
#pragma unroll
    for (int i = 0; i < THREADS / 32; i++) sum += shared.warp_sum[i];
    return make_float2(highest, sum);
}

// How many of the first n keys are greater than `key`.
DEVICE int rank_of(key_bits key, const key_bits* keys, int n) {
    int rank = 0;
#pragma unroll 4
    for (int i = 0; i < n; i++) rank += keys[i] > key;
    return rank;
}

// Leaves in shared.keys all keys of the slice that may be among its best: shared.left of them.
DEVICE void filter_slice(Shared& shared, const unsigned (&orders)[PER_THREAD], unsigned thread_top, int top_id,
                         int slice) {
    key_bits best = thread_top == 0 ? 0 : make_key(thread_top, top_id);
    best = max(best, __shfl_xor_sync(FULL_WARP, best, 1));
    if (threadIdx.x % 2 == 0) shared.pair_best[threadIdx.x / 2] = best;
    if (threadIdx.x == 0) {
        shared.bound = 1;
        shared.left = 0;
    }
    __syncthreads();
    if (threadIdx.x < PAIRS) {
        const key_bits own = shared.pair_best[threadIdx.x];
        if (own != 0 && rank_of(own, shared.pair_best, PAIRS) == CANDIDATES - 1) shared.bound = own;
    }
    __syncthreads();
    const key_bits bound = shared.bound;
#pragma unroll
    for (int i = 0; i < PER_THREAD; i++) {
        const key_bits key = make_key(orders[i], logit_id(slice, i));
        if (orders[i] != 0 && key >= bound) shared.keys[atomicAdd(&shared.left, 1)] = key;
    }
    __syncthreads();
}

// Writes the slice's best keys, best first, and zeros where it has fewer.
DEVICE void write_slice(const Shared& shared, key_bits* best) {
    const int left = shared.left;
    for (int i = threadIdx.x; i < left; i += THREADS) {
        const int rank = rank_of(shared.keys[i], shared.keys, left);
        if (rank < CANDIDATES) best[rank] = shared.keys[i];
    }
    for (int i = left + threadIdx.x; i < CANDIDATES; i += THREADS) best[i] = 0;
}

// Whether this block is its row's last; its threads then see what the others wrote.
DEVICE bool hand_in(Shared& shared, int* counter) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        shared.last = atomicAdd(counter, 1) == static_cast<int>(gridDim.x) - 1;
        if (shared.last) *counter = 0;  // for the next launch, also of a replayed graph
        __threadfence();
    }
    __syncthreads();
    return shared.last;
}

// log of the row's sum of e^logit, in two parts: highest logit and log of the sum of e^(logit - highest).
DEVICE float2 row_stats(const float2* stats, int slices) {
    float highest = negative_infinity(), sum = 0.0f;
    for (int i = 0; i < slices; i++) highest = fmaxf(highest, stats[i].x);
    for (int i = 0; i < slices; i++) sum += stats[i].y * exp2_fast((stats[i].x - highest) * LOG2_E);
    return make_float2(highest, logf(sum));
}

DEVICE void merge_slices(Shared& shared, const key_bits* best, const float2* stats, int slices, int* ids,
                         float* logprobs) {
    const int n = slices * CANDIDATES;
    for (int i = threadIdx.x; i < n; i += THREADS) shared.keys[i] = __ldcg(best + i);
    for (int i = threadIdx.x; i < slices; i += THREADS) shared.stats[i] = __ldcg(stats + i);
    __syncthreads();
    const float2 row = row_stats(shared.stats, slices);
    // Each slice is in order: taking its first few gives at least CANDIDATES keys that reach the least of these.
    key_bits bound = ~0ull;
    for (int i = 0; i < slices; i++) bound = min(bound, shared.keys[i * CANDIDATES + (CANDIDATES - 1) / slices]);
    for (int i = threadIdx.x; i < n; i += THREADS) {
        const key_bits key = shared.keys[i];
        if (key == 0 || key < bound) continue;
        const int rank = rank_of(key, shared.keys, n);
        if (rank >= CANDIDATES) continue;
        ids[rank] = id_of(key);
        logprobs[rank] = number(order_of(key)) - row.x - row.y;
    }
}

// Grid (slices of the vocabulary <= MAX_SLICES, rows). logits [rows, vocabulary], half, or float where there is a
// scale [vocabulary]; vocabulary >= CANDIDATES;
// ids and logprobs [rows, CANDIDATES]. Work space: best [rows, slices, CANDIDATES], stats [rows, slices], and
// counters [rows], which must be zero before the first launch and are zero again after every one.
extern "C" __global__ void __launch_bounds__(THREADS, 3)
    candidates(const void* logits, const float* scale, int* ids, float* logprobs, int* counters, key_bits* best,
               float2* stats, int vocabulary) {
    __shared__ Shared shared;
    follow_kernel_before();
    const int slice = blockIdx.x, slices = gridDim.x;
    const long long row = blockIdx.y;
    unsigned orders[PER_THREAD];
    load_slice(orders, logits, scale, row * vocabulary, slice, vocabulary);
    unsigned thread_top = 0;
    int top_id = 0;
#pragma unroll
    for (int i = 0; i < PER_THREAD; i++) {
        if (orders[i] <= thread_top) continue;
        thread_top = orders[i];
        top_id = logit_id(slice, i);
    }
    const float2 own = slice_stats(shared, orders, thread_top);
    filter_slice(shared, orders, thread_top, top_id, slice);
    best += row * slices * CANDIDATES;
    stats += row * slices;
    write_slice(shared, best + slice * CANDIDATES);
    if (threadIdx.x == 0) stats[slice] = own;
    if (hand_in(shared, counters + row))
        merge_slices(shared, best, stats, slices, ids + row * CANDIDATES, logprobs + row * CANDIDATES);
}

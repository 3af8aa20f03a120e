// What lies between the matrix products of a step, attention aside: embedding, residual sums with the norms after
// them, the gated activation. A "product" and an "activation" are what operands.cuh says.
//
// A decode step runs them once or twice per layer over few rows, so it is latency that counts: a thread asks for all
// it needs before it waits for any of it, and its part of a row stays in registers from the sum to the norm.
// HIDDEN and every other width are multiples of eight.
#include "operands.cuh"
#include "overlap.cuh"
#include "ptx.cuh"

constexpr int SILU_THREADS = 128;
constexpr int NORM_THREADS = HIDDEN / WIDE >= 512 ? 512 : (HIDDEN / WIDE + 31) / 32 * 32;
constexpr int PARTS = (HIDDEN / WIDE + NORM_THREADS - 1) / NORM_THREADS;  // of eight columns, for each thread

static_assert(HIDDEN % WIDE == 0, "rows are read in pieces of eight columns");

struct RowPart {
    Eight values[PARTS];
    Eight gains[PARTS];  // weights of the norm, times the scales of the input
};

DEVICE int column_of(int part) { return (part * NORM_THREADS + threadIdx.x) * WIDE; }

DEVICE Eight load_gains(const float* weight, const float* input_scale, int column) {
    Eight gains = load_eight(weight + column);
    multiply(gains, load_or(input_scale, column, 1.0f));
    return gains;
}

// Every warp adds up the warps' sums by itself: that needs one barrier less than one warp doing it for all.
DEVICE float block_sum(float value) {
    __shared__ float sums[NORM_THREADS / 32];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    value = warp_sum(value);
    if (lane == 0) sums[warp] = value;
    __syncthreads();
    return warp_sum(lane < NORM_THREADS / 32 ? sums[lane] : 0.0f);
}

// Root mean square norm of a row, by all threads of its block.
DEVICE void store_normed(RowPart& row, void* activation, bool int8, long long row_start, float epsilon) {
    float squares = 0.0f;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        if (column_of(part) >= HIDDEN) continue;
#pragma unroll
        for (int i = 0; i < WIDE; i++) squares += row.values[part].at[i] * row.values[part].at[i];
    }
    const float factor = rsqrtf(block_sum(squares) * (1.0f / HIDDEN) + epsilon);
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        if (column_of(part) >= HIDDEN) continue;
#pragma unroll
        for (int i = 0; i < WIDE; i++) row.values[part].at[i] *= factor * row.gains[part].at[i];
        store_activation(activation, int8, row_start, column_of(part), row.values[part]);
    }
}

// One block per row: residual = embedding[token_ids[row]]; activation = its norm.
// token_ids [T]; embedding half [V, HIDDEN]; weight [HIDDEN]; residual, activation [T, HIDDEN]; input_scale [HIDDEN]
// or null.
extern "C" __global__ void __launch_bounds__(NORM_THREADS, 1)
    embed_norm(const int* UNSHARED token_ids, const half_bits* UNSHARED embedding,
               const float* UNSHARED weight, float* UNSHARED residual, void* UNSHARED activation,
               const float* UNSHARED input_scale, float epsilon) {
    follow_kernel_before();
    const long long row_start = static_cast<long long>(blockIdx.x) * HIDDEN;
    const half_bits* token = embedding + static_cast<long long>(token_ids[blockIdx.x]) * HIDDEN;
    RowPart row;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        const int column = column_of(part);
        if (column >= HIDDEN) continue;
        row.gains[part] = load_gains(weight, input_scale, column);
        row.values[part] = load_eight(token + column);
        store_eight(residual + row_start + column, row.values[part]);
    }
    store_normed(row, activation, input_scale != nullptr, row_start, epsilon);
}

// One block per row: residual += product + bias; activation = the residual's norm.
// product, residual, activation [T, HIDDEN]; weight [HIDDEN]; scale, bias, input_scale [HIDDEN] or null.
extern "C" __global__ void __launch_bounds__(NORM_THREADS, 1)
    add_norm(const void* UNSHARED product, const float* UNSHARED scale, const float* UNSHARED bias,
             const float* UNSHARED weight, float* UNSHARED residual, void* UNSHARED activation,
             const float* UNSHARED input_scale, float epsilon) {
    follow_kernel_before();
    const long long row_start = static_cast<long long>(blockIdx.x) * HIDDEN;
    RowPart row;
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        const int column = column_of(part);
        if (column >= HIDDEN) continue;
        const Eight before = load_eight(residual + row_start + column);
        const Eight biases = load_or(bias, column, 0.0f);
        row.gains[part] = load_gains(weight, input_scale, column);
        const Eight added = load_product(product, scale, row_start, column);
#pragma unroll
        for (int i = 0; i < WIDE; i++) row.values[part].at[i] = before.at[i] + (added.at[i] + biases.at[i]);
        store_eight(residual + row_start + column, row.values[part]);
    }
    store_normed(row, activation, input_scale != nullptr, row_start, epsilon);
}

// Grid (blocks that cover a row's pieces of eight columns, T): activation = silu(gate) * up.
// product [T, 2 width], gates first; scale, bias [2 width] or null; activation [T, width]; input_scale [width] or
// null.
extern "C" __global__ void __launch_bounds__(SILU_THREADS, 1)
    silu_mul(const void* UNSHARED product, const float* UNSHARED scale, const float* UNSHARED bias,
             void* UNSHARED activation, const float* UNSHARED input_scale, int width) {
    follow_kernel_before();
    const int column = (blockIdx.x * SILU_THREADS + threadIdx.x) * WIDE;
    if (column >= width) return;
    const long long row_start = static_cast<long long>(blockIdx.y) * width;
    const Eight gate_biases = load_or(bias, column, 0.0f);
    const Eight up_biases = load_or(bias, width + column, 0.0f);
    const Eight scales = load_or(input_scale, column, 1.0f);
    Eight gates, ups;
    load_two_products(gates, ups, product, scale, 2 * row_start, column, width + column);
    Eight values;
#pragma unroll
    for (int i = 0; i < WIDE; i++) {
        const float gate = gates.at[i] + gate_biases.at[i];
        // Of a very negative gate the power is infinite and the quotient zero, as it should be.
        const float silu = __fdividef(gate, 1.0f + exp2_fast(-LOG2_E * gate));
        values.at[i] = silu * (ups.at[i] + up_biases.at[i]) * scales.at[i];
    }
    store_activation(activation, input_scale != nullptr, row_start, column, values);
}

// Grid (blocks that cover the longer row's pieces of 8 bytes, R): copies row rows[r] of attended and of residual to
// row r of the outputs, other memory; zeros where rows[r] < 0.
// attended, attended_out: half or int8, rows of attended_pieces; residual [T, HIDDEN], residual_out [R, HIDDEN].
extern "C" __global__ void gather_rows(const int* __restrict__ rows, const uint2* __restrict__ attended,
                                       uint2* __restrict__ attended_out, int attended_pieces,
                                       const uint2* __restrict__ residual, uint2* __restrict__ residual_out) {
    constexpr int RESIDUAL_PIECES = HIDDEN / 2;
    const long long from = rows[blockIdx.y], to = blockIdx.y;
    const int piece = blockIdx.x * blockDim.x + threadIdx.x;
    const uint2 zeros = make_uint2(0, 0);
    if (piece < attended_pieces)
        attended_out[to * attended_pieces + piece] = from < 0 ? zeros : attended[from * attended_pieces + piece];
    if (piece < RESIDUAL_PIECES)
        residual_out[to * RESIDUAL_PIECES + piece] = from < 0 ? zeros : residual[from * RESIDUAL_PIECES + piece];
}

// y[m, n] = x[m, k] W[n, k]^T for few tokens m, where reading W once is nearly all there is to do.
//
// W is cut into tiles of TILE_ROWS rows and those into chunks of CHUNK bytes of k. The chunks of all tiles, one tile
// after the other, are dealt out evenly: each block takes a run of them, wherever tiles begin and end, so that all
// multiprocessors read the same amount whatever n and k are ("stream-K": Osama et al., 2023). Copies run STAGES - 1
// chunks ahead of the products, across tiles. A tile that several blocks share is finished by the one that begins it:
// it adds the parts that the others leave, in their order, so that results do not depend on chance.
//
// W is the left operand of the tensor cores and the tokens are columns, in tiles of 8 and not of 16. Halves and int8
// differ in the product alone, for operands lie alike in bytes.
//
// Macros: INT8 (0 or 1), TOKEN_TILES (of 8 tokens), ROW_WARPS and DEPTH_WARPS (that share a chunk's rows, and its k),
// ROW_TILES (of 16 rows of W, per warp), CHUNK, STAGES, BLOCKS_PER_SM.
#include "linear_ptx.cuh"

constexpr int THREADS = ROW_WARPS * DEPTH_WARPS * 32;
constexpr int TILE_ROWS = ROW_WARPS * ROW_TILES * 16;
constexpr int TOKENS = TOKEN_TILES * 8;
constexpr int PIECES = CHUNK / 16;                  // of 16 bytes, in a row of a chunk
constexpr int ROWS_AT_ONCE = THREADS / PIECES;      // that the block copies with one instruction
constexpr int WEIGHT_BYTES = TILE_ROWS * CHUNK;     // of a stage; the tokens come after them
constexpr int STAGE_BYTES = WEIGHT_BYTES + TOKENS * CHUNK;
constexpr int FRAGMENTS = ROW_TILES * TOKEN_TILES;  // of 4 sums, per thread
constexpr int SUMMERS = ROW_WARPS * 32;             // threads that hold the sums of a whole tile in the end
constexpr int AHEAD = STAGES - 1;

static_assert(ROWS_AT_ONCE % 8 == 0 && TILE_ROWS % ROWS_AT_ONCE == 0, "copies must come out even");
static_assert(PIECES % (4 * DEPTH_WARPS) == 0, "warps must get as much of a chunk each");

#if INT8
typedef int Sum;
typedef int4 FourSums;
#else
typedef float Sum;
typedef float4 FourSums;
#endif

typedef Sum Sums[FRAGMENTS][4];

struct Product {
    const char* x;       // [tokens, row_bytes]
    const char* weight;  // [n, row_bytes]
    int tokens, n, row_bytes;
    int chunks;  // of a tile
    int units;   // chunks of all tiles
    int run;     // of them for each block, the last one but what is left
};

// Copies chunks one after the other; each thread has its place in a row and every ROWS_AT_ONCE-th row. Piece p of row
// r lies at place p ^ r % 8 of the row, so that eight rows' equal pieces are in different banks.
struct Copier {
    const Product& product;
    int row, byte;    // of this thread, in a tile and in a chunk
    unsigned place;   // of this thread's first piece in a stage
    int tile, chunk;  // whose weights are copied next

    DEVICE Copier(const Product& from, int unit) : product(from) {
        const int thread = threadIdx.x;
        row = thread / PIECES;
        byte = thread % PIECES * 16;
        place = row * CHUNK + (byte ^ (row % 8 * 16));
        tile = unit / from.chunks;
        chunk = unit - tile * from.chunks;
    }

    DEVICE void weights(unsigned stage) const {
        const int start = chunk * CHUNK + byte, first = tile * TILE_ROWS + row;
        const char* from = product.weight + static_cast<long long>(first) * product.row_bytes + start;
        const long long stride = static_cast<long long>(ROWS_AT_ONCE) * product.row_bytes;
        const bool inside = start < product.row_bytes;
#pragma unroll
        for (int i = 0; i < TILE_ROWS / ROWS_AT_ONCE; i++) {
            const bool valid = inside && first + i * ROWS_AT_ONCE < product.n;
            const unsigned to = stage + place + i * ROWS_AT_ONCE * CHUNK;
            stream_async(to, valid ? from + i * stride : product.weight, valid);
        }
    }

    DEVICE void tokens(unsigned stage, int of_chunk) const {
        const int start = of_chunk * CHUNK + byte;
#pragma unroll
        for (int i = 0; i < TOKENS; i += ROWS_AT_ONCE) {
            if (row + i >= TOKENS) break;
            const bool valid = start < product.row_bytes && row + i < product.tokens;
            const char* from = product.x + static_cast<long long>(row + i) * product.row_bytes + start;
            copy_async(stage + WEIGHT_BYTES + place + i * CHUNK, valid ? from : product.x, valid);
        }
    }

    DEVICE void advance() {
        if (++chunk == product.chunks) {
            chunk = 0;
            tile++;
        }
    }
};

// Fills the first stages, a group each. The tokens alone come from the kernel in front: where this launch overlaps
// it, the weights go ahead, and all are in the first group.
DEVICE void begin_copies(Copier& copier, unsigned shared, int count, bool overlaps) {
    int chunk = copier.chunk;
    for (int i = 0; i < AHEAD; i++) {
        if (i < count) {
            if (!overlaps) copier.tokens(shared + i * STAGE_BYTES, copier.chunk);
            copier.weights(shared + i * STAGE_BYTES);
            copier.advance();
        }
        if (!overlaps) end_group();
    }
    if (!overlaps) return;
    wait_for_kernel_before();
    for (int i = 0; i < AHEAD; i++) {
        if (i < count) copier.tokens(shared + i * STAGE_BYTES, chunk);
        if (++chunk == copier.product.chunks) chunk = 0;
        end_group();
    }
}

// Adds a chunk's products. A fragment is 16 rows of W by 8 tokens: lane 4 g + q has rows g (two sums) and g + 8 of
// tokens 2 q and 2 q + 1.
DEVICE void multiply_chunk(Sums& sums, unsigned stage) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane % 8, which = lane / 8;
    const unsigned rows = stage + (warp % ROW_WARPS * ROW_TILES * 16 + which % 2 * 8 + row) * CHUNK;
    const unsigned tokens = stage + WEIGHT_BYTES + row * CHUNK;
#pragma unroll
    for (int i = 0; i < PIECES / (4 * DEPTH_WARPS); i++) {  // two steps of k for each load of the tokens
        const int piece = (i * DEPTH_WARPS + warp / ROW_WARPS) * 4;
        unsigned b[TOKEN_TILES][4];
#pragma unroll
        for (int j = 0; j < TOKEN_TILES; j++)
            load_tiles(b[j], tokens + j * 8 * CHUNK + (((piece + which) ^ row) * 16));
#pragma unroll
        for (int step = 0; step < 4; step += 2) {
#pragma unroll
            for (int r = 0; r < ROW_TILES; r++) {
                unsigned a[4];
                load_tiles(a, rows + r * 16 * CHUNK + (((piece + step + which / 2) ^ row) * 16));
#pragma unroll
                for (int j = 0; j < TOKEN_TILES; j++)
                    multiply_add(sums[r * TOKEN_TILES + j], a[0], a[1], a[2], a[3], b[j][step], b[j][step + 1]);
            }
        }
    }
}

DEVICE void clear(Sums& sums) {
#pragma unroll
    for (int f = 0; f < FRAGMENTS; f++)
        for (int i = 0; i < 4; i++) sums[f][i] = 0;
}

DEVICE void add(Sum (&sums)[4], const FourSums& more) {
    sums[0] += more.x;
    sums[1] += more.y;
    sums[2] += more.z;
    sums[3] += more.w;
}

// Adds up what the warps have of the same rows; the first of them get the sums, in the order of the warps.
DEVICE void add_warps(Sums& sums, FourSums* exchange) {
    FourSums* mine = exchange + static_cast<int>(threadIdx.x) - SUMMERS;
    if (threadIdx.x >= SUMMERS) {
#pragma unroll
        for (int f = 0; f < FRAGMENTS; f++)
            mine[f * (THREADS - SUMMERS)] = {sums[f][0], sums[f][1], sums[f][2], sums[f][3]};
    }
    __syncthreads();
    if (threadIdx.x >= SUMMERS) return;
#pragma unroll
    for (int warps = 1; warps < DEPTH_WARPS; warps++)
#pragma unroll
        for (int f = 0; f < FRAGMENTS; f++) add(sums[f], mine[f * (THREADS - SUMMERS) + warps * SUMMERS]);
}

// Leaves a part of a tile to the block that begins it.
DEVICE void leave_part(const Sums& sums, FourSums* part, unsigned* flag) {
    if (threadIdx.x < SUMMERS) {
#pragma unroll
        for (int f = 0; f < FRAGMENTS; f++)
            part[f * SUMMERS + threadIdx.x] = {sums[f][0], sums[f][1], sums[f][2], sums[f][3]};
    }
    __syncthreads();
    if (threadIdx.x == 0) raise_flag(flag);
}

// Adds the parts of `others` blocks, and lowers their flags for the next launch.
DEVICE void add_parts(Sums& sums, const FourSums* parts, unsigned* flags, int others) {
    for (int i = threadIdx.x; i < others; i += THREADS) {
        wait_for_flag(flags + i);
        flags[i] = 0;
    }
    __syncthreads();
    if (threadIdx.x >= SUMMERS) return;
#pragma unroll 2
    for (int i = 0; i < others; i++)
#pragma unroll
        for (int f = 0; f < FRAGMENTS; f++)
            add(sums[f], __ldcg(parts + (i * FRAGMENTS + f) * SUMMERS + threadIdx.x));
}

#if INT8
// Floats of the sums * 2^-12: both steps are exact but for the sum's rounding to 24 bits.
DEVICE void store_fragment(const Product& product, const Sum (&sums)[4], float* y, int column, int token) {
    const int lane = threadIdx.x % 32;
    column += lane / 4;
    token += lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int n = column + i / 2 * 8, m = token + i % 2;
        if (n < product.n && m < product.tokens)
            y[static_cast<long long>(m) * product.n + n] = static_cast<float>(sums[i]) * 0x1p-12f;
    }
}
#else
// Transposed, two neighbouring columns of a token are in one lane.
DEVICE void store_fragment(const Product& product, const Sum (&sums)[4], half_bits* y, int column, int token) {
    const int lane = threadIdx.x % 32;
    column += lane % 4 * 2;
    token += lane / 4;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const unsigned pair = transpose_tile(pack_halves(sums[2 * i], sums[2 * i + 1]));
        const int n = column + i * 8;
        if (n < product.n && token < product.tokens)
            *reinterpret_cast<unsigned*>(y + static_cast<long long>(token) * product.n + n) = pair;
    }
}
#endif

template <typename Out>
DEVICE void store_tile(const Product& product, const Sums& sums, Out* y, int tile) {
    if (threadIdx.x >= SUMMERS) return;
    const int first = tile * TILE_ROWS + threadIdx.x / 32 * ROW_TILES * 16;
#pragma unroll
    for (int f = 0; f < FRAGMENTS; f++)
        store_fragment(product, sums[f], y, first + f / TOKEN_TILES * 16, f % TOKEN_TILES * 8);
}

template <typename Out>
DEVICE void multiply(const Product& product, Out* y, FourSums* parts, unsigned* flags, bool overlaps) {
    unsigned char* stages = dynamic_shared();  // and behind them, sums that warps exchange
    const unsigned shared = shared_address(stages);
    // Blocks start in the order of their numbers, and wait only for such as have started: those of lower numbers.
    const int block = gridDim.x - 1 - blockIdx.x;
    const int begin = block * product.run, end = min(begin + product.run, product.units);
    Copier copier(product, begin);
    int tile = copier.tile, chunk = copier.chunk;
    bool begun = chunk == 0;  // here, the tile
    begin_copies(copier, shared, end - begin, overlaps);

    Sums sums = {};
    int now = 0, next = AHEAD;  // stages
    for (int unit = begin; unit < end; unit++) {
        wait_for_groups<AHEAD - 1>();
        __syncthreads();  // all copies of this stage are there, and nobody reads the one before any more
        if (unit + AHEAD < end) {
            copier.tokens(shared + next * STAGE_BYTES, copier.chunk);
            copier.weights(shared + next * STAGE_BYTES);
            copier.advance();
        } else {
            let_next_kernel_start();  // which finds the memory idle from here on, and no sooner
        }
        end_group();
        multiply_chunk(sums, shared + now * STAGE_BYTES);
        now = now + 1 == STAGES ? 0 : now + 1;
        next = next + 1 == STAGES ? 0 : next + 1;
        if (++chunk < product.chunks && unit + 1 < end) continue;

        if (DEPTH_WARPS > 1) add_warps(sums, reinterpret_cast<FourSums*>(stages + STAGES * STAGE_BYTES));
        if (begun) {
            const int others = (unit + product.chunks - chunk) / product.run - block;
            if (others > 0) add_parts(sums, parts + (block + 1) * FRAGMENTS * SUMMERS, flags + block + 1, others);
            store_tile(product, sums, y, tile);
        } else {
            leave_part(sums, parts + block * FRAGMENTS * SUMMERS, flags + block);
        }
        clear(sums);
        chunk = 0;
        begun = true;
        tile++;
    }
}

// x and weight are rows of row_bytes, a multiple of 64; y is half, or float of int8 operands; n is a multiple of 8.
// The grid has as many blocks as there are runs, and no more than the device holds at once. The workspace holds a
// flag per block, zero before and after, and from parts_offset on a part of a tile per block.
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS_PER_SM)
    linear(void* y, const char* x, const char* weight, char* workspace, int tokens, int n, int row_bytes, int run,
           int parts_offset, int overlaps) {
    const int chunks = (row_bytes + CHUNK - 1) / CHUNK;
    const int units = (n + TILE_ROWS - 1) / TILE_ROWS * chunks;
    const Product product = {x, weight, tokens, n, row_bytes, chunks, units, run};
    unsigned* flags = reinterpret_cast<unsigned*>(workspace);
    FourSums* parts = reinterpret_cast<FourSums*>(workspace + parts_offset);
#if INT8
    multiply(product, static_cast<float*>(y), parts, flags, overlaps);
#else
    multiply(product, static_cast<half_bits*>(y), parts, flags, overlaps);
#endif
}

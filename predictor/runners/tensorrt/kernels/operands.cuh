// How a matrix product hands its values to a kernel, and a kernel its values to the next product.
//
// A "product", what one gives, is half, or float to be multiplied by a scale per column where that scale is not null:
// so int8 products leave it. An "activation", what one takes, is half, or int8 where a scale per column is not null:
// the value times the scale, rounded. Columns are moved by eights, 16 bytes of halves; arithmetic is float.
#pragma once

#include "ptx.cuh"

constexpr int WIDE = 8;  // columns moved at a time

struct Eight {
    float at[WIDE];
};

DEVICE Eight join(float4 low, float4 high) {
    return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
}

DEVICE void add(Eight& to, const Eight& values) {
#pragma unroll
    for (int i = 0; i < WIDE; i++) to.at[i] += values.at[i];
}

DEVICE void multiply(Eight& by, const Eight& values) {
#pragma unroll
    for (int i = 0; i < WIDE; i++) by.at[i] *= values.at[i];
}

DEVICE float4 load_four(const float* values) { return *reinterpret_cast<const float4*>(values); }

DEVICE float4 load_four(const half_bits* values) {
    const uint2 pairs = *reinterpret_cast<const uint2*>(values);
    const float2 low = unpack_halves(pairs.x), high = unpack_halves(pairs.y);
    return make_float4(low.x, low.y, high.x, high.y);
}

DEVICE Eight load_eight(const float* values) { return join(load_four(values), load_four(values + 4)); }

DEVICE Eight load_eight(const half_bits* values) {
    const uint4 pairs = *reinterpret_cast<const uint4*>(values);
    const float2 a = unpack_halves(pairs.x), b = unpack_halves(pairs.y);
    const float2 c = unpack_halves(pairs.z), d = unpack_halves(pairs.w);
    return {{a.x, a.y, b.x, b.y, c.x, c.y, d.x, d.y}};
}

// Of a vector that may be missing.
DEVICE Eight load_or(const float* values, int column, float otherwise) {
    if (values != nullptr) return load_eight(values + column);
    return {{otherwise, otherwise, otherwise, otherwise, otherwise, otherwise, otherwise, otherwise}};
}

// Columns `column` to + 7 of the row whose first element is number `row_start`.
DEVICE Eight load_product(const void* product, const float* scale, long long row_start, int column) {
    if (scale == nullptr) return load_eight(static_cast<const half_bits*>(product) + row_start + column);
    Eight values = load_eight(static_cast<const float*>(product) + row_start + column);
    multiply(values, load_eight(scale + column));
    return values;
}

// Two pieces of a row, under one condition: two would make the second load wait for the first.
DEVICE void load_two_products(Eight& first, Eight& second, const void* product, const float* scale,
                              long long row_start, int first_column, int second_column) {
    if (scale == nullptr) {
        first = load_product(product, nullptr, row_start, first_column);
        second = load_product(product, nullptr, row_start, second_column);
    } else {
        first = load_product(product, scale, row_start, first_column);
        second = load_product(product, scale, row_start, second_column);
    }
}

DEVICE void store_eight(float* to, const Eight& values) {
    const float* v = values.at;
    reinterpret_cast<float4*>(to)[0] = make_float4(v[0], v[1], v[2], v[3]);
    reinterpret_cast<float4*>(to)[1] = make_float4(v[4], v[5], v[6], v[7]);
}

DEVICE uint4 pack_eight(const Eight& values) {
    const float* v = values.at;
    return make_uint4(pack_halves(v[0], v[1]), pack_halves(v[2], v[3]), pack_halves(v[4], v[5]),
                      pack_halves(v[6], v[7]));
}

// The nearest int8, half to even, at most 127 either way: -128 is not used, as in the weights.
DEVICE unsigned to_int8(float value) { return min(max(__float2int_rn(value), -127), 127) & 0xff; }

DEVICE unsigned pack_int8(float a, float b, float c, float d) {
    return to_int8(a) | to_int8(b) << 8 | to_int8(c) << 16 | to_int8(d) << 24;
}

// Values that are int8 in the end come multiplied by their scales.
DEVICE void store_activation(void* activation, bool int8, long long row_start, int column, const Eight& values) {
    const float* v = values.at;
    if (int8)
        *reinterpret_cast<uint2*>(static_cast<signed char*>(activation) + row_start + column) =
            make_uint2(pack_int8(v[0], v[1], v[2], v[3]), pack_int8(v[4], v[5], v[6], v[7]));
    else
        *reinterpret_cast<uint4*>(static_cast<half_bits*>(activation) + row_start + column) = pack_eight(values);
}

// Columns `column` and + 1, not yet multiplied by their scales.
DEVICE void store_pair(void* activation, const float* input_scale, long long row_start, int column, float low,
                       float high) {
    if (input_scale == nullptr) {
        half_bits* to = static_cast<half_bits*>(activation) + row_start + column;
        *reinterpret_cast<unsigned*>(to) = pack_halves(low, high);
    } else {
        const float2 scales = *reinterpret_cast<const float2*>(input_scale + column);
        signed char* to = static_cast<signed char*>(activation) + row_start + column;
        const unsigned codes = to_int8(low * scales.x) | to_int8(high * scales.y) << 8;
        *reinterpret_cast<unsigned short*>(to) = static_cast<unsigned short>(codes);
    }
}

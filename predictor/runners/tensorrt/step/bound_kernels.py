"""The kernels of one decoder, bound to its buffers, weights and slots, layer by layer.

The operations between matrix products use the same buffers in every layer, so a step only launches bound kernels.
The last layer is bound twice: behind its attention it works on all rows, or on the gathered ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from predictor.runners.tensorrt.kernels.attention import AttentionKernels
from predictor.runners.tensorrt.kernels.fused import FusedKernels
from predictor.runners.tensorrt.kernels.launch import BoundKernel
from predictor.runners.tensorrt.kernels.operands import Activation, KvCache, Product, Qkv, Rotary
from predictor.runners.tensorrt.step.inputs import InputLayout
from predictor.runners.tensorrt.step.weights import DeviceWeights, LinearWeights
from protocol.release import DecoderShape

NUMBER_BYTES = 4
"""Of an id, a log-probability, and everything the host sends."""


@dataclass(frozen=True, slots=True)
class DeviceAddresses:
    """Device addresses of a decoder's buffers and K/V cache."""

    buffers: Mapping[str, int]
    """By name, see :func:`predictor.runners.tensorrt.step.buffers.buffer_sizes`; and the kernels' work spaces."""
    layout: InputLayout
    """Of ``buffers["inputs"]``."""
    kv: int
    """float16 [layers, 2, slots, kv_heads, capacity, head_dim]: keys, then values."""
    layer_bytes: int
    """Of one layer's keys and values."""
    ids: int
    """Ids in ``buffers["outputs"]``; as many log-probabilities follow them."""


@dataclass(frozen=True, slots=True)
class BoundAttention:
    """The attention kernels of one layer."""

    write_kv: Callable[[int, int, int], None]
    """Launches it: (first row, rows, stream)."""
    decode: BoundKernel
    prefill: BoundKernel
    """Of tiles, not of rows."""


@dataclass(frozen=True, slots=True)
class BoundBlock:
    """The kernels of one layer behind its attention, between the products."""

    after_attention: BoundKernel
    silu_mul: BoundKernel
    after_mlp: BoundKernel


class BoundKernels:
    """All kernels of a step, bound to their arguments."""

    def __init__(
        self,
        kernels: AttentionKernels,
        fused: FusedKernels,
        shape: DecoderShape,
        weights: DeviceWeights,
        addresses: DeviceAddresses,
    ) -> None:
        """Bind every layer.

        Args:
            kernels: for attention and token selection.
            fused: for all other operations.
            shape: of the decoder.
            weights: on the device.
            addresses: of the buffers.
        """
        self._kernels = kernels
        self._fused = fused
        self._shape = shape
        self._weights = weights
        self._addresses = addresses
        buffers = addresses.buffers
        self.inputs = buffers["inputs"]
        self.act, self.gathered_act = buffers["act"], buffers["gathered_act"]
        self.y = buffers["y"]
        self.ids, self.saved_ids = buffers["outputs"], buffers["saved_ids"]
        self.choose_tokens = self._bind_choose_tokens(self.ids)
        self.choose_saved_tokens = self._bind_choose_tokens(self.saved_ids)
        first, last = weights.layers[0], shape.layers - 1
        self.embed_norm = fused.embed_norm(
            token_ids=buffers["token_ids"],
            embedding=weights.embedding,
            weight=first.attention_norm,
            residual=buffers["residual"],
            activation=_activation(self.act, first.linears["qkv"]),
        )
        self.attention = tuple(self._bind_attention(layer) for layer in range(shape.layers))
        self._blocks = tuple(
            self._bind_block(layer, self.act, buffers["residual"]) for layer in range(shape.layers)
        )
        self._gathered_block = self._bind_block(last, self.gathered_act, buffers["gathered_residual"])
        self.gather_rows = self._bind_gather_rows(weights.layers[last].linears["attention_output"])
        self._candidates: dict[int, BoundKernel] = {}

    def block(self, layer: int, *, gathered: bool) -> BoundBlock:
        """The kernels of a layer, over all rows or over the gathered ones."""
        return self._gathered_block if gathered else self._blocks[layer]

    def candidates(self, first_output: int) -> BoundKernel:
        """Candidate selection into the step's output from row ``first_output`` on."""
        bound = self._candidates.get(first_output)
        if bound is None:
            offset = NUMBER_BYTES * first_output * self._kernels.candidates_per_row
            bound = self._candidates[first_output] = self._kernels.candidates(
                logits=_product(self.y, self._weights.vocabulary),
                ids=self.ids + offset,
                logprobs=self.ids + NUMBER_BYTES * self._addresses.ids + offset,
                workspace=self._addresses.buffers["candidates_workspace"],
            )
        return bound

    def _bind_choose_tokens(self, previous_ids: int) -> BoundKernel:
        layout = self._addresses.layout
        return self._kernels.choose_tokens(
            token_ids=self._addresses.buffers["token_ids"],
            previous_ids=previous_ids,
            sources=self.inputs + NUMBER_BYTES * layout.sources,
            host_tokens=self.inputs,
        )

    def _bind_attention(self, number: int) -> BoundAttention:
        addresses, weights, kernels = self._addresses, self._weights, self._kernels
        layer, layout = weights.layers[number], addresses.layout
        keys = addresses.kv + number * addresses.layer_bytes
        cache = KvCache(keys, keys + addresses.layer_bytes // 2)
        qkv = Qkv(_product(self.y, layer.linears["qkv"]), layer.q_norm, layer.k_norm)
        rotary = Rotary(weights.cosines, weights.sines)
        slots = self.inputs + NUMBER_BYTES * layout.slots
        positions = self.inputs + NUMBER_BYTES * layout.positions
        tiles = self.inputs + NUMBER_BYTES * layout.tiles
        attended = _activation(self.act, layer.linears["attention_output"])
        return BoundAttention(
            write_kv=kernels.write_kv(qkv=qkv, rotary=rotary, cache=cache, slots=slots, positions=positions),
            decode=kernels.decode_attention(
                qkv=qkv,
                rotary=rotary,
                cache=cache,
                slots=slots,
                positions=positions,
                attended=attended,
                workspace=addresses.buffers["decode_workspace"],
            ),
            prefill=kernels.prefill_attention(
                qkv=qkv, rotary=rotary, cache=cache, tiles=tiles, attended=attended
            ),
        )

    def _bind_block(self, number: int, act: int, residual: int) -> BoundBlock:
        layer, following = self._weights.layers[number], number + 1
        linears, fused = layer.linears, self._fused
        if following < self._shape.layers:
            next_norm = self._weights.layers[following].attention_norm
            next_linear = self._weights.layers[following].linears["qkv"]
        else:
            next_norm, next_linear = self._weights.final_norm, self._weights.vocabulary
        return BoundBlock(
            after_attention=fused.add_norm(
                product=_product(self.y, linears["attention_output"]),
                weight=layer.mlp_norm,
                residual=residual,
                activation=_activation(act, linears["gate_up"]),
            ),
            silu_mul=fused.silu_mul(
                product=_product(self.y, linears["gate_up"]),
                activation=_activation(act, linears["down"]),
                width=self._shape.intermediate,
            ),
            after_mlp=fused.add_norm(
                product=_product(self.y, linears["down"]),
                weight=next_norm,
                residual=residual,
                activation=_activation(act, next_linear),
            ),
        )

    def _bind_gather_rows(self, reader: LinearWeights) -> BoundKernel:
        buffers, heads = self._addresses.buffers, self._shape.heads * self._shape.head_dim
        return self._fused.gather_rows(
            rows=self.inputs + NUMBER_BYTES * self._addresses.layout.out_rows,
            attended=self.act,
            attended_out=self.gathered_act,
            attended_bytes=heads if reader.input_scale else 2 * heads,
            residual=buffers["residual"],
            residual_out=buffers["gathered_residual"],
        )


def _product(y: int, linear: LinearWeights) -> Product:
    return Product(y, linear.output_scale, linear.bias)


def _activation(address: int, linear: LinearWeights) -> Activation:
    """The input of ``linear`` at ``address``."""
    return Activation(address, linear.input_scale)

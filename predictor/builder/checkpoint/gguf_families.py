"""A GGUF file as a Hugging Face checkpoint: the configuration that its metadata gives, and the names of its tensors.

llama.cpp's converter (convert_hf_to_gguf.py, gguf-py/gguf/tensor_mapping.py) renames tensors, puts the two halves of
each head of queries and keys into alternating rows for architectures that it rotates so, and adds 1 to Gemma's norms.
All of it is undone here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from predictor.builder.checkpoint.gguf_file import GgufFile, GgufMatrix
from predictor.builder.checkpoint.rope import Llama3Scaling, Rope, inverse_frequencies
from predictor.builder.errors import UnsupportedModel

Fields = dict[str, Any]

_OUTER = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
_GEMMA = {
    **_LAYER,
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
_HUNYUAN = {
    **_LAYER,
    "attn_q_norm": "self_attn.query_layernorm",
    "attn_k_norm": "self_attn.key_layernorm",
}
ROPE_FACTORS = "rope_freqs.weight"
"""Divisors of the rotary frequencies, by which the converter writes the scaling ``llama3``."""
_LLAMA3 = {"low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}
"""Of every published model with that scaling; the file tells its results alone."""
_TENSOR = re.compile(r"(?:blk\.(?P<layer>\d+)\.)?(?P<part>\w+)\.(?P<kind>weight|bias)")


@dataclass(frozen=True, slots=True)
class GgufFamily:
    """How one of llama.cpp's architectures becomes one of Hugging Face's."""

    architecture: str
    """Hugging Face's."""
    model_type: str
    """transformers' name of it."""
    names: Mapping[str, str] = field(default_factory=lambda: _LAYER)
    """Of a layer's modules, by llama.cpp's."""
    alternating: bool = False
    """Whether rows of queries and keys alternate between the halves of a head."""
    one_plus_norms: bool = False
    """Whether the converter has added 1 to the norms."""
    more: Callable[[GgufFile, str, Fields], Fields] = lambda file, prefix, fields: {}
    """Further fields of the configuration."""


def _granite(file: GgufFile, prefix: str, fields: Fields) -> Fields:
    del fields
    names = {
        "embedding_multiplier": "embedding_scale",
        "residual_multiplier": "residual_scale",
        "attention_multiplier": "attention.scale",
        "logits_scaling": "logit_scale",
    }
    return {name: file.value(f"{prefix}.{key}", 1.0) for name, key in names.items()}


def _gemma(largest: int) -> Callable[[GgufFile, str, Fields], Fields]:
    """Gemma's fields; the model of ``largest`` layers scales scores by hidden size / heads, others by head_dim."""

    def more(file: GgufFile, prefix: str, fields: Fields) -> Fields:
        scalar = fields["head_dim"]
        if fields["num_hidden_layers"] == largest:
            scalar = fields["hidden_size"] // fields["num_attention_heads"]
        found = {
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": scalar,
            "sliding_window": file.required(f"{prefix}.attention.sliding_window"),
            "attn_logit_softcapping": file.value(f"{prefix}.attn_logit_softcapping"),
            "final_logit_softcapping": file.value(f"{prefix}.final_logit_softcapping"),
        }
        return found | ({"rope_local_base_freq": 10_000.0} if prefix == "gemma3" else {})

    return more


GGUF_FAMILIES = {
    "llama": GgufFamily("LlamaForCausalLM", "llama", alternating=True),
    "qwen2": GgufFamily("Qwen2ForCausalLM", "qwen2"),
    "qwen3": GgufFamily("Qwen3ForCausalLM", "qwen3"),
    "hunyuan-dense": GgufFamily("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", names=_HUNYUAN),
    "granite": GgufFamily("GraniteForCausalLM", "granite", alternating=True, more=_granite),
    "smollm3": GgufFamily("SmolLM3ForCausalLM", "smollm3", alternating=True),
    "gemma2": GgufFamily("Gemma2ForCausalLM", "gemma2", names=_GEMMA, one_plus_norms=True, more=_gemma(46)),
    "gemma3": GgufFamily(
        "Gemma3ForCausalLM", "gemma3_text", names=_GEMMA, one_plus_norms=True, more=_gemma(62)
    ),
}
"""By llama.cpp's name of the architecture, which also begins the names of its metadata."""


def gguf_config(file: GgufFile) -> Fields:
    """The fields of ``config.json`` that a file's metadata stands for.

    Raises:
        BrokenCheckpoint: a field is missing.
        UnsupportedModel: the architecture, or a part of it, is not read.
    """
    prefix, family = _family(file)
    if file.value(f"{prefix}.expert_count", 0):
        raise UnsupportedModel(f"{file.path}: a mixture of experts, which is not read from GGUF")
    fields: Fields = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "hidden_act": "silu",
        **_shape(file, prefix),
        "max_position_embeddings": file.required(f"{prefix}.context_length"),
        "rms_norm_eps": file.required(f"{prefix}.attention.layer_norm_rms_epsilon"),
        "rope_theta": file.value(f"{prefix}.rope.freq_base", 10_000.0),
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "mlp_bias": "blk.0.ffn_down.bias" in file.tensors,
        **_tokens(file),
    }
    scaling = _rope_scaling(file, prefix, fields)
    return fields | ({} if scaling is None else {"rope_scaling": scaling}) | family.more(file, prefix, fields)


def _shape(file: GgufFile, prefix: str) -> Fields:
    """The sizes of a model."""
    hidden, heads = (
        _integer(file, f"{prefix}.{key}") for key in ("embedding_length", "attention.head_count")
    )
    size = _integer(file, f"{prefix}.attention.key_length", hidden // heads)
    rotated = _integer(file, f"{prefix}.rope.dimension_count", size)
    embedding = file.tensors.get("token_embd.weight")
    return {
        "hidden_size": hidden,
        "intermediate_size": _integer(file, f"{prefix}.feed_forward_length"),
        "num_attention_heads": heads,
        "num_hidden_layers": _integer(file, f"{prefix}.block_count"),
        "num_key_value_heads": _integer(file, f"{prefix}.attention.head_count_kv", heads),
        "head_dim": size,
        "vocab_size": 0 if embedding is None else embedding.shape[0],
        **({} if rotated == size else {"partial_rotary_factor": rotated / size}),
    }


def gguf_matrices(file: GgufFile) -> dict[str, GgufMatrix]:
    """The tensors of a file by Hugging Face's names; those without one keep theirs.

    Raises:
        BrokenCheckpoint: a field is missing.
        UnsupportedModel: the architecture is not read.
    """
    _, family = _family(file)
    size = gguf_config(file)["head_dim"]
    found = {}
    for name, tensor in file.tensors.items():
        match = _TENSOR.fullmatch(name)
        names = _OUTER if match is None or match["layer"] is None else family.names
        if match is None or match["part"] not in names:
            if name != ROPE_FACTORS:
                found[name] = GgufMatrix(tensor)
            continue
        part, layer = match["part"], "" if match["layer"] is None else f"model.layers.{match['layer']}."
        found[f"{layer}{names[part]}.{match['kind']}"] = GgufMatrix(
            tensor,
            interleaved=size if family.alternating and part in ("attn_q", "attn_k") else 0,
            offset=-1.0 if family.one_plus_norms and part.endswith("_norm") else 0.0,
        )
    return found


def _family(file: GgufFile) -> tuple[str, GgufFamily]:
    name = str(file.required("general.architecture"))
    if name not in GGUF_FAMILIES:
        raise UnsupportedModel(
            f"{file.path}: general.architecture is {name!r}; read from GGUF are {', '.join(GGUF_FAMILIES)}; "
            "take the checkpoint in safetensors"
        )
    return name, GGUF_FAMILIES[name]


def _integer(file: GgufFile, name: str, default: int | None = None) -> int:
    value = file.required(name) if default is None else file.value(name, default)
    if not isinstance(value, int) or value < 1:
        raise UnsupportedModel(
            f"{file.path}: {name} is {value!r}; read is one positive number for all layers"
        )
    return value


def _tokens(file: GgufFile) -> Fields:
    """Ids of the tokens that begin and end texts; those that end a turn end answers too."""
    ends = [file.value(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot")]
    found = list(dict.fromkeys(each for each in ends if each is not None))
    return {
        "bos_token_id": file.value("tokenizer.ggml.bos_token_id"),
        "eos_token_id": found or None,
    }


def _rope_scaling(file: GgufFile, prefix: str, fields: Fields) -> Fields | None:
    kind = file.value(f"{prefix}.rope.scaling.type", "none")
    factor = file.value(f"{prefix}.rope.scaling.factor", 1.0)
    if ROPE_FACTORS in file.tensors:
        return _llama3(file, fields)
    if kind == "none" or (kind == "linear" and factor == 1.0):
        return None
    if kind != "linear":
        raise UnsupportedModel(
            f"{file.path}: {prefix}.rope.scaling.type is {kind!r}; read from GGUF are none and linear; take the "
            "checkpoint in safetensors"
        )
    return {"rope_type": "linear", "factor": factor}


def _llama3(file: GgufFile, fields: Fields) -> Fields:
    """The parameters of ``llama3`` that give the divisors in the file."""
    divisors = GgufMatrix(file.tensors[ROPE_FACTORS]).rows(0, fields["head_dim"] // 2)
    factor, plain = float(divisors.max()), Rope(theta=fields["rope_theta"])
    wanted = Rope(theta=plain.theta, llama3=Llama3Scaling(factor, *_LLAMA3.values()))
    sizes = (inverse_frequencies(rope, fields["head_dim"]) for rope in (plain, wanted))
    if not np.allclose(np.divide(*sizes), divisors, rtol=1e-3):
        raise UnsupportedModel(
            f"{file.path}: {ROPE_FACTORS} is not the scaling llama3 of published models; take the checkpoint in "
            "safetensors"
        )
    return {"rope_type": "llama3", "factor": factor, **_LLAMA3}

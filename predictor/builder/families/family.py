"""What a decoder family may do differently from Llama: the fields of a row of the table of families."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from predictor.builder.checkpoint.config_fields import Config
from predictor.builder.checkpoint.rope import Rope
from predictor.segment_traits import LatentTraits, MixtureTraits


@dataclass(frozen=True, slots=True)
class FamilyDetails:
    """What a family reads from one ``config.json``. Scales are folded into weights by the build."""

    rope: Rope | None = None
    """None: as :func:`predictor.builder.checkpoint.rope_config.read_rope` reads it."""
    local_rope: Rope | None = None
    """Of local layers."""
    layers: tuple[str, ...] = ()
    """Kind of each layer; empty: all global."""
    window: int = 0
    """Tokens that a local layer attends to, the token itself included."""
    embedding_scale: float = 1.0
    """Factor of the looked-up embedding, not of a vocabulary tied to it."""
    residual_scale: float = 1.0
    """Factor of what attention and MLP add to the residual."""
    query_scale: float = 1.0
    """Factor of the queries, beside the usual head_dim^-0.5 of the scores."""
    logits_scale: float = 1.0
    mixture: MixtureTraits | None = None
    """Of the layers whose MLP is a mixture of experts."""
    latent: LatentTraits | None = None
    """Of the attention of all layers, where it is multi-head latent attention."""
    experts_scale: float = 1.0
    """Factor of what the chosen experts give, not of the shared ones."""
    extra_layers: int = 0
    """Layers behind the last one, which predict further tokens and are left out."""
    attention_softcap: float = 0.0
    """Scores become cap * tanh(score / cap); 0: none."""
    logits_softcap: float = 0.0


def no_details(config: Config) -> FamilyDetails:
    """The details of a family without any."""
    return FamilyDetails()


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Differences between the decoders of one Hugging Face architecture and Llama."""

    architecture: str
    """As ``architectures`` in ``config.json`` names it."""
    qkv_bias: bool | str = False
    """Whether the query, key and value projections have biases; a string names the field that says so."""
    output_bias: bool | str = False
    """The same for the projection after attention."""
    mlp_bias: bool | str = False
    """The same for the three projections of the MLP."""
    qk_norm: bool = False
    """Whether queries and keys are normalized per head."""
    norm_after_rotary: bool = False
    """Whether that is done after the rotary embedding, not before."""
    wide_qk_norm: bool = False
    """Whether all heads are normalized together."""
    interleaved_rotary: bool = False
    """Whether the rotary embedding pairs neighboring values of a head, not its halves: the build reorders rows."""
    pre_norms: bool = True
    """Whether the inputs of attention and MLP are normalized."""
    post_norms: bool = False
    """Whether what attention and MLP add to the residual is normalized."""
    centered_norms: bool = False
    """Whether norms before attention, MLP and vocabulary subtract the mean first (LayerNorm without a bias)."""
    parallel: bool = False
    """Whether attention and MLP read the same norm of the residual, and are added to it together."""
    norm_eps_field: str = "rms_norm_eps"
    one_plus_norms: bool = False
    """Whether norms multiply with 1 + weight."""
    activation_field: str = "hidden_act"
    activation: str = "silu"
    """Of the MLP's gate: ``silu``, or ``gelu_pytorch_tanh``."""
    packed: bool = False
    """Whether the checkpoint has ``qkv_proj`` and ``gate_up_proj``, in the order of our own matrices."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Names of a layer's norms in the checkpoint, where they are not Llama's; and of ``router``, ``router_bias`` and
    ``shared`` experts, where they are not DeepSeek's."""
    window_by_default: bool = True
    """Whether a ``sliding_window`` is in use where ``use_sliding_window`` is absent."""
    window_bounds_length: bool = False
    """Whether a ``sliding_window`` only bounds the longest sequence; else it is refused, or read by ``details``."""
    reads_layer_types: bool = False
    """Whether ``details`` reads ``layer_types`` and the window."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """Values of fields that ``config.json`` leaves out or sets to null, where they are not Llama's."""
    text_config: str | None = None
    """Field that holds the configuration of the text part."""
    prefixes: tuple[str, ...] = ("model.",)
    """What may stand before the names of the decoder's tensors; the first one that the checkpoint has is taken."""
    ignored: tuple[str, ...] = ()
    """Beginnings of names of tensors that belong to other parts of the model."""
    details: Callable[[Config], FamilyDetails] = no_details

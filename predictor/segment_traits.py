"""What the runners of segments must know of a decoder beyond its sizes: its traits, in ``segments.json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GLOBAL, LOCAL, UNROTATED = "global", "local", "unrotated"
"""Kinds of attention layers: over all tokens; over a window, with its own rotary table; over all, not rotated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureTraits:
    """A mixture of experts: MLPs of which a router chooses some for each token."""

    layers: tuple[int, ...]
    """The layers that have one; the others have one MLP."""
    experts: int
    chosen: int
    """Experts of a token."""
    intermediate: int
    """Intermediate size of an expert."""
    shared_intermediate: int = 0
    """Of the MLP beside them that all tokens go through; 0: there is none."""
    sigmoid: bool = False
    """Scores are the sigmoid of the router's logits, each by itself, not their softmax."""
    biased: bool = False
    """A bias is added to the scores for the choice, not for the weights."""
    normalized: bool = True
    """Scores of the chosen experts are divided by their sum, which gives the weights."""
    groups: int = 1
    """Equal groups of neighboring experts."""
    chosen_groups: int = 1
    """Groups that the experts of a token are from."""
    group_best: int = 1
    """Scores of a group whose sum decides on the group, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentTraits:
    """Multi-head latent attention (DeepSeek-AI, 2024): keys and values of all heads are made of one latent.

    The latent and the rotated part of the keys are cached. The key matrix of a head is multiplied with its queries,
    and its value matrix with what it attended to, so attention has one key head, whose keys are the values too.
    """

    rank: int
    """Size of the latent."""
    query_rank: int
    """Size of the latent that queries are made of; 0: they are made of the input."""
    plain: int
    """Values of a head's queries and keys that are not rotated."""
    rotated: int
    """Values that are, behind them; keys of all heads share these."""
    value: int
    """Values of a head's values."""
    scale: float
    """Factor of the scores."""
    norm_eps: float = 1e-6
    """Of the norms of the latents."""

    @property
    def query(self) -> int:
        """Values of a head's queries."""
        return self.plain + self.rotated

    def projected(self, heads: int) -> tuple[int, int, int]:
        """Sizes of the first product's results: queries of all heads or their latent, the latent, the rotated key."""
        return (self.query_rank or heads * self.query, self.rank, self.rotated)


@dataclass(frozen=True, slots=True)
class SegmentTraits:
    """The decoder's details beyond ``release.json``: the norms' epsilon, and which tensors exist."""

    norm_eps: float
    qkv_bias: bool
    output_bias: bool
    """Of the projection after attention."""
    mlp_bias: bool
    qk_norm: bool
    """Queries and keys are normed per head."""
    norm_after_rotary: bool = False
    """That is done after the rotary embedding."""
    wide_qk_norm: bool = False
    """All heads are normed together."""
    pre_norms: bool = True
    """The inputs of attention and MLP are normed."""
    post_norms: bool = False
    """What attention and MLP add to the residual is normed."""
    centered_norms: bool = False
    """The norms of the residual subtract the mean first."""
    parallel: bool = False
    """Attention and MLP read the same norm of the residual, that of attention, and are added to it together."""
    gelu: bool = False
    """The MLP's gate is GELU in its tanh form, not SiLU."""
    attention_softcap: float = 0.0
    """Scores become cap * tanh(score / cap); 0: none."""
    logits_softcap: float = 0.0
    window: int = 0
    """Tokens that a local layer attends to, the token itself included."""
    layers: tuple[str, ...] = ()
    """Kind of each layer; empty: all global."""
    mixture: MixtureTraits | None = None
    """Of the layers whose MLP is a mixture of experts."""
    latent: LatentTraits | None = None
    """Of the attention of all layers, where it is multi-head latent attention."""

    def kind(self, layer: int) -> str:
        """Kind of a layer."""
        return self.layers[layer] if self.layers else GLOBAL

    def mixture_of(self, layer: int) -> MixtureTraits | None:
        """The mixture of experts of a layer; None if it has one MLP."""
        return self.mixture if self.mixture is not None and layer in self.mixture.layers else None

    def to_json(self) -> dict[str, Any]:
        """The fields, without those that have their default."""
        values = dataclasses.asdict(self)
        return {
            field.name: values[field.name]
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SegmentTraits:
        """What :meth:`to_json` wrote.

        Raises:
            TypeError: a field is missing or unknown.
        """
        fields = dict(document)
        fields["layers"] = tuple(fields.get("layers", ()))
        if (mixture := fields.get("mixture")) is not None:
            fields["mixture"] = MixtureTraits(**{**mixture, "layers": tuple(mixture["layers"])})
        if (latent := fields.get("latent")) is not None:
            fields["latent"] = LatentTraits(**latent)
        return cls(**fields)

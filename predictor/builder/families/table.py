"""The table of families, by the architecture that ``config.json`` names."""

from __future__ import annotations

from predictor.builder.families.cohere import COHERE, COHERE2
from predictor.builder.families.deepseek import DEEPSEEK2, DEEPSEEK3
from predictor.builder.families.gemma import GEMMA2, GEMMA3, GEMMA3_CONDITIONAL
from predictor.builder.families.granite import GRANITE
from predictor.builder.families.hunyuan import HUNYUAN_DENSE
from predictor.builder.families.hy_v3 import HY_V3
from predictor.builder.families.interleaved import ERNIE, HELIUM
from predictor.builder.families.llama import LLAMA
from predictor.builder.families.mistral import MISTRAL, SEED_OSS
from predictor.builder.families.olmo2 import OLMO2
from predictor.builder.families.phi3 import PHI3
from predictor.builder.families.qwen import QWEN2, QWEN3
from predictor.builder.families.qwen_moe import QWEN3_MOE
from predictor.builder.families.smollm3 import SMOLLM3

FAMILIES = {
    family.architecture: family
    for family in (
        LLAMA,
        QWEN2,
        QWEN3,
        HUNYUAN_DENSE,
        MISTRAL,
        SEED_OSS,
        GEMMA2,
        GEMMA3,
        GEMMA3_CONDITIONAL,
        PHI3,
        GRANITE,
        SMOLLM3,
        OLMO2,
        ERNIE,
        HELIUM,
        QWEN3_MOE,
        HY_V3,
        DEEPSEEK2,
        DEEPSEEK3,
        COHERE,
        COHERE2,
    )
}

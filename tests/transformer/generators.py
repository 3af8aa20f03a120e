"""A generator for tests: every text of a request in one group, unless a test is about groups."""

from __future__ import annotations

import time
from collections.abc import Callable

from protocol.prompt_encoder import PromptEncoder
from tests.transformer.predictor_stand_in import RELEASE
from transformer.generation.generator import Generator
from transformer.generation.groups import Grouping
from transformer.metrics import TransformerMetrics
from transformer.predictors.admission import AdmissionController
from transformer.predictors.interface import Predictor
from transformer.texts.guards import Guards

ONE_GROUP = Grouping(size=1_024, in_flight=1)


def create_generator(
    tokenizer: PromptEncoder,
    guards: Guards,
    predictor: Predictor,
    metrics: TransformerMetrics,
    *,
    grouping: Grouping = ONE_GROUP,
    admission_tokens: int = 1 << 20,
    clock: Callable[[], float] = time.monotonic,
) -> Generator:
    return Generator(
        release=RELEASE,
        tokenizer=tokenizer,
        guards=guards,
        predictor=predictor,
        admission=AdmissionController(admission_tokens, metrics, clock),
        grouping=grouping,
        metrics=metrics,
        clock=clock,
    )

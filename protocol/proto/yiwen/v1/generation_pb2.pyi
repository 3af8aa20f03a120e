from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TextStreamRequest(_message.Message):
    __slots__ = ("model_name", "model_version", "text_input", "source", "target", "format", "glossary", "max_new_tokens", "deadline_ms", "ignore_tags", "splitting_tags", "non_splitting_tags", "outline_detection", "translate_attributes", "translate_cdata", "placeholders", "join_lines", "split_sentences", "context", "formality")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    TEXT_INPUT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    GLOSSARY_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    IGNORE_TAGS_FIELD_NUMBER: _ClassVar[int]
    SPLITTING_TAGS_FIELD_NUMBER: _ClassVar[int]
    NON_SPLITTING_TAGS_FIELD_NUMBER: _ClassVar[int]
    OUTLINE_DETECTION_FIELD_NUMBER: _ClassVar[int]
    TRANSLATE_ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    TRANSLATE_CDATA_FIELD_NUMBER: _ClassVar[int]
    PLACEHOLDERS_FIELD_NUMBER: _ClassVar[int]
    JOIN_LINES_FIELD_NUMBER: _ClassVar[int]
    SPLIT_SENTENCES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    FORMALITY_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    text_input: str
    source: str
    target: str
    format: str
    glossary: str
    max_new_tokens: int
    deadline_ms: int
    ignore_tags: _containers.RepeatedScalarFieldContainer[str]
    splitting_tags: _containers.RepeatedScalarFieldContainer[str]
    non_splitting_tags: _containers.RepeatedScalarFieldContainer[str]
    outline_detection: bool
    translate_attributes: bool
    translate_cdata: bool
    placeholders: _containers.RepeatedScalarFieldContainer[str]
    join_lines: bool
    split_sentences: bool
    context: str
    formality: str
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., text_input: _Optional[str] = ..., source: _Optional[str] = ..., target: _Optional[str] = ..., format: _Optional[str] = ..., glossary: _Optional[str] = ..., max_new_tokens: _Optional[int] = ..., deadline_ms: _Optional[int] = ..., ignore_tags: _Optional[_Iterable[str]] = ..., splitting_tags: _Optional[_Iterable[str]] = ..., non_splitting_tags: _Optional[_Iterable[str]] = ..., outline_detection: _Optional[bool] = ..., translate_attributes: _Optional[bool] = ..., translate_cdata: _Optional[bool] = ..., placeholders: _Optional[_Iterable[str]] = ..., join_lines: _Optional[bool] = ..., split_sentences: _Optional[bool] = ..., context: _Optional[str] = ..., formality: _Optional[str] = ...) -> None: ...

class TextStreamResponse(_message.Message):
    __slots__ = ("text_output", "end", "warming")
    TEXT_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    WARMING_FIELD_NUMBER: _ClassVar[int]
    text_output: str
    end: TextEnd
    warming: Warming
    def __init__(self, text_output: _Optional[str] = ..., end: _Optional[_Union[TextEnd, _Mapping]] = ..., warming: _Optional[_Union[Warming, _Mapping]] = ...) -> None: ...

class TextEnd(_message.Message):
    __slots__ = ("source", "confidence", "cache", "finish_reason", "flags", "release", "usage", "target")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    source: str
    confidence: float
    cache: str
    finish_reason: str
    flags: _containers.RepeatedScalarFieldContainer[str]
    release: str
    usage: Usage
    target: str
    def __init__(self, source: _Optional[str] = ..., confidence: _Optional[float] = ..., cache: _Optional[str] = ..., finish_reason: _Optional[str] = ..., flags: _Optional[_Iterable[str]] = ..., release: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., target: _Optional[str] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("segments", "generated_tokens")
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    GENERATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    segments: int
    generated_tokens: int
    def __init__(self, segments: _Optional[int] = ..., generated_tokens: _Optional[int] = ...) -> None: ...

class Warming(_message.Message):
    __slots__ = ("waited_s",)
    WAITED_S_FIELD_NUMBER: _ClassVar[int]
    waited_s: float
    def __init__(self, waited_s: _Optional[float] = ...) -> None: ...

class TokenStreamRequest(_message.Message):
    __slots__ = ("model_name", "model_version", "prompts", "release", "deadline_ms", "temperature", "top_p", "seed", "top_k")
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    model_name: str
    model_version: str
    prompts: _containers.RepeatedCompositeFieldContainer[Prompt]
    release: str
    deadline_ms: int
    temperature: float
    top_p: float
    seed: int
    top_k: int
    def __init__(self, model_name: _Optional[str] = ..., model_version: _Optional[str] = ..., prompts: _Optional[_Iterable[_Union[Prompt, _Mapping]]] = ..., release: _Optional[str] = ..., deadline_ms: _Optional[int] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., seed: _Optional[int] = ..., top_k: _Optional[int] = ...) -> None: ...

class Prompt(_message.Message):
    __slots__ = ("token_ids", "max_new_tokens", "max_repeats")
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_REPEATS_FIELD_NUMBER: _ClassVar[int]
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    max_new_tokens: int
    max_repeats: int
    def __init__(self, token_ids: _Optional[_Iterable[int]] = ..., max_new_tokens: _Optional[int] = ..., max_repeats: _Optional[int] = ...) -> None: ...

class TokenStreamResponse(_message.Message):
    __slots__ = ("index", "token_ids", "logprobs", "end")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    index: int
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    logprobs: _containers.RepeatedScalarFieldContainer[float]
    end: TokenEnd
    def __init__(self, index: _Optional[int] = ..., token_ids: _Optional[_Iterable[int]] = ..., logprobs: _Optional[_Iterable[float]] = ..., end: _Optional[_Union[TokenEnd, _Mapping]] = ...) -> None: ...

class TokenEnd(_message.Message):
    __slots__ = ("finish_reason", "logprob", "release")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    finish_reason: str
    logprob: float
    release: str
    def __init__(self, finish_reason: _Optional[str] = ..., logprob: _Optional[float] = ..., release: _Optional[str] = ...) -> None: ...

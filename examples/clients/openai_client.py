"""OpenAI's Python client against Yiwen: python openai_client.py http://127.0.0.1:8080."""

from __future__ import annotations

import sys
from typing import Any

import openai


def main(url: str) -> None:
    """Translate whole and streamed, in all three ways to name the languages."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="any-key")

    def ask(content: object, model: str = "demo@en-zh", **more: Any) -> str:
        messages: Any = [{"role": "user", "content": content}]
        return str(
            client.chat.completions.create(model=model, messages=messages, **more).choices[0].message.content
        )

    assert ask("Blue cotton shirt") == "蓝色纯棉衬衫"
    assert ask("Blue cotton shirt", "demo@zh") == "蓝色纯棉衬衫"
    options = {"source_lang": "auto", "target_lang": "Chinese"}
    assert ask("Blue cotton shirt", "demo", extra_body={"translation_options": options}) == "蓝色纯棉衬衫"
    terms = {**options, "terms": [{"source": "shirt", "target": "T恤"}]}
    assert "T恤" in ask("Blue cotton shirt", "demo", extra_body={"translation_options": terms})
    part = {"type": "text", "source_lang_code": "en", "target_lang_code": "zh", "text": "Blue cotton shirt"}
    assert ask([part], "demo") == "蓝色纯棉衬衫"
    stream = client.chat.completions.create(
        model="demo@en-zh",
        messages=[{"role": "user", "content": "Blue cotton shirt. Where is my order 12345678?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.startswith("蓝色纯棉衬衫"), text
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert next(iter(client.models.list())).id == "demo"
    for model, status in (("gpt-5", 404), ("demo", 400)):
        try:
            ask("Translate to French: hello", model)
        except openai.APIStatusError as error:
            assert error.status_code == status
        else:
            raise AssertionError("it should be refused")


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))

"""Chat completions: OpenAI, and every server that speaks like it.

OpenRouter, Mistral, DeepSeek, Groq, Ollama, vLLM, llama.cpp, LM Studio and Gemini's compatible endpoint do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import ValidationError

from app.contracts.comparison import Tally
from app.contracts.wire import Tolerant
from app.provider.judges.llm.failures import envelope, not_understood
from app.provider.judges.llm.model import Structured, Usage
from app.provider.judges.llm.verdict import schema
from app.provider.judges.llm.wire import Answer, Ask, Call, Listing, Reply, Stop
from app.provider.judges.protocol import JudgeError

LimitField = Literal["max_completion_tokens", "max_tokens"]

_STOPS: Mapping[str, Stop] = {
    "": Stop.DONE,  # it does not say; what was cut off is no verdict anyway
    "stop": Stop.DONE,
    "eos": Stop.DONE,
    "length": Stop.CUT,
    "model_length": Stop.CUT,
    "content_filter": Stop.REFUSED,
    "error": Stop.BROKEN,
    "insufficient_system_resource": Stop.BROKEN,
}


class _Part(Tolerant):
    type: str
    text: str = ""


class _Message(Tolerant):
    content: str | tuple[_Part, ...] | None = None
    refusal: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, tuple):
            return "".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class _Choice(Tolerant):
    finish_reason: str | None = None
    message: _Message


class _PromptDetails(Tolerant):
    cached_tokens: Tally | None = None
    cache_write_tokens: Tally | None = None


class _Usage(Tolerant):
    prompt_tokens: Tally | None = None
    completion_tokens: Tally | None = None
    prompt_tokens_details: _PromptDetails | None = None
    prompt_cache_hit_tokens: Tally | None = None  # DeepSeek's name


class _Completion(Tolerant):
    choices: tuple[_Choice, ...]
    model: str | None = None
    usage: _Usage | None = None


class OpenAIFormat:
    """Reads and writes chat completions.

    `limit_field`: what the limit of an answer is called; OpenAI wants its new name, all others know the old one. The constant part of a prompt comes first, and that is all their caches need.
    """

    structured: ClassVar[frozenset[Structured]] = frozenset({"json_schema", "json_object", "none"})
    most_temperature: ClassVar[float | None] = 2.0

    def __init__(self, *, base_url: str, key: str = "", limit_field: LimitField = "max_tokens") -> None:
        self._base = base_url.rstrip("/")
        self._headers = {"authorization": f"Bearer {key.strip()}"} if key.strip() else {}
        self._limit_field = limit_field

    def listing(self) -> Listing:
        """See `Format`."""
        return Listing(f"{self._base}/models", self._headers)

    def build(self, ask: Ask) -> Call:
        """See `Format`."""
        messages = [
            {"role": "system", "content": ask.prompt.system},
            {"role": "user", "content": ask.prompt.user},
        ]
        if ask.repair:
            messages += [
                {"role": "assistant", "content": ask.repair.answer},
                {"role": "user", "content": ask.repair.complaint},
            ]
        body: dict[str, Any] = {
            "model": ask.model.name,
            "messages": messages,
            self._limit_field: ask.answer_tokens,
        }
        if ask.temperature is not None:
            body["temperature"] = ask.temperature
        if ask.effort is not None:
            body["reasoning_effort"] = ask.effort
        if ask.model.structured == "json_schema":
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "verdict", "strict": True, "schema": schema()},
            }
        elif ask.model.structured == "json_object":
            body["response_format"] = {"type": "json_object"}
        return Call(f"{self._base}/chat/completions", self._headers, body)

    def read(self, answer: Answer, *, now: float) -> Reply:
        """See `Format`."""
        completion = _understood(envelope(answer, now=now))
        choice = completion.choices[0]
        stop = _STOPS.get(choice.finish_reason or "", Stop.UNKNOWN)
        used = completion.usage or _Usage()
        details = used.prompt_tokens_details or _PromptDetails()
        return Reply(
            text=choice.message.text,
            stop=Stop.REFUSED if choice.message.refusal else stop,
            model=completion.model or "",
            usage=Usage(
                prompt=used.prompt_tokens or 0,
                cached=details.cached_tokens or used.prompt_cache_hit_tokens or 0,
                cache_written=details.cache_write_tokens or 0,
                completion=used.completion_tokens or 0,
            ),
        )


def _understood(body: dict[str, Any]) -> _Completion:
    fault: JudgeError
    try:
        completion = _Completion.model_validate(body)
    except ValidationError:
        fault = not_understood("is no chat completion")
    else:
        if completion.choices:
            return completion
        fault = not_understood("holds no choice")
    raise fault

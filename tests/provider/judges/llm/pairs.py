"""Golden pairs: what each format sends for a few questions, and what it reads from its vendor's answers.

`python -m tests.provider.judges.llm.pairs` writes the requests anew, and the answers from the vendors' own models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from anthropic.types import Message, RefusalStopDetails, TextBlock, ToolUseBlock
from anthropic.types import Usage as AnthropicUsage
from google.genai import types as google
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice
from openai.types.completion_usage import PromptTokensDetails
from pydantic import BaseModel

from app.contracts import LLMComparisonRequest, LLMConfigOverrides
from app.provider.judges.llm.anthropic import TOOL, AnthropicFormat
from app.provider.judges.llm.google import GoogleFormat
from app.provider.judges.llm.model import Model, Usage
from app.provider.judges.llm.openai import OpenAIFormat
from app.provider.judges.llm.prompt import load_prompt
from app.provider.judges.llm.wire import Ask, Call, Format, Repair, Reply, Stop
from app.settings import VENDORS

GOLDEN = Path(__file__).parent / "golden"
KEY = "sk-canary-not-a-key"
VERDICT = {
    "justification": "A gives two reasons and answers an objection.",
    "winner": "A",
    "confidence": "high",
}
TEXT = json.dumps(VERDICT)

FORMATS: Mapping[str, Format] = {
    "openai": OpenAIFormat(base_url=VENDORS["openai"].base_url, key=KEY, limit_field="max_completion_tokens"),
    "anthropic": AnthropicFormat(base_url=VENDORS["anthropic"].base_url, key=KEY),
    "google": GoogleFormat(base_url=VENDORS["google"].base_url, key=KEY),
}
MODELS = {"openai": "gpt-4.1-mini", "anthropic": "claude-sonnet-4-5", "google": "gemini-2.5-flash"}

REQUEST = LLMComparisonRequest(
    user_prompt="Should school begin later? Argue for your view.\n\nRubric: reasons, structure, language.",
    essay_a="Later is better. Pupils sleep more, and who sleeps more learns more.",
    essay_b="I think school should begin at ten becuase I am tired. «Trött»!",
    correlation_id=UUID("00000000-0000-4000-8000-000000000001"),
)
PROMPT = load_prompt().write(REQUEST)
ROLE = LLMConfigOverrides(system_prompt="You are an examiner for pupils of twelve years.")


def _ask(provider: str) -> Ask:
    return Ask(model=Model(name=MODELS[provider]), prompt=PROMPT, answer_tokens=8_192)


def _everything(ask: Ask) -> Ask:
    prompt = load_prompt().write(REQUEST.model_copy(update={"llm_config_overrides": ROLE}))
    ask = replace(ask, prompt=prompt, answer_tokens=300)
    return ask if ask.model.name == MODELS["anthropic"] else replace(ask, temperature=0.5)


def _reasoning(ask: Ask) -> Ask:
    return replace(ask, effort="low")


def _no_reasoning(ask: Ask) -> Ask:
    return replace(ask, effort="none")


def _budget(ask: Ask) -> Ask:
    return replace(ask, effort="medium", model=replace(ask.model, reasoning="budget"), answer_tokens=12_288)


def _repair(ask: Ask) -> Ask:
    complaint = load_prompt().repair("it is not one JSON object")
    return replace(ask, repair=Repair(answer="```json\n{}\n```", complaint=complaint))


def _tool(ask: Ask) -> Ask:
    return replace(ask, model=replace(ask.model, structured="tool"))


def _json_object(ask: Ask) -> Ask:
    return replace(ask, model=replace(ask.model, structured="json_object"))


def _unheld(ask: Ask) -> Ask:
    return replace(ask, model=replace(ask.model, structured="none"))


COMMON: Mapping[str, Callable[[Ask], Ask]] = {
    "plain": lambda ask: ask,
    "overrides": _everything,
    "reasoning": _reasoning,
    "no-reasoning": _no_reasoning,
    "repair": _repair,
    "unheld": _unheld,
}
OWN: Mapping[str, Mapping[str, Callable[[Ask], Ask]]] = {
    "openai": {"json-object": _json_object},
    "anthropic": {"tool": _tool, "budget": _budget, "tool-reasoning": lambda ask: _tool(_reasoning(ask))},
    "google": {"json-object": _json_object, "budget": _budget},
}
ASKS: Mapping[str, tuple[str, Ask]] = {
    f"{provider}.{name}": (provider, change(_ask(provider)))
    for provider in FORMATS
    for name, change in {**COMMON, **OWN[provider]}.items()
}


@dataclass(frozen=True, slots=True)
class Answered:
    """A vendor's answer, as its own model, and what it must be read as."""

    provider: str
    vendor: BaseModel
    reply: Reply


def _completion(
    content: str | None, finish: Any = "stop", *, refusal: str | None = None, cached: int = 0
) -> ChatCompletion:
    message = ChatCompletionMessage(role="assistant", content=content, refusal=refusal)
    return ChatCompletion(
        id="chatcmpl-1",
        object="chat.completion",
        created=1_790_000_000,
        model="gpt-4.1-mini-2025-04-14",
        choices=[Choice(index=0, finish_reason=finish, logprobs=None, message=message)],
        usage=CompletionUsage(
            prompt_tokens=1500,
            completion_tokens=60,
            total_tokens=1560,
            prompt_tokens_details=PromptTokensDetails(cached_tokens=cached),
        ),
    )


def _message(*content: TextBlock | ToolUseBlock, stop: Any = "end_turn", cached: int = 0) -> Message:
    return Message(
        id="msg_1",
        type="message",
        role="assistant",
        model="claude-sonnet-4-5-20250929",
        content=list(content),
        stop_reason=stop,
        stop_sequence=None,
        stop_details=RefusalStopDetails(type="refusal") if stop == "refusal" else None,
        usage=AnthropicUsage(
            input_tokens=1500 - cached,
            output_tokens=60,
            cache_read_input_tokens=cached,
            cache_creation_input_tokens=0,
        ),
    )


def _generated(
    text: str, finish: google.FinishReason = google.FinishReason.STOP, *, cached: int | None = None
) -> google.GenerateContentResponse:
    thought = google.Part(text="First I compare the reasons.", thought=True)
    return google.GenerateContentResponse(
        candidates=[
            google.Candidate(
                index=0,
                content=google.Content(role="model", parts=[thought, google.Part(text=text)]),
                finish_reason=finish,
            )
        ],
        model_version="gemini-2.5-flash",
        response_id="r1",
        usage_metadata=google.GenerateContentResponseUsageMetadata(
            prompt_token_count=1500,
            cached_content_token_count=cached,
            candidates_token_count=40,
            thoughts_token_count=20,
            total_token_count=1560,
        ),
    )


def _blocked() -> google.GenerateContentResponse:
    return google.GenerateContentResponse(
        prompt_feedback=google.GenerateContentResponsePromptFeedback(
            block_reason=google.BlockedReason.SAFETY
        ),
        model_version="gemini-2.5-flash",
        usage_metadata=google.GenerateContentResponseUsageMetadata(
            prompt_token_count=1500, total_token_count=1500
        ),
    )


def _reply(model: str, text: str, stop: Stop = Stop.DONE, *, cached: int = 0, completion: int = 60) -> Reply:
    usage = Usage(prompt=1500, cached=cached, completion=completion)
    return Reply(text=text, stop=stop, model=model, usage=usage)


_GPT, _CLAUDE, _GEMINI = "gpt-4.1-mini-2025-04-14", "claude-sonnet-4-5-20250929", "gemini-2.5-flash"
_TEXT_BLOCK = TextBlock(type="text", text=TEXT)
_TOOL_BLOCK = ToolUseBlock(type="tool_use", id="toolu_1", name=TOOL, input=dict(VERDICT))

ANSWERS: Mapping[str, Answered] = {
    "openai.verdict": Answered("openai", _completion(TEXT), _reply(_GPT, TEXT)),
    "openai.cached": Answered("openai", _completion(TEXT, cached=1024), _reply(_GPT, TEXT, cached=1024)),
    "openai.refusal": Answered(
        "openai", _completion(None, refusal="I cannot help."), _reply(_GPT, "", Stop.REFUSED)
    ),
    "openai.filter": Answered("openai", _completion("", "content_filter"), _reply(_GPT, "", Stop.REFUSED)),
    "openai.length": Answered("openai", _completion('{"jus', "length"), _reply(_GPT, '{"jus', Stop.CUT)),
    "openai.empty": Answered("openai", _completion(None), _reply(_GPT, "")),
    "openai.tool-calls": Answered("openai", _completion(None, "tool_calls"), _reply(_GPT, "", Stop.UNKNOWN)),
    "anthropic.verdict": Answered("anthropic", _message(_TEXT_BLOCK), _reply(_CLAUDE, TEXT)),
    "anthropic.cached": Answered(
        "anthropic", _message(_TEXT_BLOCK, cached=1024), _reply(_CLAUDE, TEXT, cached=1024)
    ),
    "anthropic.tool": Answered("anthropic", _message(_TOOL_BLOCK, stop="tool_use"), _reply(_CLAUDE, TEXT)),
    "anthropic.refusal": Answered("anthropic", _message(stop="refusal"), _reply(_CLAUDE, "", Stop.REFUSED)),
    "anthropic.length": Answered(
        "anthropic",
        _message(TextBlock(type="text", text='{"jus'), stop="max_tokens"),
        _reply(_CLAUDE, '{"jus', Stop.CUT),
    ),
    "anthropic.window": Answered(
        "anthropic", _message(stop="model_context_window_exceeded"), _reply(_CLAUDE, "", Stop.CUT)
    ),
    "anthropic.pause": Answered("anthropic", _message(stop="pause_turn"), _reply(_CLAUDE, "", Stop.UNKNOWN)),
    "anthropic.empty": Answered("anthropic", _message(), _reply(_CLAUDE, "")),
    "google.verdict": Answered("google", _generated(TEXT), _reply(_GEMINI, TEXT)),
    "google.cached": Answered("google", _generated(TEXT, cached=1024), _reply(_GEMINI, TEXT, cached=1024)),
    "google.safety": Answered(
        "google", _generated("", google.FinishReason.SAFETY), _reply(_GEMINI, "", Stop.REFUSED)
    ),
    "google.length": Answered(
        "google", _generated('{"jus', google.FinishReason.MAX_TOKENS), _reply(_GEMINI, '{"jus', Stop.CUT)
    ),
    "google.other": Answered(
        "google", _generated("", google.FinishReason.OTHER), _reply(_GEMINI, "", Stop.UNKNOWN)
    ),
    "google.empty": Answered("google", _generated(""), _reply(_GEMINI, "")),
    "google.blocked": Answered("google", _blocked(), _reply(_GEMINI, "", Stop.REFUSED, completion=0)),
}


def request_file(name: str) -> Path:
    return GOLDEN / f"{name}.request.json"


def answer_file(name: str) -> Path:
    return GOLDEN / f"{name}.response.json"


def sent(call: Call) -> str:
    """A request as the golden file holds it."""
    return _pretty({"url": call.url, "headers": dict(call.headers), "body": call.body})


def answered(vendor: BaseModel) -> str:
    """A vendor's answer as it stands on the wire."""
    is_google = isinstance(vendor, google.GenerateContentResponse)
    return _pretty(vendor.model_dump(mode="json", by_alias=is_google, exclude_none=is_google))


def _pretty(content: object) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for name, (provider, ask) in ASKS.items():
        request_file(name).write_text(sent(FORMATS[provider].build(ask)), encoding="utf-8")
    for name, case in ANSWERS.items():
        answer_file(name).write_text(answered(case.vendor), encoding="utf-8")


if __name__ == "__main__":
    write()

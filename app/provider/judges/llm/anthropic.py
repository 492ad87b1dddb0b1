"""Anthropic's messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import ValidationError

from app.contracts.comparison import Tally
from app.contracts.wire import Tolerant
from app.provider.judges.llm.failures import envelope, not_understood
from app.provider.judges.llm.model import Structured, Usage
from app.provider.judges.llm.verdict import schema
from app.provider.judges.llm.wire import BUDGETS, Answer, Ask, Call, Listing, Reply, Stop
from app.provider.judges.protocol import JudgeError

VERSION = "2026-10-21"
"""Its requests have no temperature: what is sampled how is the provider's affair."""
TOOL = "give_verdict"
CACHED: Mapping[str, str] = {"type": "ephemeral"}

_STOPS: Mapping[str, Stop] = {
    "": Stop.DONE,  # it does not say; what was cut off is no verdict anyway
    "end_turn": Stop.DONE,
    "stop_sequence": Stop.DONE,
    "tool_use": Stop.DONE,
    "max_tokens": Stop.CUT,
    "model_context_window_exceeded": Stop.CUT,
    "refusal": Stop.REFUSED,
}


class _Block(Tolerant):
    type: str
    text: str = ""
    name: str = ""
    input: dict[str, Any] | None = None


class _Usage(Tolerant):
    input_tokens: Tally | None = None
    output_tokens: Tally | None = None
    cache_read_input_tokens: Tally | None = None
    cache_creation_input_tokens: Tally | None = None


class _Message(Tolerant):
    content: tuple[_Block, ...]
    stop_reason: str | None = None
    model: str | None = None
    usage: _Usage | None = None


class AnthropicFormat:
    """Reads and writes messages. The assignment and all before it are marked for Anthropic's prompt cache."""

    structured: ClassVar[frozenset[Structured]] = frozenset({"json_schema", "tool", "none"})
    most_temperature: ClassVar[float | None] = None

    def __init__(self, *, base_url: str, key: str = "") -> None:
        self._base = f"{base_url.rstrip('/')}/v1"
        self._headers = {"anthropic-version": VERSION} | ({"x-api-key": key.strip()} if key.strip() else {})

    def listing(self) -> Listing:
        """See `Format`."""
        return Listing(f"{self._base}/models?limit=1000", self._headers)

    def build(self, ask: Ask) -> Call:
        """See `Format`."""
        prompt = ask.prompt
        shown = [
            {"type": "text", "text": prompt.question, "cache_control": CACHED},
            {"type": "text", "text": prompt.essays},
        ]
        messages: list[dict[str, Any]] = [{"role": "user", "content": shown}]
        if ask.repair:
            messages += [
                {"role": "assistant", "content": ask.repair.answer},
                {"role": "user", "content": ask.repair.complaint},
            ]
        body: dict[str, Any] = {
            "model": ask.model.name,
            "max_tokens": ask.answer_tokens,
            "system": [{"type": "text", "text": prompt.system, "cache_control": CACHED}],
            "messages": messages,
        }
        output = _reason(ask, body)
        if ask.model.structured == "json_schema":
            output["format"] = {"type": "json_schema", "schema": schema()}
        elif ask.model.structured == "tool":
            description = "Give the verdict on the two essays."
            body["tools"] = [{"name": TOOL, "description": description, "input_schema": schema()}]
            # A model that reasons may not be forced to a tool; then the prompt alone asks for it.
            forced = ask.effort in {None, "none"}
            body["tool_choice"] = {"type": "tool", "name": TOOL} if forced else {"type": "auto"}
        if output:
            body["output_config"] = output
        return Call(f"{self._base}/messages", self._headers, body)

    def read(self, answer: Answer, *, now: float) -> Reply:
        """See `Format`."""
        message = _understood(envelope(answer, now=now))
        used = message.usage or _Usage()
        read, written = used.cache_read_input_tokens or 0, used.cache_creation_input_tokens or 0
        return Reply(
            text="".join(_text(block) for block in message.content),
            stop=_STOPS.get(message.stop_reason or "", Stop.UNKNOWN),
            model=message.model or "",
            usage=Usage(
                prompt=(used.input_tokens or 0) + read + written,
                cached=read,
                cache_written=written,
                completion=used.output_tokens or 0,
            ),
        )


def _reason(ask: Ask, body: dict[str, Any]) -> dict[str, Any]:
    """Put the effort into the body; what of it belongs into `output_config` is returned."""
    if ask.effort is None:
        return {}
    if ask.effort == "none":
        body["thinking"] = {"type": "disabled"}
    elif ask.model.reasoning == "budget":
        body["thinking"] = {"type": "enabled", "budget_tokens": BUDGETS[ask.effort]}
    else:
        body["thinking"] = {"type": "adaptive"}
        return {"effort": ask.effort}
    return {}


def _text(block: _Block) -> str:
    """The text of an answer, or a tool's input as the text it was; thinking is no part of it."""
    if block.type == "tool_use" and block.name == TOOL and block.input is not None:
        return json.dumps(block.input, ensure_ascii=False)
    return block.text if block.type == "text" else ""


def _understood(body: dict[str, Any]) -> _Message:
    fault: JudgeError
    try:
        return _Message.model_validate(body)
    except ValidationError:
        fault = not_understood("is no message")
    raise fault

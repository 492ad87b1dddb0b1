"""Google's generateContent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from app.contracts.comparison import Tally
from app.contracts.wire import Tolerant
from app.provider.judges.llm.failures import envelope, not_understood
from app.provider.judges.llm.model import Structured, Usage
from app.provider.judges.llm.verdict import schema
from app.provider.judges.llm.wire import BUDGETS, Answer, Ask, Call, Listing, Reply, Stop
from app.provider.judges.protocol import JudgeError

_REFUSALS = (
    "SAFETY RECITATION LANGUAGE BLOCKLIST PROHIBITED_CONTENT SPII IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT"
    " IMAGE_RECITATION ESCALATION PUP_LIMITED_DISABLED MODEL_ARMOR"
)
_STOPS: Mapping[str, Stop] = {
    "": Stop.DONE,  # it does not say; what was cut off is no verdict anyway
    "STOP": Stop.DONE,
    "MAX_TOKENS": Stop.CUT,
    "CONTINUATION": Stop.CUT,
    "MALFORMED_RESPONSE": Stop.BROKEN,
    **dict.fromkeys(_REFUSALS.split(), Stop.REFUSED),
}


class _Read(Tolerant):
    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True)


class _Part(_Read):
    text: str = ""
    thought: bool = False


class _Content(_Read):
    parts: tuple[_Part, ...] = ()


class _Candidate(_Read):
    content: _Content | None = None
    finish_reason: str | None = None


class _Feedback(_Read):
    block_reason: str | None = None


class _Usage(_Read):
    prompt_token_count: Tally | None = None
    cached_content_token_count: Tally | None = None
    candidates_token_count: Tally | None = None
    thoughts_token_count: Tally | None = None


class _Generated(_Read):
    candidates: tuple[_Candidate, ...] = ()
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    model_version: str | None = None


class GoogleFormat:
    """Reads and writes generateContent. The key goes in a header, never in the URL, which others may log.

    Google's cache works by itself on what prompts have in common at their beginning. Some names of
    models ("-latest") are known to "v1beta" only, which is not asked here.
    """

    structured: ClassVar[frozenset[Structured]] = frozenset({"json_schema", "json_object", "none"})
    most_temperature: ClassVar[float | None] = 2.0

    def __init__(self, *, base_url: str, key: str = "") -> None:
        self._models = f"{base_url.rstrip('/')}/v1/models"
        self._headers = {"x-goog-api-key": key.strip()} if key.strip() else {}

    def listing(self) -> Listing:
        """See `Format`."""
        return Listing(f"{self._models}?pageSize=1000", self._headers)

    def build(self, ask: Ask) -> Call:
        """See `Format`."""
        turns = [("user", ask.prompt.user)]
        if ask.repair:
            turns += [("model", ask.repair.answer), ("user", ask.repair.complaint)]
        config: dict[str, Any] = {"maxOutputTokens": ask.answer_tokens}
        if ask.temperature is not None:
            config["temperature"] = ask.temperature
        if ask.effort is not None:
            config["thinkingConfig"] = _thinking(ask)
        if ask.model.structured != "none":
            config["responseMimeType"] = "application/json"
        if ask.model.structured == "json_schema":
            config["responseSchema"] = _google_schema()
        body = {
            "systemInstruction": {"parts": [{"text": ask.prompt.system}]},
            "contents": [{"role": role, "parts": [{"text": text}]} for role, text in turns],
            "generationConfig": config,
        }
        return Call(f"{self._models}/{quote(ask.model.name, safe='')}:generateContent", self._headers, body)

    def read(self, answer: Answer, *, now: float) -> Reply:
        """See `Format`."""
        generated = _understood(envelope(answer, now=now))
        used = generated.usage_metadata or _Usage()
        text, stop = "", Stop.REFUSED  # a blocked prompt has no candidate
        if generated.candidates:
            candidate = generated.candidates[0]
            parts = candidate.content.parts if candidate.content else ()
            text = "".join(part.text for part in parts if not part.thought)
            stop = _STOPS.get(candidate.finish_reason or "", Stop.UNKNOWN)
        return Reply(
            text=text,
            stop=stop,
            model=generated.model_version or "",
            usage=Usage(
                prompt=used.prompt_token_count or 0,
                cached=used.cached_content_token_count or 0,
                completion=(used.candidates_token_count or 0) + (used.thoughts_token_count or 0),
            ),
        )


def _thinking(ask: Ask) -> dict[str, Any]:
    if ask.effort is not None and (ask.model.reasoning == "budget" or ask.effort == "none"):
        return {"thinkingBudget": BUDGETS[ask.effort]}
    return {"thinkingLevel": str(ask.effort).upper()}


def _google_schema() -> dict[str, Any]:
    """The schema in Google's own part of the language: types in capitals, an order, and no word on other members."""
    plain = schema()
    members = {
        name: {**member, "type": member["type"].upper()} for name, member in plain["properties"].items()
    }
    return {
        "type": "OBJECT",
        "properties": members,
        "required": plain["required"],
        "propertyOrdering": plain["required"],
    }


def _understood(body: dict[str, Any]) -> _Generated:
    fault: JudgeError
    try:
        generated = _Generated.model_validate(body)
    except ValidationError:
        fault = not_understood("is nothing that generateContent answers")
    else:
        blocked = generated.prompt_feedback is not None and generated.prompt_feedback.block_reason
        if generated.candidates or blocked:
            return generated
        fault = not_understood("holds no candidate")
    raise fault

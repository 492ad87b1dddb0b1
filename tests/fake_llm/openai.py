"""OpenAI's chat completions."""

from __future__ import annotations

import re
from typing import Any

from tests.fake_llm.dialect import Ask, Completion, Denied, Fault, Quota, Stop, dump, read_json
from tests.fake_llm.http import Answer, Request
from tests.fake_llm.openai_request import Body, SchemaFormat
from tests.fake_llm.schema_rules import openai_flaw
from tests.fake_llm.validation import Flaw, read_strictly

CREATED = 1_764_000_000
# Models that reason take neither `max_tokens` nor a temperature; older ones no effort. Other names are not judged.
REASONS = re.compile(r"(^|/)(o\d|gpt-5)")
PLAIN = re.compile(r"(^|/)gpt-(3|4)")
STOPS = {Stop.DONE: "stop", Stop.LENGTH: "length", Stop.REFUSAL: "stop", Stop.FILTERED: "content_filter"}
FAULTS: dict[Fault, tuple[int, str, str | None, str]] = {
    Fault.INVALID: (400, "invalid_request_error", None, ""),
    Fault.KEY_MISSING: (401, "invalid_request_error", None, "You didn't provide an API key."),
    Fault.KEY_WRONG: (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    Fault.MODEL_UNKNOWN: (404, "invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    Fault.NO_SUCH_PATH: (404, "invalid_request_error", None, "Invalid URL."),
    Fault.RATE: (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests per min (RPM)."),
    Fault.QUOTA: (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota, please check your plan and billing details."),
    Fault.PAYMENT: (402, "invalid_request_error", "insufficient_balance", "Insufficient Balance"),
    Fault.FILTERED: (400, "invalid_request_error", "content_filter", "The prompt was rejected by the content filter."),
    Fault.SERVER: (500, "server_error", None, "The server had an error while processing your request. Sorry about that!"),
    Fault.UNAVAILABLE: (503, "server_error", None, "The engine is currently overloaded, please try again later."),
    Fault.OVERLOADED: (529, "server_error", None, "That model is currently overloaded with other requests."),
}  # fmt: skip


class OpenAI:
    """`POST …/v1/chat/completions` under any prefix, as the vendors that are compatible have theirs."""

    name = "openai"

    def serves(self, request: Request) -> bool:
        return request.path.endswith("/v1/chat/completions")

    def key(self, request: Request) -> str | None:
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        return key.strip() or None if kind.lower() == "bearer" else None

    def read(self, request: Request) -> Ask:
        try:
            body = read_strictly(Body, read_json(request.body))
        except Flaw as flaw:
            raise _denied(flaw) from flaw
        _check_model(body)
        schema, tool = _output(body)
        return Ask(
            model=body.model,
            prompt="\n".join(message.text() for message in body.messages),
            schema=schema,
            tool=tool,
            max_tokens=body.max_completion_tokens or body.max_tokens,
        )

    def write(self, ask: Ask, completion: Completion, *, request_id: str) -> bytes:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": completion.text,
            "refusal": None,
            "annotations": [],
        }
        finish = STOPS[completion.stop]
        if completion.stop is Stop.REFUSAL:
            message |= {"content": None, "refusal": completion.text}
        elif ask.tool and not completion.prose:
            call = {"name": ask.tool, "arguments": completion.text}
            message |= {
                "content": None,
                "tool_calls": [{"id": f"call_{request_id}", "type": "function", "function": call}],
            }
            finish = "tool_calls"
        usage = completion.usage
        return dump(
            {
                "id": f"chatcmpl-{request_id}",
                "object": "chat.completion",
                "created": CREATED,
                "model": completion.model,
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
                "usage": {
                    "prompt_tokens": usage.input,
                    "completion_tokens": usage.output,
                    "total_tokens": usage.input + usage.output,
                    "prompt_tokens_details": {"cached_tokens": usage.cached, "audio_tokens": 0},
                    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
                },
                "service_tier": "default",
                "system_fingerprint": "fp_fake",
            }
        )

    def deny(self, denied: Denied, *, request_id: str) -> Answer:
        status, kind, code, words = FAULTS[denied.fault]
        message = denied.message or words
        if denied.wait is not None:
            message += f" Please try again in {denied.wait:.3f}s."
        error = {"message": message, "type": kind, "param": denied.where, "code": denied.code or code}
        return Answer(status, dump({"error": error}))

    def headers(self, *, request_id: str, quota: Quota | None) -> dict[str, str]:
        headers = {
            "x-request-id": f"req_{request_id}",
            "openai-version": "2020-10-01",
            "openai-processing-ms": "1",
        }
        if quota is not None:
            headers |= {
                "x-ratelimit-limit-requests": str(quota.limit),
                "x-ratelimit-remaining-requests": str(quota.left),
                "x-ratelimit-reset-requests": f"{quota.reset:.3f}s",
            }
        return headers


def _denied(flaw: Flaw) -> Denied:
    path = flaw.indexed()
    match flaw.kind:
        case "missing":
            message, code = f"Missing required parameter: '{path}'.", "missing_required_parameter"
        case "unknown" if len(flaw.path) == 1:
            return Denied(Fault.INVALID, f"Unrecognized request argument supplied: {path}")
        case "unknown":
            message, code = f"Unknown parameter: '{path}'.", "unknown_parameter"
        case _:
            message, code = f"Invalid value for '{path}': {flaw.message}.", "invalid_value"
    return Denied(Fault.INVALID, message, where=path, code=code)


def _check_model(body: Body) -> None:
    if REASONS.search(body.model):
        if body.max_tokens is not None:
            raise Denied(
                Fault.INVALID,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                where="max_tokens",
                code="unsupported_parameter",
            )
        if body.temperature not in {None, 1}:
            raise Denied(
                Fault.INVALID,
                "Unsupported value: 'temperature' does not support this value with this model. Only the default (1) value is supported.",
                where="temperature",
                code="unsupported_value",
            )
    if PLAIN.search(body.model) and body.reasoning_effort is not None:
        raise Denied(Fault.INVALID, "Unrecognized request argument supplied: reasoning_effort")


def _output(body: Body) -> tuple[dict[str, Any] | None, str | None]:
    """The schema of the answer, and the function to call when there is one."""
    if isinstance(body.response_format, SchemaFormat):
        asked = body.response_format.json_schema
        if asked.strict and (flaw := openai_flaw(asked.schema_)):
            message = f"Invalid schema for response_format '{asked.name}': {flaw}"
            raise Denied(Fault.INVALID, message, where="response_format")
        return asked.schema_, None
    words = " ".join(message.text() for message in body.messages)
    if body.response_format and body.response_format.type == "json_object" and "json" not in words.lower():
        raise Denied(
            Fault.INVALID,
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'.",
            where="messages",
        )
    if body.tools and body.tool_choice != "none":
        function = body.tools[0].function
        if function.strict and (flaw := openai_flaw(function.parameters)):
            message = f"Invalid schema for function '{function.name}': {flaw}"
            raise Denied(Fault.INVALID, message, where="tools[0].function.parameters")
        return function.parameters, function.name
    return None, None

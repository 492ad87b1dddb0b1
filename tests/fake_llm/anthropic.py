"""Anthropic's messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.fake_llm.anthropic_request import (
    VERSIONS,
    Body,
    Message,
    SampledBody,
    TextBlock,
    ToolResult,
    ToolUse,
)
from tests.fake_llm.dialect import Ask, Completion, Denied, Fault, Quota, Stop, dump, read_json
from tests.fake_llm.http import Answer, Request
from tests.fake_llm.schema_rules import anthropic_flaw
from tests.fake_llm.validation import Flaw, read_strictly

MOST_BREAKPOINTS = 4
# Stands for the input of a tool until the body is JSON, so that the model's words get there as they are.
INPUT = "b6f7c3f2-the-input-of-the-tool"
REFUSED = {"type": "refusal", "category": None, "explanation": None}
STOPS = {Stop.DONE: "end_turn", Stop.LENGTH: "max_tokens", Stop.REFUSAL: "refusal", Stop.FILTERED: "refusal"}
FAULTS: dict[Fault, tuple[int, str, str]] = {
    Fault.INVALID: (400, "invalid_request_error", ""),
    Fault.KEY_MISSING: (401, "authentication_error", "x-api-key header is required"),
    Fault.KEY_WRONG: (401, "authentication_error", "invalid x-api-key"),
    Fault.MODEL_UNKNOWN: (404, "not_found_error", "model: not found"),
    Fault.NO_SUCH_PATH: (404, "not_found_error", "Not Found"),
    Fault.RATE: (429, "rate_limit_error", "This request would exceed your organization's rate limit of requests per minute."),
    Fault.QUOTA: (429, "rate_limit_error", "The organization has crossed its spend limit."),
    Fault.PAYMENT: (402, "billing_error", "There is an issue with your billing or payment information."),
    Fault.FILTERED: (400, "invalid_request_error", "Output blocked by content filtering policy"),
    Fault.SERVER: (500, "api_error", "Internal server error"),
    Fault.UNAVAILABLE: (503, "api_error", "Service unavailable"),
    Fault.OVERLOADED: (529, "overloaded_error", "Overloaded"),
}  # fmt: skip


class Anthropic:
    """`POST /v1/messages`."""

    name = "anthropic"

    def serves(self, request: Request) -> bool:
        return request.path == "/v1/messages"

    def key(self, request: Request) -> str | None:
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        bearer = key.strip() if kind.lower() == "bearer" else ""
        return request.headers.get("x-api-key") or bearer or None

    def read(self, request: Request) -> Ask:
        version = request.headers.get("anthropic-version", "")
        if version not in VERSIONS:
            lack = f'"{version[:20]}" is not a valid version' if version else "header is required"
            raise Denied(Fault.INVALID, f"anthropic-version: {lack}")
        try:
            body = read_strictly(VERSIONS[version], read_json(request.body))
        except Flaw as flaw:
            words = {"missing": "Field required", "unknown": "Extra inputs are not permitted"}
            message = f"{flaw.dotted()}: {words.get(flaw.kind, flaw.message)}"
            raise Denied(Fault.INVALID, message) from flaw
        _check_thinking(body)
        _check_turns(body.messages)
        schema, tool = _output(body)
        parts = list(_parts(body))
        marked = [number for number, (_, cached) in enumerate(parts) if cached]
        if len(marked) > MOST_BREAKPOINTS:
            message = f"A maximum of 4 blocks with cache_control may be provided. Found {len(marked)}."
            raise Denied(Fault.INVALID, message)
        return Ask(
            model=body.model,
            prompt="\n".join(text for text, _ in parts),
            schema=schema,
            tool=tool,
            max_tokens=body.max_tokens,
            constant="\n".join(text for text, _ in parts[: marked[-1] + 1]) if marked else "",
        )

    def write(self, ask: Ask, completion: Completion, *, request_id: str) -> bytes:
        stop, raw = STOPS[completion.stop], None
        content: list[dict[str, Any]] = [{"type": "text", "text": completion.text}]
        if completion.stop is Stop.REFUSAL or not completion.text:
            content = []
        elif ask.tool and not completion.prose:
            content = [{"type": "tool_use", "id": f"toolu_{request_id}", "name": ask.tool, "input": INPUT}]
            stop, raw = "tool_use", completion.text.encode()
        usage = completion.usage
        body = dump(
            {
                "id": f"msg_{request_id}",
                "type": "message",
                "role": "assistant",
                "model": completion.model,
                "content": content,
                "stop_reason": stop,
                "stop_sequence": None,
                "stop_details": REFUSED if stop == "refusal" else None,
                "usage": {
                    "input_tokens": usage.input - usage.cached - usage.written,
                    "cache_creation_input_tokens": usage.written,
                    "cache_read_input_tokens": usage.cached,
                    "cache_creation": {
                        "ephemeral_5m_input_tokens": usage.written,
                        "ephemeral_1h_input_tokens": 0,
                    },
                    "output_tokens": usage.output,
                    "service_tier": "standard",
                },
            }
        )
        return body if raw is None else body.replace(json.dumps(INPUT).encode(), raw)

    def deny(self, denied: Denied, *, request_id: str) -> Answer:
        status, kind, words = FAULTS[denied.fault]
        error: dict[str, Any] = {"type": kind, "message": denied.message or words}
        if denied.fault is Fault.QUOTA:
            error["details"] = {"error_code": "enforced_spend_limit_reached"}
        return Answer(status, dump({"type": "error", "error": error, "request_id": f"req_{request_id}"}))

    def headers(self, *, request_id: str, quota: Quota | None) -> dict[str, str]:
        headers = {"request-id": f"req_{request_id}", "anthropic-organization-id": "fake"}
        if quota is not None:
            reset = datetime.now(UTC) + timedelta(seconds=quota.reset)
            headers |= {
                "anthropic-ratelimit-requests-limit": str(quota.limit),
                "anthropic-ratelimit-requests-remaining": str(quota.left),
                "anthropic-ratelimit-requests-reset": reset.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        return headers


def _check_thinking(body: Body) -> None:
    if body.thinking is None or body.thinking.type == "disabled":
        return
    if body.thinking.type == "enabled":
        if body.thinking.budget_tokens is None:
            raise Denied(Fault.INVALID, "thinking.enabled.budget_tokens: Field required")
        if body.thinking.budget_tokens >= body.max_tokens:
            raise Denied(Fault.INVALID, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    if isinstance(body, SampledBody) and body.temperature not in {None, 1}:
        raise Denied(Fault.INVALID, "`temperature` may only be set to 1 when thinking is enabled.")
    if body.tool_choice is not None and body.tool_choice.type in {"any", "tool"}:
        raise Denied(Fault.INVALID, "Thinking may not be enabled when tool_choice forces tool use.")


def _check_turns(messages: Sequence[Message]) -> None:
    if messages[0].role != "user":
        raise Denied(Fault.INVALID, 'messages: first message must use the "user" role')
    for number, message in enumerate(messages):
        used = {block.id for block in message.blocks() if isinstance(block, ToolUse)}
        following = messages[number + 1].blocks() if number + 1 < len(messages) else ()
        answered = {block.tool_use_id for block in following if isinstance(block, ToolResult)}
        if used - answered:
            raise Denied(
                Fault.INVALID,
                f"messages.{number + 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(sorted(used - answered))}.",
            )


def _output(body: Body) -> tuple[dict[str, Any] | None, str | None]:
    """The schema of the answer, and the tool to call when there is one."""
    if body.output_config and body.output_config.format:
        schema = body.output_config.format.schema_
        if flaw := anthropic_flaw(schema):
            raise Denied(Fault.INVALID, f"output_config.format.schema: {flaw}")
        return schema, None
    tools, choice = body.tools or [], body.tool_choice
    for number, tool in enumerate(tools):
        if tool.input_schema.get("type") != "object":
            raise Denied(Fault.INVALID, f"tools.{number}.custom.input_schema.type: Input should be 'object'")
        if tool.strict and (flaw := anthropic_flaw(tool.input_schema)):
            raise Denied(Fault.INVALID, f"tools.{number}.custom: {flaw}")
    if choice is not None and choice.type == "tool":
        tools = [tool for tool in tools if tool.name == choice.name]
        if not tools:
            raise Denied(Fault.INVALID, f"Tool '{choice.name}' not found in provided tools")
    if not tools or (choice is not None and choice.type == "none"):
        return None, None
    return tools[0].input_schema, tools[0].name


def _parts(body: Body) -> Iterator[tuple[str, bool]]:
    """The prompt as the cache sees it, in order, each part with whether a breakpoint follows it."""
    for tool in body.tools or ():
        yield json.dumps(tool.input_schema), tool.cache_control is not None
    if isinstance(body.system, str):
        yield body.system, False
    for part in body.system if isinstance(body.system, list) else ():
        yield part.text, part.cache_control is not None
    blocks = [block for message in body.messages for block in message.blocks()]
    for block in blocks:
        whole = body.cache_control is not None and block is blocks[-1]
        yield _text(block), whole or block.cache_control is not None


def _text(block: TextBlock | ToolUse | ToolResult) -> str:
    if isinstance(block, TextBlock):
        return block.text
    if isinstance(block, ToolUse):
        return json.dumps(block.input)
    if isinstance(block.content, str):
        return block.content
    return "\n".join(part.text for part in block.content or ())

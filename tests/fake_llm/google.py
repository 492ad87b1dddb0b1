"""Google's generateContent."""

from __future__ import annotations

import re
from typing import Any

from pydantic.alias_generators import to_camel

from tests.fake_llm.dialect import Ask, Completion, Denied, Fault, Quota, Stop, dump, read_json
from tests.fake_llm.google_request import Body, GenerationConfig
from tests.fake_llm.http import Answer, Request
from tests.fake_llm.schema_rules import google_flaw
from tests.fake_llm.validation import Flaw, read_strictly

PATH = re.compile(r"^/v1(?:beta)?/models/(?P<model>[^/:]+):generateContent$")
SERVICE = "generativelanguage.googleapis.com"
TYPE = "type.googleapis.com/google.rpc."
STOPS = {Stop.DONE: "STOP", Stop.LENGTH: "MAX_TOKENS", Stop.FILTERED: "SAFETY"}
FAULTS: dict[Fault, tuple[int, str, str]] = {
    Fault.INVALID: (400, "INVALID_ARGUMENT", ""),
    Fault.KEY_MISSING: (403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API consumer identity to call this API."),
    Fault.KEY_WRONG: (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    Fault.MODEL_UNKNOWN: (404, "NOT_FOUND", "The model is not found for API version v1beta, or is not supported for generateContent."),
    Fault.NO_SUCH_PATH: (404, "NOT_FOUND", "Requested entity was not found."),
    Fault.RATE: (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    Fault.QUOTA: (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    Fault.PAYMENT: (402, "FAILED_PRECONDITION", "Billing is not enabled for this project."),
    Fault.FILTERED: (400, "INVALID_ARGUMENT", "The request was blocked."),
    Fault.SERVER: (500, "INTERNAL", "An internal error has occurred. Please retry."),
    Fault.UNAVAILABLE: (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    Fault.OVERLOADED: (529, "UNAVAILABLE", "The model is overloaded. Please try again later."),
}  # fmt: skip


class Google:
    """`POST /v1beta/models/{model}:generateContent`."""

    name = "google"

    def serves(self, request: Request) -> bool:
        return PATH.search(request.path) is not None

    def key(self, request: Request) -> str | None:
        return request.headers.get("x-goog-api-key") or request.query.get("key") or None

    def read(self, request: Request) -> Ask:
        path = PATH.search(request.path)
        assert path is not None
        raw = read_json(request.body)
        try:
            body = read_strictly(Body, raw)
        except Flaw as flaw:
            raise _denied(flaw) from flaw
        config = body.generation_config or GenerationConfig()
        instruction = [body.system_instruction] if body.system_instruction else []
        return Ask(
            model=path["model"],
            prompt="\n".join(content.text() for content in (*instruction, *body.contents)),
            schema=_schema(config),
            max_tokens=config.max_output_tokens,
        )

    def write(self, ask: Ask, completion: Completion, *, request_id: str) -> bytes:
        usage = completion.usage
        counted: dict[str, Any] = {
            "promptTokenCount": usage.input,
            "totalTokenCount": usage.input,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": usage.input}],
        }
        if usage.cached:
            counted["cachedContentTokenCount"] = usage.cached
            counted["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": usage.cached}]
        answer: dict[str, Any] = {
            "usageMetadata": counted,
            "modelVersion": completion.model,
            "responseId": request_id,
        }
        if completion.stop is Stop.REFUSAL:
            return dump({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, **answer})
        counted |= {"candidatesTokenCount": usage.output, "totalTokenCount": usage.input + usage.output}
        candidate: dict[str, Any] = {"index": 0, "finishReason": STOPS[completion.stop]}
        if completion.stop is Stop.FILTERED:
            rating = {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}
            candidate["safetyRatings"] = [rating]
        else:
            parts = {"parts": [{"text": completion.text}]} if completion.text else {}
            candidate["content"] = {**parts, "role": "model"}
        return dump({"candidates": [candidate], **answer})

    def deny(self, denied: Denied, *, request_id: str) -> Answer:
        status, word, words = FAULTS[denied.fault]
        error: dict[str, Any] = {"code": status, "message": denied.message or words, "status": word}
        if details := _details(denied):
            error["details"] = details
        return Answer(status, dump({"error": error}))

    def headers(self, *, request_id: str, quota: Quota | None) -> dict[str, str]:
        return {"server-timing": "gfet4t7; dur=1", "vary": "Origin, X-Origin, Referer"}


def _denied(flaw: Flaw) -> Denied:
    *above, last = (_snake(part) for part in flaw.path)
    where = ".".join(above)
    match flaw.kind:
        case "unknown":
            at = f" at '{where}'" if where else ""
            message = f'Invalid JSON payload received. Unknown name "{flaw.path[-1]}"{at}: Cannot find field.'
        case "missing":
            message = f"* GenerateContentRequest.{'.'.join([*above, last])}: is not specified\n"
        case _:
            message = f"Invalid value at '{'.'.join([*above, last])}': {flaw.message}"
    return Denied(Fault.INVALID, message, where=where)


def _snake(part: str | int) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(part)).lower()


def _schema(config: GenerationConfig) -> dict[str, Any] | None:
    schema = None if config.response_schema is None else _camel(config.response_schema)
    if schema is not None and config.response_json_schema is not None:
        raise Denied(Fault.INVALID, "Only one of response_schema and response_json_schema may be set.")
    if schema is not None and (flaw := google_flaw(schema)):
        raise Denied(Fault.INVALID, flaw)
    schema = schema if schema is not None else config.response_json_schema
    if schema is not None and config.response_mime_type != "application/json":
        raise Denied(
            Fault.INVALID,
            "* GenerateContentRequest.generation_config.response_schema: only allowed when response_mime_type is application/json\n",
        )
    return schema


def _camel(schema: dict[str, Any]) -> dict[str, Any]:
    """Its words in camel case, as Google takes both; the names of properties stay."""
    plain = {to_camel(word): value for word, value in schema.items()}
    if isinstance(properties := plain.get("properties"), dict):
        plain["properties"] = {name: _camel(each) for name, each in properties.items()}
    if isinstance(items := plain.get("items"), dict):
        plain["items"] = _camel(items)
    if isinstance(options := plain.get("anyOf"), list):
        plain["anyOf"] = [_camel(each) for each in options]
    return plain


def _details(denied: Denied) -> list[dict[str, Any]]:
    match denied.fault:
        case Fault.KEY_WRONG:
            info = {"reason": "API_KEY_INVALID", "domain": "googleapis.com", "metadata": {"service": SERVICE}}
            return [{"@type": f"{TYPE}ErrorInfo", **info}]
        case Fault.QUOTA:
            violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}
            return [{"@type": f"{TYPE}QuotaFailure", "violations": [violation]}]
        case Fault.INVALID if denied.message.startswith("Invalid"):
            violation = {"field": denied.where or "", "description": denied.message}
            return [{"@type": f"{TYPE}BadRequest", "fieldViolations": [violation]}]
    return [] if denied.wait is None else [{"@type": f"{TYPE}RetryInfo", "retryDelay": f"{denied.wait:.3f}s"}]

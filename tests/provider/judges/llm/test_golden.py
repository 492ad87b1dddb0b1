"""What is sent validates as the vendors' own types, what is read is what their own models write."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from anthropic.types import Message
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from google.genai import Client
from google.genai import types as google
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import BaseModel, TypeAdapter

from app.provider.judges.llm.google import GoogleFormat
from app.provider.judges.llm.wire import Answer
from tests.provider.judges.llm.pairs import (
    ANSWERS,
    ASKS,
    FORMATS,
    KEY,
    MODELS,
    PROMPT,
    answer_file,
    answered,
    request_file,
    sent,
)

AGAIN = "run: python -m tests.provider.judges.llm.pairs"


def asked(provider: str) -> list[str]:
    return [name for name, (whose, _) in ASKS.items() if whose == provider]


def body_of(name: str) -> dict[str, Any]:
    body = json.loads(request_file(name).read_text(encoding="utf-8"))["body"]
    assert isinstance(body, dict)
    return body


def exhausted(value: Any) -> Any:
    """Validators of iterables are lazy: walk them, so that every part is validated."""
    if isinstance(value, Mapping):
        return {key: exhausted(member) for key, member in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [exhausted(member) for member in value]
    return value


@pytest.mark.parametrize("name", ASKS)
def test_what_is_sent_is_what_the_golden_file_holds(name: str) -> None:
    provider, ask = ASKS[name]
    assert sent(FORMATS[provider].build(ask)) == request_file(name).read_text(encoding="utf-8"), AGAIN


@pytest.mark.parametrize("name", asked("openai"))
def test_openai_takes_every_request_and_knows_every_field(name: str) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)
    assert exhausted(adapter.validate_python(body_of(name))) == body_of(name)


@pytest.mark.parametrize("name", asked("anthropic"))
def test_anthropic_takes_every_request_and_knows_every_field(name: str) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
    assert exhausted(adapter.validate_python(body_of(name))) == body_of(name)


@pytest.mark.parametrize("name", asked("google"))
def test_google_takes_every_request_and_knows_every_field(name: str) -> None:
    body = body_of(name)
    assert set(body) == {"contents", "systemInstruction", "generationConfig"}
    parts: list[tuple[type[BaseModel], Any]] = [(google.Content, content) for content in body["contents"]]
    parts += [
        (google.Content, body["systemInstruction"]),
        (google.GenerationConfig, body["generationConfig"]),
    ]
    for model, part in parts:
        read = model.model_validate(part)
        assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == part


def test_google_gets_what_its_own_client_would_send() -> None:
    ours = body_of("google.overrides")
    config = google.GenerateContentConfig(
        system_instruction=ours["systemInstruction"]["parts"][0]["text"],
        max_output_tokens=300,
        temperature=0.5,
        response_mime_type="application/json",
        response_schema=google.Schema.model_validate(ours["generationConfig"]["responseSchema"]),
    )
    with recorder(answer_file("google.verdict").read_bytes()) as (url, seen):
        client = Client(api_key=KEY, vertexai=False, http_options=google.HttpOptions(base_url=url))
        client.models.generate_content(model=MODELS["google"], contents=PROMPT.user, config=config)
        client.close()
        path, headers, theirs = seen[0]
        assert url + path == GoogleFormat(base_url=url).build(ASKS["google.plain"][1]).url
    assert headers["x-goog-api-key"] == KEY
    theirs["systemInstruction"].pop("role", None)
    schema = theirs["generationConfig"]["responseSchema"]
    schema["propertyOrdering"] = schema.pop(
        "property_ordering"
    )  # JSON of protocol buffers takes both spellings
    assert theirs == ours


@pytest.mark.parametrize("name", ANSWERS)
def test_the_answers_are_what_the_vendors_models_write(name: str) -> None:
    assert answered(ANSWERS[name].vendor) == answer_file(name).read_text(encoding="utf-8"), AGAIN
    model = {"openai": ChatCompletion, "anthropic": Message, "google": google.GenerateContentResponse}
    vendor = model[ANSWERS[name].provider].model_validate_json(answer_file(name).read_bytes())  # type: ignore[attr-defined]
    assert answered(vendor) == answered(ANSWERS[name].vendor)


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_is_read_as_what_it_says(name: str) -> None:
    case = ANSWERS[name]
    answer = Answer(200, {}, answer_file(name).read_bytes())
    assert FORMATS[case.provider].read(answer, now=0.0) == case.reply


def test_the_constant_part_comes_first_and_is_marked_for_the_cache() -> None:
    system = body_of("anthropic.plain")["system"]
    shown = body_of("anthropic.plain")["messages"][0]["content"]
    assert system[-1]["cache_control"] == shown[0]["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in shown[1]
    assert shown[0]["text"] + shown[1]["text"] == PROMPT.user
    assert body_of("openai.plain")["messages"][1]["content"] == PROMPT.user


@contextmanager
def recorder(answer: bytes) -> Iterator[tuple[str, list[tuple[str, Mapping[str, str], dict[str, Any]]]]]:
    """A server that keeps what it is sent."""
    seen: list[tuple[str, Mapping[str, str], dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()

"""What OpenAI takes as a chat completion. Streams, sound and search are left out: nobody here asks for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tests.fake_llm.validation import Strict


class TextPart(Strict):
    type: Literal["text"]
    text: str


class Message(Strict):
    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], Field(min_length=1)] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    def text(self) -> str:
        """All its words."""
        return (
            self.content
            if isinstance(self.content, str)
            else "\n".join(part.text for part in self.content or ())
        )


class JSONSchema(Strict):
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class SchemaFormat(Strict):
    type: Literal["json_schema"]
    json_schema: JSONSchema


class PlainFormat(Strict):
    type: Literal["text", "json_object"]


class Function(Strict):
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    strict: bool | None = None


class Tool(Strict):
    type: Literal["function"]
    function: Function


class Body(Strict):
    model: str
    messages: list[Message] = Field(min_length=1)
    response_format: Annotated[SchemaFormat | PlainFormat, Field(discriminator="type")] | None = None
    tools: list[Tool] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    seed: int | None = None
    n: Literal[1] | None = None
    stop: str | list[str] | None = None
    stream: Literal[False] | None = None
    store: bool | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    prompt_cache_options: dict[str, Any] | None = None
    safety_identifier: str | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    logprobs: Literal[False] | None = None
    logit_bias: dict[str, float] | None = None

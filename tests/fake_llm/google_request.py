"""What Google takes as generateContent. Tools and files are left out: nobody here sends them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from tests.fake_llm.validation import Strict


class Proto(Strict):
    """A message of Google's: fields by their names in camel case or in snake case."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class Part(Proto):
    text: str
    thought: bool | None = None
    thought_signature: str | None = None


class Content(Proto):
    role: Literal["user", "model"] | None = None
    parts: list[Part] = Field(min_length=1)

    def text(self) -> str:
        """All its words."""
        return "\n".join(part.text for part in self.parts)


class Thinking(Proto):
    include_thoughts: bool | None = None
    thinking_budget: int | None = Field(default=None, ge=-1)
    thinking_level: Annotated[str, Field(pattern=r"^(?i:minimal|low|medium|high|xhigh)$")] | None = None


class GenerationConfig(Proto):
    response_mime_type: Literal["text/plain", "application/json", "text/x.enum"] | None = None
    response_schema: dict[str, Any] | None = None
    response_json_schema: dict[str, Any] | None = None
    max_output_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: float | None = Field(default=None, ge=1)
    candidate_count: Literal[1] | None = None
    stop_sequences: list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = Field(default=None, ge=-2, lt=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, lt=2)
    thinking_config: Thinking | None = None


class SafetySetting(Proto):
    category: Annotated[str, Field(pattern=r"^HARM_CATEGORY_[A-Z_]+$")]
    threshold: Literal[
        "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH", "BLOCK_NONE", "OFF"
    ]


class Body(Proto):
    model: str | None = None
    contents: list[Content] = Field(min_length=1)
    system_instruction: Content | None = None
    generation_config: GenerationConfig | None = None
    safety_settings: list[SafetySetting] | None = None
    service_tier: str | None = None
    store: bool | None = None

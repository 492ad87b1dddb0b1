"""What a language model is shown: the constant part first, then two essays as data it cannot mistake for orders.

A template is one file, `prompts/<version>.txt`, in sections. A changed word is a new file with a new name: verdicts
carry the version, and judges are compared by it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from string import Template

from app.contracts import LLMComparisonRequest
from app.errors import ConfigurationError

VERSION = "comparison-v1"
PROMPTS = Path(__file__).parent / "prompts"
SECTIONS = ("role", "rules", "question", "essays", "repair")
MARK_LENGTH = 16

_HEADER = re.compile(r"^\[(\w+)\]\n", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt as it is sent: `system`, then a user's turn of `question` followed at once by `essays`.

    `system` and `question` are the same for every pair of a batch, so that providers can keep them in their caches.
    """

    version: str
    system: str
    question: str
    essays: str

    @property
    def user(self) -> str:
        """The user's turn in one piece."""
        return self.question + self.essays

    @property
    def sha256(self) -> str:
        """The sha256, in hex, of the JSON array of `system` and `user`, UTF-8, without spaces."""
        texts = json.dumps([self.system, self.user], ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(texts.encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of UTF-8."""
        return len(self.system.encode()) + len(self.user.encode())


class PromptTemplate:
    """The sections of one version."""

    def __init__(self, version: str, text: str) -> None:
        _, *parts = _HEADER.split(text)
        sections = dict(zip(parts[::2], parts[1::2], strict=True))
        if tuple(sections) != SECTIONS:
            raise ConfigurationError(f"prompt {version}: its sections must be {', '.join(SECTIONS)}")
        self.version = version
        self._role, self._rules = sections["role"].strip(), sections["rules"].strip()
        self._question = Template(sections["question"].strip() + "\n\n")
        self._essays = Template(sections["essays"].strip())
        self._repair = Template(sections["repair"].strip())

    def write(self, request: LLMComparisonRequest) -> Prompt:
        """The prompt of this request; the same request always gets the same one.

        A `system_prompt` of the request stands in place of the role; the rules stay.
        """
        texts = (request.user_prompt, request.essay_a, request.essay_b)
        return Prompt(
            version=self.version,
            system=f"{request.llm_config_overrides.system_prompt or self._role}\n\n{self._rules}",
            question=self._question.substitute(question=request.user_prompt),
            essays=self._essays.substitute(
                mark=_mark(str(request.correlation_id), texts),
                essay_a=request.essay_a,
                essay_b=request.essay_b,
            ),
        )

    def repair(self, fault: str) -> str:
        """What to say to an answer that cannot be read; `fault` in our words, never in the answer's."""
        return self._repair.substitute(fault=fault)


def load_prompt(version: str = VERSION) -> PromptTemplate:
    """Read the template of this version.

    :raises ConfigurationError: there is none, or it lacks a section.
    """
    try:
        text = (PROMPTS / f"{version}.txt").read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"prompt {version}: cannot be read ({error.strerror})") from error
    return PromptTemplate(version, text)


def _mark(seed: str, texts: tuple[str, ...]) -> str:
    """What no text of this request contains: a writer cannot know it, and chance is ruled out by looking."""
    for number in count():
        mark = hashlib.sha256(f"{seed}:{number}".encode()).hexdigest()[:MARK_LENGTH]
        if not any(mark in text for text in texts):
            return mark
    raise AssertionError  # count() has no end

"""When the fake misbehaves: the first calls, always, now and then, or for a time; for one format or all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tests.fake_llm.misbehaviours import MISBEHAVIOURS, REFUSED

# What `errors` draws from: troubles that pass.
PASSING = ("server_error", "bad_gateway_html", "unavailable", "overloaded", "reset_mid_body")
SHORT = re.compile(
    r"((?P<format>\w+)/)?(?P<name>\w+)(\*(?P<times>\d+))?(@(?P<probability>[\d.]+))?(~(?P<seconds>[\d.]+))?"
)


class Plan(BaseModel):
    """One misbehaviour: for so many calls, with a probability, for so many seconds from now; without these, always."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    format: Literal["openai", "anthropic", "google"] | None = None
    times: int | None = Field(default=None, ge=1)
    probability: float = Field(default=1.0, gt=0, le=1)
    seconds: float | None = Field(default=None, gt=0)
    wait: float = Field(default=1.0, ge=0)

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in MISBEHAVIOURS:
            raise ValueError(f"there is no misbehaviour {name}; there are {', '.join(MISBEHAVIOURS)}")
        return name

    @model_validator(mode="after")
    def _countable(self) -> Self:
        if self.name == REFUSED and (self.times or self.format or self.probability < 1):
            raise ValueError(
                "a refused connection is never seen: it can only be always, or for some `seconds`"
            )
        return self

    @classmethod
    def read(cls, text: str) -> Plan:
        """From `[format/]name[*times][@probability][~seconds]`.

        :raises ValueError: it is not written so, or there is no such misbehaviour.
        """
        match = SHORT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text} is not written as [format/]name[*times][@probability][~seconds]")
        given = {key: value for key, value in match.groupdict().items() if value is not None}
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise ValueError("; ".join(f"{text}: {flaw['msg']}" for flaw in error.errors())) from error


@dataclass
class _Running:
    plan: Plan
    until: float | None
    left: int | None


class Script:
    """The plans that are in force; the first that applies to a call has it."""

    def __init__(self, *, errors: float, seed: int) -> None:
        self._errors = errors
        self._random = Random(seed)
        self._running: list[_Running] = []

    def add(self, plan: Plan, now: float) -> None:
        """In force from now on, after those that are."""
        until = None if plan.seconds is None else now + plan.seconds
        self._running.append(_Running(plan, until, plan.times))

    def clear(self) -> None:
        """Behave, but for the errors of the start."""
        self._running.clear()

    def draw(self, dialect: str, now: float) -> Plan | None:
        """What happens to this call, if anything."""
        self._running = [each for each in self._running if each.until is None or now < each.until]
        for each in self._running:
            if each.plan.format not in {None, dialect} or each.left == 0:
                continue
            if self._random.random() < each.plan.probability:
                each.left = None if each.left is None else each.left - 1
                return each.plan
        if self._random.random() < self._errors:
            return Plan(name=self._random.choice(PASSING))
        return None

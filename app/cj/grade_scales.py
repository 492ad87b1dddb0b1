"""Scales of grades, from files such as `config/grade_scales/letters.toml`, checked whole."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.errors import ConfigurationError, InvalidRequest

_ROUNDING = 0.006  # shares are published in whole or half per cent

Grade = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^\S(.*\S)?$")]
"""As the `level` of an essay is written."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Population(_Table):
    """How often each grade is given, and to whom: `meaning` names people, year and source."""

    meaning: Annotated[str, Field(min_length=1)]
    shares: Mapping[str, Annotated[float, Field(gt=0.0)]]


class GradeScale(_Table):
    """Grades from lowest to highest; grade number k of the statistics is `grades[k]`."""

    title: Annotated[str, Field(min_length=1)]
    grades: Annotated[tuple[Grade, ...], Field(min_length=2, strict=False)]
    population: Population | None = None

    @model_validator(mode="after")
    def _shares_fit_the_grades(self) -> Self:
        if twice := sorted({grade for grade in self.grades if self.grades.count(grade) > 1}):
            raise ValueError(f"grades: {', '.join(twice)} stands there more than once")
        if self.population is None:
            return self
        named = self.population.shares
        if missing := [grade for grade in self.grades if grade not in named]:
            raise ValueError(f"population.shares: no share for {', '.join(missing)}")
        if unknown := [grade for grade in named if grade not in self.grades]:
            raise ValueError(f"population.shares: {', '.join(unknown)} is not among the grades")
        if not math.isclose(total := math.fsum(named.values()), 1.0, abs_tol=_ROUNDING):
            raise ValueError(f"population.shares: the sum is {total:.3f} instead of 1")
        return self

    @property
    def shares(self) -> tuple[float, ...] | None:
        """The population's shares in the order of the grades, with sum exactly 1."""
        if self.population is None:
            return None
        total = math.fsum(self.population.shares.values())
        return tuple(self.population.shares[grade] / total for grade in self.grades)

    def numbers(self, names: Sequence[str], levels: Sequence[str | None]) -> list[int | None]:
        """The grade number of each essay's level; None for essays without one.

        :raises InvalidRequest: a level is no grade of this scale; every such essay is named.
        """
        place = {grade: number for number, grade in enumerate(self.grades)}
        if strange := tuple(
            (name, f"its level {level} is not a grade of {self.title}")
            for name, level in zip(names, levels, strict=True)
            if level is not None and level not in place
        ):
            raise InvalidRequest(
                f"{len(strange)} known grades are not on the scale {self.title}: {strange[0][0]}, {strange[0][1]}.",
                errors=strange,
                hint=f"The grades are {', '.join(self.grades)}; choose another scale or correct the levels.",
            )
        return [None if level is None else place[level] for level in levels]


def load_scale(file: Path) -> GradeScale:
    """Read one scale.

    :raises ConfigurationError: it cannot be read, or says what cannot be.
    """
    try:
        return GradeScale.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file}: {error}") from error
    except ValidationError as error:
        raise ConfigurationError("\n".join(f"{file}: {line}" for line in _lines(error))) from error


def load_scales(folder: Path) -> dict[str, GradeScale]:
    """Read every scale of a folder, by the name of its file.

    :raises ConfigurationError: the folder is not there, or files are wrong; all faults of all files at once.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: there is no such folder of grade scales")
    found, faults = {}, []
    for file in sorted(folder.glob("*.toml")):
        try:
            found[file.stem] = load_scale(file)
        except ConfigurationError as error:
            faults.append(error.detail)
    if faults:
        raise ConfigurationError("\n".join(faults))
    return found


def _lines(error: ValidationError) -> Iterable[str]:
    for fault in error.errors():
        place = ".".join(map(str, fault["loc"]))
        if fault["type"] == "value_error":
            yield str(fault["ctx"]["error"])
        elif fault["type"] == "extra_forbidden":
            yield f"{place}: unknown; what a scale may say stands at the head of england-1-9.toml"
        elif fault["type"] == "missing":
            yield f"{place}: missing"
        else:
            yield f"{place}: {fault['input']!r} is not allowed: {fault['msg'].lower()}"

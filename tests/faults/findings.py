"""What a campaign found: figures beside their bars, as a table, and that table in the page on reliability."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value; `bar` says in words what it has to be, `met` whether it is."""

    name: str
    value: str
    bar: str
    met: bool

    @classmethod
    def at_least(cls, name: str, value: float, bar: float) -> Figure:
        return cls(name, f"{value:,}", f"≥ {bar:,}", value >= bar)

    @classmethod
    def at_most(cls, name: str, value: float, bar: float) -> Figure:
        return cls(name, f"{value:,}", f"≤ {bar:,}", value <= bar)

    @classmethod
    def told(cls, name: str, value: float) -> Figure:
        """Worth knowing, and no bar: seconds of a short form, which runs beside other work."""
        return cls(name, f"{value:,}", "none", met=True)

    @classmethod
    def none(cls, name: str, value: int) -> Figure:
        return cls(name, f"{value:,}", "0", value == 0)


class Observed(NamedTuple):
    """What a campaign hands back; `complaints` are sentences for whoever looks for the cause of a bar that is not met."""

    figures: Sequence[Figure]
    complaints: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    """What was observed, and by which campaign, with which command and in how many seconds."""

    campaign: str
    command: str
    seconds: float
    figures: Sequence[Figure]
    complaints: Sequence[str] = ()

    @property
    def met(self) -> bool:
        return all(figure.met for figure in self.figures)


def table(findings: Findings) -> str:
    """Markdown that reads well in a terminal too."""
    lines = [
        f"`{findings.command}`, {findings.seconds:.0f} s:",
        "",
        "| campaign | figure | found | bar | met |",
        "|---|---|---|---|---|",
        *(
            f"| {findings.campaign} | {f.name} | {f.value} | {f.bar} | {'yes' if f.met else '**no**'} |"
            for f in findings.figures
        ),
    ]
    return "\n".join(lines)


def write(findings: Findings, page: Path = PAGE) -> None:
    """Put the table between the campaign's markers; the rest of the page is people's."""
    begin, end = f"<!-- faults: {findings.campaign} -->", f"<!-- end of {findings.campaign} -->"
    text = page.read_text()
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{page} has no place marked {begin}")
    page.write_text(pattern.sub(lambda _: f"{begin}\n{table(findings)}\n{end}", text))

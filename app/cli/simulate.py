"""`python run.py simulate`: how many comparisons a ranking takes, rehearsed with judges who know the truth."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from app.cli.options import AsJson, OnOff, say
from app.contracts.wire import figure
from app.errors import InvalidRequest

if TYPE_CHECKING:
    from app.cj.statistics.simulation.course import Scene
    from app.cj.statistics.simulation.curves import Curves
    from app.cj.statistics.simulation.judging import JudgeProfile

_GOALS = (0.8, 0.9)
_LOOKS = (5, 10, 20)
_NUMBERS = ("sharpness", "bias", "pair_noise")
_MOST = 20.0
_WIDE = 120
_JUDGE_HINT = "A judge is sharpness=0…20, bias=-20…20, pair_noise=0…1, confidence=none, graded or noise, joined by commas."


def simulate(
    *,
    items: Annotated[int, typer.Option(help="Essays to rank.", min=2, max=2000)] = 100,
    rounds: Annotated[
        int, typer.Option(help="Rounds; each essay is in one comparison a round.", min=1, max=500)
    ] = 20,
    repetitions: Annotated[int, typer.Option(help="Rehearsals that the figures average.", min=1)] = 8,
    seed: Annotated[int, typer.Option(help="The same seed gives the same figures.", min=0)] = 1,
    spread: Annotated[
        float, typer.Option(help="Standard deviation of the true scores, in logits.", min=0.0, max=100.0)
    ] = 1.8,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            help="A judge, as sharpness=1,bias=0.9: keys with commas between; repeatable. sharpness: 0 tosses coins. "
            "bias: logits for whoever is shown first. pair_noise: share of errors that come again with the pair. "
            "confidence: none, graded or noise.",
            metavar="KEY=VALUE,…",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="random, balanced, swiss or ours; repeatable; all without any.", show_default=False
        ),
    ] = None,
    random_rounds: Annotated[
        int, typer.Option(help="Rounds at random before ours pairs neighbours.", min=1)
    ] = 4,
    position_term: Annotated[
        OnOff, typer.Option(help="Fit the judges' preference for whoever is shown first.")
    ] = "on",
    svg: Annotated[
        Path | None, typer.Option(help="Draw r² by comparisons into this file.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rehearse rankings with simulated judges, ways of pairing side by side."""
    from app.cj.statistics.simulation.course import Scene  # noqa: PLC0415 - numpy; `--help` should not wait
    from app.cj.statistics.simulation.curves import average  # noqa: PLC0415 - as above
    from app.cj.statistics.simulation.policies import Policy  # noqa: PLC0415 - as above

    judges = tuple(_judge(one) for one in judge or [""])
    names = list(Policy) if not policy else [_policy(one) for one in policy]
    found: dict[str, Curves] = {}
    for name in dict.fromkeys(names):
        scene = Scene(
            items=items,
            spread=spread,
            judges=judges,
            policy=Policy(name),
            rounds=rounds,
            random_rounds=random_rounds,
            position=position_term == "on",
        )
        found[name] = average(scene, seed=seed, repetitions=repetitions)
    if svg is not None:
        _draw(svg, found, items)
    if as_json:
        print(
            json.dumps(_document(found, scene, seed=seed, repetitions=repetitions), indent=2, allow_nan=False)
        )
    else:
        # Without a terminal nobody said how wide it is: rich takes 80 columns and breaks figures.
        told = sys.stdout.isatty() or "COLUMNS" in os.environ
        Console(width=None if told else _WIDE).print(_table(found, items, repetitions))


def _judge(text: str) -> JudgeProfile:
    """Read `sharpness=1,bias=0.9,…`.

    :raises InvalidRequest: a part that is none of these, or out of range.
    """
    from app.cj.statistics.simulation.judging import Confidence, JudgeProfile  # noqa: PLC0415 - as above

    values: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, _, value = part.partition("=")
        key = key.strip().replace("-", "_")
        try:
            values[key] = Confidence(value.strip()) if key == "confidence" else float(value)
        except ValueError:
            raise InvalidRequest(f"--judge {text}: {part!r} cannot be read.", hint=_JUDGE_HINT) from None
        if key not in {*_NUMBERS, "confidence"}:
            raise InvalidRequest(f"--judge {text}: there is no {key!r}.", hint=_JUDGE_HINT)
    profile = JudgeProfile(**values)
    if not (
        0.0 <= profile.sharpness <= _MOST and abs(profile.bias) <= _MOST and 0.0 <= profile.pair_noise <= 1.0
    ):
        raise InvalidRequest(f"--judge {text}: out of range.", hint=_JUDGE_HINT)
    return profile


def _policy(name: str) -> str:
    from app.cj.statistics.simulation.policies import Policy  # noqa: PLC0415 - as above

    if name not in set(Policy):
        raise InvalidRequest(f"--policy {name}: it is one of {', '.join(Policy)}.")
    return name


def _table(found: dict[str, Curves], items: int, repetitions: int) -> Table:
    table = Table(
        title=f"{items} essays, means of {repetitions} rehearsals; r² is the squared correlation with the truth",
        title_justify="left",
        caption="to: comparisons per essay until r² is that. At the end of all rounds: tau-b with the truth, the "
        "reliability that is stated, and how many 95 % intervals hold the truth.",
        caption_justify="left",
        box=None,  # lines between would break figures in 80 columns
        pad_edge=False,
    )
    table.add_column("pairs", no_wrap=True)
    for name in (
        *(f"to {goal:.2f}" for goal in _GOALS),
        *(f"r² at {look}" for look in _LOOKS),
        "tau-b",
        "stated",
        "95 %",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for name, curves in found.items():
        table.add_row(
            name,
            *(_cell(curves.needed(goal), 1) for goal in _GOALS),
            *(_cell(curves.at(look), 3) for look in _LOOKS),
            *(
                _cell(float(getattr(curves, measure)[-1]), 3)
                for measure in ("tau", "reliability", "coverage")
            ),
        )
    return table


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _document(found: dict[str, Curves], scene: Scene, *, seed: int, repetitions: int) -> dict[str, object]:
    measures = ("per_item", "r2", "tau", "reliability", "coverage")
    return {
        "items": scene.items,
        "spread": scene.spread,
        "rounds": scene.rounds,
        "random_rounds": scene.random_rounds,
        "in_flight": scene.in_flight,
        "position_term": scene.position,
        "judges": [
            {**{name: getattr(one, name) for name in _NUMBERS}, "confidence": one.confidence.value}
            for one in scene.judges
        ],
        "seed": seed,
        "repetitions": repetitions,
        "policies": {
            name: {
                "needed": {f"r2_{goal:.2f}": curves.needed(goal) for goal in _GOALS},
                "rounds": [
                    dict(zip(measures, map(figure, row), strict=True))
                    for row in zip(*(getattr(curves, name) for name in measures), strict=True)
                ],
            }
            for name, curves in found.items()
        },
    }


def _draw(file: Path, found: dict[str, Curves], items: int) -> None:
    from app.web.curve_plot import Line, curves_svg  # noqa: PLC0415 - only those who draw need it

    lines = [Line(name, curves.per_item.tolist(), curves.r2.tolist()) for name, curves in found.items()]
    drawing = curves_svg(
        lines,
        title=f"How fast {items} essays are put in order",
        across="comparisons per essay",
        up="r² with the true scores",
        goals=_GOALS,
    )
    try:
        file.write_text(drawing, encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"--svg {file}: it cannot be written ({error.strerror}).") from error
    say(f"wrote {file}")

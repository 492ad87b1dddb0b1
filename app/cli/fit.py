"""`python run.py fit`: scores from one's own judgements."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.options import AsJson, OnOff, say
from app.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from app.cj.judgements import Judgements
    from app.cj.own_fit import OwnFit
    from app.cj.reproduction import Reproduction

_NAMED = 8
_ZIP = b"PK\x03\x04"


def fit(
    judgements: Annotated[
        str | None,
        typer.Argument(
            help="A CSV file: item_a,item_b,winner[,n,judge,confidence], at most 200,000 judgements; - reads stdin.",
            show_default=False,
        ),
    ] = None,
    *,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Instead, make the scores of a bundle again (`export`).", show_default=False),
    ] = None,
    prior: Annotated[
        str,
        typer.Option(
            help="auto: the spread of the scores is estimated; none: maximum likelihood; or a number: "
            "that spread, as a standard deviation in logits."
        ),
    ] = "auto",
    position_term: Annotated[
        OnOff, typer.Option(help="Fit each judge's preference for the item shown first (item_a).")
    ] = "on",
    as_json: AsJson = False,
) -> None:
    """Fit scores to judgements of your own, with standard errors, reliability and position bias."""
    from app.cj.judgements import read_judgements  # noqa: PLC0415 - numpy; `--help` should not wait for it
    from app.cj.own_fit import own_fit  # noqa: PLC0415 - as above
    from app.cj.own_fit_document import document  # noqa: PLC0415 - as above

    sigma, again = _sigma(prior), None
    if (judgements is None) == (bundle is None):
        raise InvalidRequest("Name either a CSV file of judgements or, with --bundle, a bundle.")
    if bundle is not None:
        if (prior, position_term) != ("auto", "on"):
            raise InvalidRequest(
                "--bundle fits as the batch was fitted: without --prior and --position-term."
            )
        given, again = _from_bundle(bundle)
    else:
        given = read_judgements(_content(judgements or ""))
    found = own_fit(given, sigma=sigma, position=position_term == "on", recorded=bundle is not None)
    if as_json:
        told = document(found) | ({"bundle": _told(again)} if again else {})
        print(json.dumps(told, ensure_ascii=False, allow_nan=False, indent=2))
    else:
        for warning in found.warnings:
            say(f"warning: {warning}")
        Console().print(_table(found))
        _talk(found)
    if again:
        say(again.words)
        if not again.close:
            sys.exit(1)


def _from_bundle(file: Path) -> tuple[Judgements, Reproduction]:
    """The judgements inside, and whether their scores came out as they are told there."""
    from app import __version__  # noqa: PLC0415 - as above
    from app.cj.bundle import LOCK, origin, read_bundle  # noqa: PLC0415 - as above
    from app.cj.judgements import Judgements  # noqa: PLC0415 - as above
    from app.cj.reproduction import reproduce  # noqa: PLC0415 - as above
    from app.settings import ROOT  # noqa: PLC0415 - as above

    held = read_bundle(file)
    again = reproduce(held, origin(juxta=__version__, lock=ROOT / LOCK))
    judges = tuple(held.judges)[: held.verdicts.judges]
    return Judgements(items=tuple(held.names), judges=judges, verdicts=held.verdicts), again


def _told(again: Reproduction) -> dict[str, object]:
    return {
        "byte_for_byte": again.exact,
        "largest_difference": again.largest if math.isfinite(again.largest) else None,
        "same_scores": again.close,
        "differing": list(again.differing),
        "unlike": list(again.unlike),
    }


def _sigma(prior: str) -> float | None:
    """The spread that `--prior` asks for; None: estimate it, infinite: no prior.

    :raises InvalidRequest: it is neither a word nor a number in range.
    """
    from app.cj.statistics.bradley_terry import SIGMAS  # noqa: PLC0415 - as above

    if prior == "auto":
        return None
    if prior == "none":
        return math.inf
    try:
        spread = float(prior)
    except ValueError:
        spread = math.nan
    narrowest, widest = SIGMAS
    if not narrowest <= spread <= widest:
        raise InvalidRequest(
            f"--prior {prior}: it is auto, none, or a number from {narrowest:g} to {widest:g}."
        )
    return spread


def _content(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        content = Path(name).read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {name}.") from error
    except OSError as error:
        raise InvalidRequest(f"{name} cannot be read ({error.strerror}).") from error
    if content.startswith(_ZIP):
        raise InvalidRequest(f"{name} is a zip and no CSV. If it is a bundle of Juxta: fit --bundle {name}")
    return content


def _table(found: OwnFit) -> Table:
    islands = len(found.islands)
    table = Table(
        title="Scores in logits, mean 0" + (" in each island" if islands > 1 else ""), title_justify="left"
    )
    table.add_column("rank", justify="right")
    table.add_column("id")
    for name in ("score", "± SE", "95 %", "comparisons"):
        table.add_column(name, justify="left" if name == "95 %" else "right")
    if islands > 1:
        table.add_column("island", justify="right")
    for item in found.items:
        if item.score is None or item.se is None or item.low is None or item.high is None:
            cells = ["-", "-", "not finite"]
        else:
            cells = [f"{item.score:+.4f}", f"{item.se:.4f}", f"{item.low:+.2f} … {item.high:+.2f}"]
        rank = "-" if item.rank is None else str(item.rank)
        island = [str(item.island + 1)] if islands > 1 else []
        table.add_row(rank, Text(item.id), *cells, str(item.comparisons), *island)
    return table


def _talk(found: OwnFit) -> None:
    """Everything beside the scores, a line each."""
    heard = sum(judge.comparisons > 0 for judge in found.judges)
    say(f"{found.judgements} judgements of {len(found.items)} items by {heard} judge(s)")
    for name, words, value in found.reliability.lines():
        say(f"reliability {name}: {'none' if value is None else f'{value:.3f}'} ({words})")
    say(f"sigma: {found.sigma_words}")
    for judge in found.judges:
        who = f"judge {judge.name}: " if judge.name else ""
        if judge.position is not None and judge.position_se is not None:
            say(
                f"{who}position {judge.position:+.4f} ± {judge.position_se:.4f} logits for the item shown first"
            )
        if len(found.judges) > 1 and judge.slope is not None:
            say(f"{who}discrimination {judge.slope:.3f} (geometric mean 1)")
        if judge.stated:
            say(f"{who}confidence {judge.confidence_reason}")
    for note in found.notes:
        say(f"note: {note}")
    if found.unbounded:
        say(f"no finite estimate without a prior, so none is given: {_names(found.unbounded)}")
    if len(found.islands) > 1:
        say(
            f"{len(found.islands)} islands: nothing compares the items of one with those of another, "
            "so neither do scores or ranks"
        )
        for number, island in enumerate(found.islands, start=1):
            say(f"island {number}: {_names(island)}")


def _names(ids: tuple[str, ...]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more

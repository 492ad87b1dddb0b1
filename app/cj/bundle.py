"""A batch as evidence: one zip with every comparison, the settings, the versions, and scores that can be fitted again.

The scores inside are fitted from the beginning, so that they depend on the verdicts alone: the same lock file on the same
kind of machine gives the same bytes. Those that were shown came of one fit after the other, and agree to `CLOSE`. The
hashes find accidents, not forgery, for nothing is signed: `reproduction` finds scores that these verdicts do not give. Texts of
essays are not in it, only what identifies them: sha256 and number of words.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from app.cj.material import Judgement, Material, verdicts
from app.cj.scoring_ranking import RankedEssay
from app.cj.statistics.bradley_terry import Fit, Verdicts, fit
from app.cj.statistics.verdicts import refuse_strangers
from app.cj.views import COMPARISON, Comparison
from app.errors import InvalidRequest, NotFound

FORMAT = "juxta-bundle-1"
LOCK = "requirements.txt"
"""The lock file of what a server runs with, beside `run.py`: the one that an image holds as well."""

CLOSE = 1e-9
"""How far scores may lie apart that come of the same verdicts on another machine, or of another beginning."""

_MANIFEST, _BATCH, _COMPARISONS, _SCORES = "manifest.json", "batch.json", "comparisons.jsonl", "scores.json"
_MOMENT = (1980, 1, 1, 0, 0, 0)
_MOST_BYTES = 2_000_000_000
_JUDGEMENT = TypeAdapter(Judgement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What the scores were made with: they come out the same to the last bit only with all of it alike."""

    juxta: str
    python: str
    numpy: str
    machine: str
    lock_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle that was read and found whole. `verdicts` are those that the scores rest on."""

    origin: Origin
    batch: Mapping[str, Any]
    judges: Sequence[str]
    names: Sequence[str]
    verdicts: Verdicts
    scores: bytes


def origin(*, juxta: str, lock: Path | None) -> Origin:
    """What this process fits with."""
    known = lock is not None and lock.is_file()
    return Origin(
        juxta=juxta,
        python=platform.python_version(),
        numpy=np.__version__,
        machine=f"{platform.system()} {platform.machine()}",
        lock_sha256=hashlib.sha256(lock.read_bytes()).hexdigest() if lock is not None and known else None,
    )


def write_bundle(
    material: Material,
    shown: Sequence[RankedEssay],
    comparisons: Iterable[Comparison],
    made_with: Origin,
) -> bytes:
    """The zip; the same bytes for the same batch, whenever it is made."""
    scored = material.scored
    members = {
        _BATCH: _json(_batch(material, shown)),
        _COMPARISONS: b"".join(COMPARISON.dump_json(one) + b"\n" for one in comparisons),
        _SCORES: scores_document(material.names, scored, fit(scored, len(material.names))),
    }
    manifest = {
        "format": FORMAT,
        "batch_id": str(material.batch.id),
        "made_with": {name: getattr(made_with, name) for name in Origin.__slots__},
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
    }
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in {_MANIFEST: _json(manifest), **members}.items():
            info = zipfile.ZipInfo(name, _MOMENT)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, content)
    return written.getvalue()


def read_bundle(path: Path) -> Bundle:
    """Read a bundle and check that nothing in it was changed.

    :raises InvalidRequest: it cannot be read, is no bundle, or a member is not what its hash says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > _MOST_BYTES:
                raise InvalidRequest(f"{path}: more than {_MOST_BYTES:,} bytes are in it.")
            members = {info.filename: archive.read(info) for info in archive.infolist()}
        manifest = json.loads(members[_MANIFEST])
        if manifest["format"] != FORMAT:
            raise InvalidRequest(f"{path}: of format {manifest['format']!r}; this version reads {FORMAT}.")
        _verify(path, members, manifest["sha256"])
        batch = json.loads(members[_BATCH])
        names, judges = [essay["name"] for essay in batch["essays"]], list(batch["judges"])
        known = _verdicts(members[_COMPARISONS], up_to=batch["fitted_wave"])
        _refuse_strangers(known, essays=len(names), judges=len(judges))
        return Bundle(
            origin=Origin(**manifest["made_with"]),
            batch=batch,
            judges=judges,
            names=names,
            verdicts=known,
            scores=members[_SCORES],
        )
    except FileNotFoundError as error:
        raise NotFound(f"There is no file {path}.") from error
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"{path}: no bundle of Juxta ({error}).") from error


def scores_document(names: Sequence[str], scored: Verdicts, fitted: Fit) -> bytes:
    """What can be fitted again. Numbers are written with the digits that give the same number back."""
    counts = scored.count(len(names)).tolist()
    items = zip(names, fitted.scores.tolist(), fitted.standard_errors.tolist(), counts, strict=True)
    return _json(
        {
            "sigma": fitted.sigma,
            "reliability": fitted.reliability,
            "positions": fitted.positions.tolist(),
            "slopes": fitted.slopes.tolist(),
            "items": [
                {"essay": name, "score": score, "se": se, "comparisons": count}
                for name, score, se, count in items
            ],
        }
    )


def _verify(path: Path, members: Mapping[str, bytes], hashes: Mapping[str, str]) -> None:
    changed = [
        name
        for name in sorted({*members, *hashes, _BATCH, _COMPARISONS, _SCORES} - {_MANIFEST})
        if name not in members or hashlib.sha256(members[name]).hexdigest() != hashes.get(name)
    ]
    if changed:
        raise InvalidRequest(
            f"{path}: not as it was written: {', '.join(changed)}.",
            errors=tuple((name, "missing, added, or not what its sha256 says") for name in changed),
        )


def _verdicts(lines: bytes, *, up_to: int) -> Verdicts:
    """The verdicts inside the scores: of complete waves, and no audit."""
    try:
        rows = [json.loads(line) for line in lines.splitlines()]
        known = [_JUDGEMENT.validate_python(row) for row in rows if row["winner"] and row["wave"] <= up_to]
    except ValidationError as error:
        raise ValueError(f"{_COMPARISONS} holds what is no comparison") from error
    return verdicts(one for one in known if one.audit_of is None)


def _refuse_strangers(known: Verdicts, *, essays: int, judges: int) -> None:
    refuse_strangers(known, essays)
    if known.judges > max(judges, 1):
        raise ValueError(f"a verdict names judge {known.judges - 1}, but there are only {judges}")


def _batch(material: Material, shown: Sequence[RankedEssay]) -> dict[str, Any]:
    batch, by_place = material.batch, {row.position: row for row in shown}
    return {
        "id": str(batch.id),
        "title": batch.title,
        "question": batch.question,
        "settings": batch.settings.model_dump(mode="json"),
        "state": batch.state.value,
        "stop_reason": batch.stop_reason,
        "waves": batch.waves,
        "fitted_wave": batch.fitted_wave,
        "reliability": batch.reliability,
        "cost_usd": batch.cost_usd,
        "extended_from": batch.extended_from,
        "extended_to": batch.extended_to,
        "judges": material.judges,
        "essays": [
            {
                "position": n,
                "name": name,
                "level": material.levels[n],
                "words": material.words[n],
                "sha256": material.hashes[n],
                "shown": {"rank": by_place[n].rank, "score": by_place[n].score, "se": by_place[n].se},
            }
            for n, name in enumerate(material.names)
        ],
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()

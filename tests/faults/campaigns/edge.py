"""The edge: topics that are none, clients that drip, bodies that do not end, five thousand cases, canaries."""

from __future__ import annotations

import random
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode

from app.contracts import COMPARISON_RESULT_TOPIC
from app.spec.openapi import openapi, operations
from tests.faults.embedded.house import resident
from tests.faults.findings import Figure, Observed
from tests.flow.house import QUESTION, essay, furnish, rows
from tests.flow.process import Process, process_on
from tests.flow.surfaces import essays_seen, keys_seen, surfaces

TOPICS = 200
SLOW, SHORT_SLOW = 200, 30
LONG_ENOUGH = 10
"""Times a short essay: the judge by rules wants 50 words, and nothing but the topic may be wrong."""

PAUSE = 0.2
"""Seconds between two bytes of a slow client."""
HEADERS = 2.0
"""Seconds a client has for its headers in this campaign; 10 as shipped."""
ATTENTIVE = 1.0
"""Seconds within which everybody else is answered meanwhile."""
HUGE, SHORT_HUGE = 200_000_000, 20_000_000
CASES, SHORT_CASES = 5_000, 300
PIECE = b"x" * 65_536
STREAMS = frozenset({"/api/v1/batches/{batch_id}/events"})
"""An answer that has no end; its words are held to the document elsewhere."""


def run(seed: int, *, full: bool) -> Observed:
    """All of it against one real process, but the canaries, which have a house of their own."""
    with tempfile.TemporaryDirectory() as folder:
        furnish(house := Path(folder) / "house")
        brisk = ("judges.rules.pace=0", f"http.header_timeout={HEADERS}")
        with process_on(house, "--no-demo", *(f"--set={one}" for one in brisk)) as process:
            topics, complaints = _topics(process, seed)
            slow = _slowloris(process, SLOW if full else SHORT_SLOW)
            huge = _huge(process, HUGE if full else SHORT_HUGE)
            cases, errors = _cases(process, seed, CASES if full else SHORT_CASES)
            complaints += errors
            figures = [*topics, *slow, *huge, *cases]
            alive = process.client.get("/healthz").status_code == 200
            figures.append(Figure("the process", "alive" if alive else "gone", "alive", alive))
            figures.append(Figure.none("stack traces in its log", process.stderr.count("Traceback")))
        if full:
            (told := Path(folder) / "told").mkdir()
            said = surfaces(told)
            figures.append(Figure.at_least("places searched for canaries", len(said), 20))
            figures.append(Figure.none("places that show a key", len(keys_seen(said))))
            figures.append(Figure.none("places that show a sentence of an essay", len(essays_seen(said))))
    return Observed(figures, complaints)


Part = tuple[list[Figure], list[str]]


def _topics(process: Process, number: int) -> Part:
    """A topic that is not on the list, in two hundred shapes; nothing is stored. Then one that is on it."""
    refused = 0
    complaints = []
    for topic in hostile_topics(random.Random(number)):
        answer = _ask(process, topic)
        if answer.status_code == 422 and _blamed(answer) == {"callback_topic"}:
            refused += 1
        else:
            complaints.append(f"topic {topic!r} was answered {answer.status_code}: {answer.text[:200]}")
    stored = rows(process.folder / "provider.db", "SELECT count(*) FROM requests")[0][0]
    allowed = _ask(process, COMPARISON_RESULT_TOPIC).status_code
    return [
        Figure(
            "hostile topics, all different, answered 422 because of `callback_topic`",
            f"{refused} of {TOPICS}",
            "all",
            refused == TOPICS,
        ),
        Figure.none("of these stored", stored),
        Figure("the same request with an allowed topic", str(allowed), "200 or 202", allowed in {200, 202}),
    ], complaints


def _ask(process: Process, topic: object) -> httpx2.Response:
    body = {
        "user_prompt": QUESTION,
        "essay_a": LONG_ENOUGH * essay(0),
        "essay_b": LONG_ENOUGH * essay(1),
        "correlation_id": str(uuid4()),
        "callback_topic": topic,
    }
    return process.client.post("/api/v1/comparison", json=body)


def _blamed(answer: httpx2.Response) -> set[str]:
    """The fields that a problem names."""
    return {str(error["field"]) for error in answer.json()["errors"]}


def hostile_topics(draw: random.Random) -> Iterator[Any]:
    """Two hundred that are not the one that is allowed: near misses, other alphabets, control characters, other types."""
    allowed = COMPARISON_RESULT_TOPIC
    made: list[Any] = [
        *("", " ", ".", "..", "/", "\x00", "\n", "*", "#", "%", "__consumer_offsets", f"{allowed}.dead"),
        *(f"{allowed} ", f" {allowed}", f"{allowed}\n", f"{allowed}\x00", allowed.upper(), allowed * 20),
        *(
            "../../etc/passwd",
            "${jndi:ldap://x}",
            "'; DROP TABLE requests; --",
            "<script>",
            "x" * 249,
            "x" * 250,
        ),
        *(
            "x" * 100_000,
            "тема",
            "主題",
            "🧵",
            "\u202e" + allowed,
            allowed.replace(".", "\u2024"),
            "\ufeff" + allowed,
        ),
        *(0, 1.5, True, [], [allowed], {}, {"topic": allowed}),
    ]
    alphabet = [*"abcXYZ019._-/\\:*?\"'<>|{}[]()$&;`~ \t\r\n\x00\x1f\x7fé\u0301ß\u200b\u2028\U0001f600"]
    while len(made) < TOPICS:
        position = draw.randrange(len(allowed))
        near = allowed[:position] + draw.choice(alphabet) + allowed[position + 1 :]
        noise = "".join(draw.choices(alphabet, k=draw.randint(1, 300)))
        made += [topic for topic in (near, noise) if topic != allowed and topic not in made]
    yield from made[:TOPICS]


def _slowloris(process: Process, many: int) -> list[Figure]:
    """Clients that send a byte now and then: each is hung up on, and everybody else is answered meanwhile."""
    address = ("127.0.0.1", process.port)
    began = time.monotonic()
    slow = [socket.create_connection(address) for _ in range(many)]
    slowest, dropped = 0.0, [0.0] * many
    for one in slow:
        one.setblocking(False)
        one.sendall(b"POST /api/v1/comparison HTTP/1.1\r\nHost: localhost\r\nA: ")
    while not all(dropped) and time.monotonic() - began < 10 * HEADERS:
        for place, one in enumerate(slow):
            if not dropped[place] and _is_over(one):
                dropped[place] = time.monotonic() - began
        asked = time.monotonic()
        process.client.get("/healthz").raise_for_status()
        slowest = max(slowest, time.monotonic() - asked)
        time.sleep(PAUSE)
    for one in slow:
        one.close()
    hung_up = sum(map(bool, dropped))
    return [
        Figure("slow clients hung up on", f"{hung_up} of {many}", "all", hung_up == many),
        Figure.at_most("slowest answer to others meanwhile, s", round(slowest, 3), ATTENTIVE),
    ]


def _is_over(client: socket.socket) -> bool:
    """Send one byte more; whether the other side has closed."""
    try:
        client.send(b"a")
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _huge(process: Process, size: int) -> list[Figure]:
    """A body far beyond the limit, announced and not announced: refused before it is taken, in bounded memory."""
    before = resident(process)
    announced = _send(process, f"Content-Length: {size}\r\n", lambda piece: piece, size)
    unannounced = _send(
        process, "Transfer-Encoding: chunked\r\n", lambda piece: b"%x\r\n%s\r\n" % (len(piece), piece), size
    )
    grown = (resident(process) - before) / 1e6
    return [
        Figure(
            f"a body of {size / 1e6:.0f} MB, announced and not",
            f"{announced[0]}, {unannounced[0]}",
            "413, 413",
            (announced[0], unannounced[0]) == (413, 413),
        ),
        Figure.at_most(
            "most of it that was taken, MB", round(max(announced[1], unannounced[1]) / 1e6, 1), 64
        ),
        Figure.at_most("memory of the process grew by, MB", round(grown, 1), 64),
    ]


def _send(process: Process, header: str, frame: Callable[[bytes], bytes], size: int) -> tuple[int, int]:
    """The status that came back, and how many bytes had gone by then."""
    head = f"POST /api/v1/comparison HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{header}\r\n"
    heard = bytearray()
    with closing(socket.create_connection(("127.0.0.1", process.port), timeout=30)) as connection:
        ear = threading.Thread(target=_hear, args=(connection, heard))
        ear.start()
        sent = 0
        try:
            connection.sendall(head.encode())
            while sent < size and not heard:
                connection.sendall(frame(PIECE))
                sent += len(PIECE)
        except OSError:
            pass  # it hung up: what it said before that is what counts
        ear.join(30)
    return int(heard.split(b" ", 2)[1]) if heard.startswith(b"HTTP/1.1 ") else 0, sent


def _hear(connection: socket.socket, heard: bytearray) -> None:
    try:
        while piece := connection.recv(65_536):
            heard += piece
    except OSError:
        pass


def _cases(process: Process, number: int, wanted: int) -> Part:
    """What the API's own description allows and forbids, drawn at random: whatever comes, no server error."""
    schema = schemathesis.openapi.from_dict(openapi())
    described = [schema[one.path][one.method] for one in operations("all") if one.path not in STREAMS]
    answers: Counter[int] = Counter()
    complaints: list[str] = []
    each = -(-wanted // (len(described) * len(GenerationMode)))

    def ask(case: schemathesis.Case[Any]) -> None:
        answer = case.call(base_url=process.url, timeout=30)
        answers[answer.status_code] += 1
        if answer.status_code >= 500:
            complaints.append(
                f"{case.method} {case.operation.path}: {answer.status_code} {answer.text[:200]}"
            )

    for operation in described:
        for mode in GenerationMode:
            if mode is GenerationMode.NEGATIVE and not _can_be_wrong(operation):
                continue
            rounds = settings(
                max_examples=each * 3 // 2,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            rounds(seed(number)(given(case=operation.as_strategy(generation_mode=mode))(ask)))()
    errors = sum(count for status, count in answers.items() if status >= 500)
    return [
        Figure.at_least("cases drawn from the API's description", answers.total(), wanted),
        Figure.none("answered with a server error", errors),
    ], complaints


def _can_be_wrong(operation: Any) -> bool:
    return bool(operation.body) or any(True for _ in operation.iter_parameters())

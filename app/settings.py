"""What can be set, and where each value came from. Every setting and its default stands in config/default.toml."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from app.contracts import is_legal_topic
from app.contracts.comparison import MOST_EXPIRES_IN
from app.errors import ConfigurationError

ROOT = Path(__file__).resolve().parent.parent
DEFAULTS = ROOT / "config" / "default.toml"
PREFIX = "JUXTA_"

_URL = re.compile(r"https?://[^/\s?#@]+/?")
_ADDRESS = re.compile(r"[^\s:/,]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65_535)]


class Section(BaseModel):
    """A part of the settings: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Http(Section):
    """The HTTP edge."""

    host: str
    port: Port
    body_limit: Count
    upload_limit: Count
    header_timeout: Seconds
    body_timeout: Seconds
    grace: Seconds

    @property
    def public(self) -> bool:
        """Whether others than this machine may reach it; what a name leads to is not ours to say."""
        try:
            return self.host != "localhost" and not ip_address(self.host).is_loopback
        except ValueError:
            return True


class BusSettings(Section):
    """The bus and how its members treat records."""

    kind: Literal["memory", "kafka"]
    partitions: Count
    capacity: Count
    strikes: Count
    backoff: Seconds
    backoff_cap: Seconds
    handler_timeout: Seconds
    publish_timeout: Seconds
    drain: Seconds


class KafkaSettings(Section):
    """The broker behind bus.kind = "kafka"; file names and secrets that are empty are not used."""

    servers: str
    replication: Annotated[int, Field(ge=1, le=32_767)]
    retention: Annotated[float, Field(gt=0, le=604_800)]
    session_timeout: Seconds
    heartbeat: Seconds
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
    username: str
    password: SecretStr
    ca_file: str
    cert_file: str
    key_file: str


class QueueSettings(Section):
    """The provider's ledger."""

    kind: Literal["sql"]
    limit: Count
    max_tries: Count
    retention: Seconds
    lease: Seconds


class ProviderSettings(Section):
    """The provider."""

    topics: Annotated[tuple[str, ...], Field(min_length=1)]
    patience: Annotated[float, Field(ge=0)]
    drain: Annotated[float, Field(ge=0)]
    processes: Count


class JudgeLimits(Section):
    """How much of a judge may be used at once; `requests_per_minute` 0 means no limit."""

    concurrency: Count
    direct_concurrency: Annotated[int, Field(ge=0)]
    requests_per_minute: Annotated[int, Field(ge=0)]


class RulesSettings(JudgeLimits):
    """The rules judge."""

    pace: Annotated[float, Field(ge=0)]
    length_term: bool


class SimulatedSettings(JudgeLimits):
    """The simulated judge; offered only with a file of scores."""

    scores: str
    seed: int
    latency: Annotated[float, Field(ge=0)]


class JudgesSettings(Section):
    """Who can judge."""

    default: Literal["rules", "simulated"]
    norms: Path
    rules: RulesSettings
    simulated: SimulatedSettings


class BreakerSettings(Section):
    """The circuit breaker of each lane."""

    failures: Count
    window: Seconds
    cooldown: Seconds
    cooldown_cap: Seconds


class CjSettings(Section):
    """The workflow, and what a new batch gets unless it says otherwise."""

    callback_topic: str
    group: str
    provider_urls: tuple[str, ...]
    provider_key: SecretStr
    provider_timeout: Seconds
    concurrency: Count
    hold: Seconds
    repair_after: Seconds
    sweep_every: Seconds
    comparisons_per_essay: Annotated[int, Field(ge=1, le=1000)]
    target_reliability: Annotated[float, Field(gt=0, lt=1)]
    random_rounds: Annotated[int, Field(ge=1, le=50)]
    expires_in: Annotated[float, Field(gt=0, le=MOST_EXPIRES_IN)]


class AuthSettings(Section):
    """Who may use the HTTP API."""

    enabled: bool
    hosts: tuple[str, ...]


class LogSettings(Section):
    """What is written to stderr."""

    level: Literal["debug", "info", "warning", "error"]
    format: Literal["text", "json"]


class Settings(Section):
    """Everything that can be set."""

    role: Literal["all", "provider", "cj"]
    data: Path
    http: Http
    bus: BusSettings
    kafka: KafkaSettings
    queue: QueueSettings
    provider: ProviderSettings
    judges: JudgesSettings
    breaker: BreakerSettings
    cj: CjSettings
    auth: AuthSettings
    log: LogSettings

    @property
    def serves_provider(self) -> bool:
        """Whether this process judges."""
        return self.role != "cj"

    @property
    def serves_cj(self) -> bool:
        """Whether this process ranks."""
        return self.role != "provider"

    @property
    def parts(self) -> tuple[str, ...]:
        """The modules in this process; each has a database and a lock of its own."""
        return ("provider", "cj") if self.role == "all" else (self.role,)

    @property
    def shares_data(self) -> bool:
        """Whether other processes of this role may work on the same database: results come to any of them."""
        return self.role == "cj"

    @property
    def answers_within(self) -> float:
        """Seconds of `http.grace` for the answers under way; then judge calls drain, on both roads, and the bus."""
        return self.http.grace - 2 * self.provider.drain - self.bus.drain

    def faults(self) -> list[str]:
        """Combinations that cannot work, one line each."""
        found = [
            f"provider.topics: '{topic}' is no legal topic name; allowed are letters, digits and . _ -"
            for topic in self.provider.topics
            if not is_legal_topic(topic)
        ]
        if self.cj.callback_topic not in self.provider.topics:
            found.append(
                f"cj.callback_topic: '{self.cj.callback_topic}' is not in provider.topics, "
                f"so every comparison would be refused; allowed are {', '.join(self.provider.topics)}"
            )
        if self.http.public and not self.auth.enabled:
            found.append(
                f"http.host: '{self.http.host}' can be reached by others, but auth.enabled = false lets everybody do "
                "everything; set auth.enabled = true and make a key (`key new`), or use http.host = '127.0.0.1'"
            )
        found += self._faults_of_role() + self._faults_of_kafka()
        if self.answers_within <= 0:
            found.append(
                f"http.grace: {self.http.grace:g} leaves nothing for answers under way after twice provider.drain = "
                f"{self.provider.drain:g} and bus.drain = {self.bus.drain:g}; raise it, or lower them"
            )
        if self.judges.default == "simulated" and not self.judges.simulated.scores:
            found.append(
                "judges.default: 'simulated' needs judges.simulated.scores, a csv file `sha256,score`"
            )
        if self.breaker.cooldown > self.breaker.cooldown_cap:
            found.append(
                f"breaker.cooldown: {self.breaker.cooldown} is over breaker.cooldown_cap = {self.breaker.cooldown_cap}"
            )
        if self.queue.retention <= self.cj.expires_in:
            found.append(
                f"queue.retention: {self.queue.retention} must be longer than cj.expires_in = {self.cj.expires_in}, "
                "or a repair could be taken for a new request"
            )
        return found

    def _faults_of_role(self) -> list[str]:
        found = []
        if self.role != "all" and self.bus.kind == "memory":
            found.append(
                f"role: '{self.role}' needs a bus between processes, but bus.kind = 'memory' "
                "lives in one process; use bus.kind = 'kafka', or role = 'all'"
            )
        if self.role == "cj" and not self.cj.provider_urls:
            found.append(
                "cj.provider_urls: empty, but role 'cj' must know where the providers are; "
                'write a list such as ["http://127.0.0.1:8001"]'
            )
        if self.role == "all" and self.cj.provider_urls:
            found.append(
                "cj.provider_urls: role 'all' has its provider in the same process and would never ask "
                f"{', '.join(self.cj.provider_urls)}; use role = 'cj', or leave it empty"
            )
        if self.role == "cj" and self.cj.hold <= self.cj.provider_timeout:
            found.append(
                f"cj.hold: {self.cj.hold:g} must be longer than cj.provider_timeout = {self.cj.provider_timeout:g}, "
                "or a slow POST would be sent twice"
            )
        found += [
            f"cj.provider_urls: '{url}' is no address of a provider; write http://HOST:PORT or https://HOST"
            for url in self.cj.provider_urls
            if not _URL.fullmatch(url)
        ]
        return found

    def _faults_of_kafka(self) -> list[str]:
        kafka, found = self.kafka, []
        if not all(_ADDRESS.fullmatch(server.strip()) for server in kafka.servers.split(",")):
            found.append(
                f"kafka.servers: '{kafka.servers}' is no list of brokers; write HOST:PORT, several separated by commas"
            )
        if kafka.heartbeat > kafka.session_timeout / 3:
            found.append(
                f"kafka.heartbeat: {kafka.heartbeat:g} is more than a third of kafka.session_timeout = "
                f"{kafka.session_timeout:g}; a lost heartbeat would end the session"
            )
        has_user = bool(kafka.username) and bool(kafka.password.get_secret_value())
        if kafka.security_protocol.startswith("SASL") and not has_user:
            found.append(
                f"kafka.security_protocol: '{kafka.security_protocol}' needs kafka.username and kafka.password"
            )
        if not kafka.security_protocol.startswith("SASL") and kafka.username:
            found.append(
                f"kafka.username: would not be used with kafka.security_protocol = '{kafka.security_protocol}'; "
                "use SASL_SSL or SASL_PLAINTEXT, or leave it empty"
            )
        if bool(kafka.cert_file) != bool(kafka.key_file):
            found.append(
                "kafka.cert_file: a client certificate needs both kafka.cert_file and kafka.key_file"
            )
        return found


Sources = dict[str, str]


def load(
    file: Path | None = None,
    assignments: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
) -> tuple[Settings, Sources]:
    """Read defaults, file, environment and `key.sub=value` assignments, the later one winning.

    Returns the settings and, for each dotted key, the name of its source.

    :raises ConfigurationError: with every fault found, one line each.
    """
    values: dict[str, Any] = {}
    sources: Sources = {}
    for name, layer in (
        ("default", _toml(DEFAULTS)),
        *([(str(file), _toml(file))] if file else []),
        ("environment", _environment(environment)),
        ("command line", _assigned(assignments)),
    ):
        _merge(values, layer, sources, name)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        lines = [_line(fault, sources) for fault in error.errors()]
        raise ConfigurationError("\n".join(lines)) from error
    if faults := settings.faults():
        raise ConfigurationError("\n".join(faults))
    return settings, sources


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file}: is no TOML ({error})") from error


def _environment(environment: Mapping[str, str]) -> dict[str, Any]:
    pairs = [
        (name[len(PREFIX) :].lower().replace("__", "."), value)
        for name, value in sorted(environment.items())
        if name.startswith(PREFIX)
    ]
    return _nested(pairs)


def _assigned(assignments: Sequence[str]) -> dict[str, Any]:
    pairs = []
    for assignment in assignments:
        key, sign, value = assignment.partition("=")
        if not sign:
            raise ConfigurationError(f"--set {assignment}: write it as key.sub=value")
        pairs.append((key.strip(), value.strip()))
    return _nested(pairs)


def _nested(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    defaults = _toml(DEFAULTS)
    tree: dict[str, Any] = {}
    for key, value in pairs:
        *sections, last = key.split(".")
        place, known = tree, defaults
        for section in sections:
            place, known = place.setdefault(section, {}), known.get(section, {})
            if not isinstance(place, dict):
                raise ConfigurationError(f"{key}: {section} is a value, not a section")
        is_text = isinstance(known, dict) and isinstance(known.get(last), str)
        place[last] = value if is_text and value[:1] not in {'"', "'"} else _parsed(value)
    return tree


def _parsed(value: str) -> Any:
    """A list, number or truth value as TOML writes it; anything else is text. What is text is not parsed: passwords."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return value


def _merge(
    into: dict[str, Any], layer: Mapping[str, Any], sources: Sources, name: str, path: str = ""
) -> None:
    for key, value in layer.items():
        dotted = f"{path}{key}"
        if isinstance(value, Mapping) and isinstance(into.get(key, {}), dict):
            _merge(into.setdefault(key, {}), value, sources, name, f"{dotted}.")
        else:
            into[key] = value
            sources[dotted] = name


def _line(fault: Any, sources: Sources) -> str:
    key = ".".join(map(str, fault["loc"]))
    origin = sources.get(key) or next(
        (name for other, name in sources.items() if other.startswith(f"{key}.")), None
    )
    where = f" (from {origin})" if origin else ""
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown setting{where}; all settings stand in config/default.toml"
    return f"{key}: {fault['input']!r}{where} is not allowed: {fault['msg'].lower()}"

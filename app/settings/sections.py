"""Every setting with its type, by section. Defaults stand in config/default.toml."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from app.contracts.comparison import MOST_EXPIRES_IN

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Names = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=200)], ...],
    BeforeValidator(lambda given: given.replace(",", " ").split() if isinstance(given, str) else given),
]
"""A list, or words with commas between them, as people type it."""


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


class DatabaseSettings(Section):
    """Where the ledger, the batches and the keys are kept; the timeouts are PostgreSQL's."""

    kind: Literal["sqlite", "postgresql"]
    url: SecretStr
    lock_timeout: Seconds
    deadline: Seconds


class RedisSettings(Section):
    """The Redis behind queue.kind = "redis"."""

    url: SecretStr
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
    timeout: Seconds


class QueueSettings(Section):
    """The provider's ledger."""

    kind: Literal["sql", "redis"]
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


class LLMSettings(JudgeLimits):
    """The language models of one wire format; offered when `models` names some. `tokens_per_minute` 0: no limit.

    `timeout` is for one comparison, its repair included.
    """

    models: Names
    base_url: str
    key: SecretStr
    structured: Literal["", "json_schema", "tool", "json_object", "none"]
    tokens_per_minute: Annotated[int, Field(ge=0)]
    timeout: Seconds


class JudgesSettings(Section):
    """Who can judge."""

    default: Literal["rules", "simulated", "openai", "anthropic", "google"]
    norms: Path
    catalogue: Annotated[tuple[Path, ...], Field(min_length=1)]
    rules: RulesSettings
    simulated: SimulatedSettings
    openai: LLMSettings
    anthropic: LLMSettings
    google: LLMSettings

    @property
    def llm(self) -> dict[str, LLMSettings]:
        """The language models, by wire format, whether offered or not."""
        return {"openai": self.openai, "anthropic": self.anthropic, "google": self.google}

    @property
    def offered(self) -> dict[str, LLMSettings]:
        """Those of them of which a model is offered; whether it can be asked is not looked at."""
        return {name: section for name, section in self.llm.items() if section.models}


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
    audit_share: Annotated[float, Field(ge=0, le=0.5)]
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
    database: DatabaseSettings
    redis: RedisSettings
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
    def shares_queue(self) -> bool:
        """Whether all providers work on one ledger, so that any of them can answer for any comparison."""
        return self.queue.kind == "redis" or self.database.kind == "postgresql"

    def shares(self, part: str) -> bool:
        """Whether other processes may work on what this part of the data folder stands for."""
        if part == "provider":
            return self.shares_queue
        return self.role == "cj" or self.database.kind == "postgresql"

    @property
    def answers_within(self) -> float:
        """Seconds of `http.grace` for the answers under way; then judge calls drain, on both roads, and the bus."""
        return self.http.grace - 2 * self.provider.drain - self.bus.drain

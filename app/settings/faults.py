"""Combinations of settings that cannot work: the process refuses to start, and says what to do."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from app.contracts import is_legal_topic
from app.settings.sections import LLMSettings, Settings

_URL = re.compile(r"https?://[^/\s?#@]+/?")
_ADDRESS = re.compile(r"[^\s:/,]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")
_POSTGRES = re.compile(r"postgres(ql)?://[^/\s]*/[^/\s]+")
_BASE_URL = re.compile(r"https?://[^/\s?#@]+(/[^\s?#@]*)?")
_KEY = re.compile(r"[!-~]*")
_REDIS = re.compile(r"rediss?://[^/\s]+|unix://\S+")


def faults(settings: Settings, *, serving: bool = True) -> list[str]:
    """Combinations that cannot work, one line each; what only matters to a process that serves is not asked of others."""
    found = [
        f"provider.topics: '{topic}' is no legal topic name; allowed are letters, digits and . _ -"
        for topic in settings.provider.topics
        if not is_legal_topic(topic)
    ]
    if settings.cj.callback_topic not in settings.provider.topics:
        found.append(
            f"cj.callback_topic: '{settings.cj.callback_topic}' is not in provider.topics, "
            f"so every comparison would be refused; allowed are {', '.join(settings.provider.topics)}"
        )
    if settings.http.public and not settings.auth.enabled:
        found.append(
            f"http.host: '{settings.http.host}' can be reached by others, but auth.enabled = false lets everybody do "
            "everything; set auth.enabled = true and make a key (`key new`), or use http.host = '127.0.0.1'"
        )
    found += _faults_of_shares(settings)
    found += _faults_of_kafka(settings) + _faults_of_engines(settings)
    if serving:
        found += _faults_of_role(settings)
    if settings.answers_within <= 0:
        found.append(
            f"http.grace: {settings.http.grace:g} leaves nothing for answers under way after twice provider.drain = "
            f"{settings.provider.drain:g} and bus.drain = {settings.bus.drain:g}; raise it, or lower them"
        )
    if settings.judges.default == "simulated" and not settings.judges.simulated.scores:
        found.append("judges.default: 'simulated' needs judges.simulated.scores, a csv file `sha256,score`")
    for name, section in settings.judges.llm.items():
        found += _faults_of_llm(name, section, chosen=settings.judges.default == name)
    if settings.breaker.cooldown > settings.breaker.cooldown_cap:
        found.append(
            f"breaker.cooldown: {settings.breaker.cooldown} is over breaker.cooldown_cap = {settings.breaker.cooldown_cap}"
        )
    if settings.queue.retention <= settings.cj.expires_in:
        found.append(
            f"queue.retention: {settings.queue.retention} must be longer than cj.expires_in = {settings.cj.expires_in}, "
            "or a repair could be taken for a new request"
        )
    return found


def _faults_of_llm(name: str, section: LLMSettings, *, chosen: bool) -> list[str]:
    found = []
    if chosen and not section.models:
        found.append(
            f"judges.default: '{name}' needs a model; name one with --model, or in judges.{name}.models"
        )
    if len(set(section.models)) < len(section.models):
        found.append(f"judges.{name}.models: a name stands twice in {', '.join(section.models)}")
    if not _BASE_URL.fullmatch(section.base_url):
        found.append(
            f"judges.{name}.base_url: what is given is no address; write https://HOST or http://HOST:PORT/PATH, "
            "without a user, a query or a fragment"
        )
    if not _KEY.fullmatch(section.key.get_secret_value().strip()):
        found.append(f"judges.{name}.key: what is given holds a space or a letter that no key has")
    return found


def _faults_of_shares(settings: Settings) -> list[str]:
    """A limit that is too small to be divided would be exceeded by those who get one call each all the same."""
    processes, judges = settings.provider.processes, settings.judges
    limits = {
        f"judges.{name}.requests_per_minute": section.requests_per_minute
        for name, section in ({"rules": judges.rules, "simulated": judges.simulated} | judges.llm).items()
    } | {
        f"judges.{name}.tokens_per_minute": section.tokens_per_minute for name, section in judges.llm.items()
    }
    return [
        f"{key}: {limit} cannot be divided among provider.processes = {processes}; each would get less than one"
        for key, limit in limits.items()
        if 0 < limit < processes
    ]


def _faults_of_role(settings: Settings) -> list[str]:
    found = []
    if settings.role != "all" and settings.bus.kind == "memory":
        found.append(
            f"role: '{settings.role}' needs a bus between processes, but bus.kind = 'memory' "
            "lives in one process; use bus.kind = 'kafka', or role = 'all'"
        )
    if settings.role == "cj" and not settings.cj.provider_urls:
        found.append(
            "cj.provider_urls: empty, but role 'cj' must know where the providers are; "
            'write a list such as ["http://127.0.0.1:8001"]'
        )
    if settings.role == "all" and settings.cj.provider_urls:
        found.append(
            "cj.provider_urls: role 'all' has its provider in the same process and would never ask "
            f"{', '.join(settings.cj.provider_urls)}; use role = 'cj', or leave it empty"
        )
    if settings.role == "cj" and settings.cj.hold <= settings.cj.provider_timeout:
        found.append(
            f"cj.hold: {settings.cj.hold:g} must be longer than cj.provider_timeout = {settings.cj.provider_timeout:g}, "
            "or a slow POST would be sent twice"
        )
    found += [
        f"cj.provider_urls: '{url}' is no address of a provider; write http://HOST:PORT or https://HOST"
        for url in settings.cj.provider_urls
        if not _URL.fullmatch(url)
    ]
    return found


def _faults_of_kafka(settings: Settings) -> list[str]:
    kafka, found = settings.kafka, []
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
        found.append("kafka.cert_file: a client certificate needs both kafka.cert_file and kafka.key_file")
    return found


def _faults_of_engines(settings: Settings) -> list[str]:
    found = []
    shared = [
        f"{key}: '{kind}' is shared between processes"
        for key, kind, alone in (
            ("queue.kind", settings.queue.kind, "sql"),
            ("database.kind", settings.database.kind, "sqlite"),
        )
        if kind != alone
    ]
    if settings.bus.kind == "memory":
        found += [
            f"{what}, but bus.kind = 'memory' would keep their callbacks in one; use bus.kind = 'kafka'"
            for what in shared
        ]
    if settings.database.kind == "postgresql" and not _POSTGRES.match(
        settings.database.url.get_secret_value()
    ):
        found.append(
            "database.url: database.kind = 'postgresql' needs postgresql://USER:PASSWORD@HOST:PORT/DATABASE; "
            "better in the environment: JUXTA_DATABASE__URL"
        )
    if settings.database.kind == "sqlite" and settings.database.url.get_secret_value():
        found.append("database.url: would not be used with database.kind = 'sqlite'; leave it empty")
    if settings.queue.kind == "redis" and not _REDIS.match(settings.redis.url.get_secret_value()):
        found.append("redis.url: write redis://USER:PASSWORD@HOST:PORT/NUMBER, or rediss:// for TLS")
    for key, url in (("database.url", settings.database.url), ("redis.url", settings.redis.url)):
        found += _faults_of_url(key, url.get_secret_value())
    return found


def _faults_of_url(key: str, url: str) -> list[str]:
    """What would be taken for the host, and so be printed, though it is the end of a password; or no port."""
    if url.startswith("unix:"):
        return []
    try:
        place = urlsplit(url).netloc
    except ValueError:  # a bracket that opens no IPv6 address
        place = ""
    if url.count("@") > min(1, place.count("@")):
        signs = "@ / ? # [ ] have to be percent-encoded: %40 %2F %3F %23 %5B %5D"
        return [f"{key}: an @ is out of place; in user and password {signs}"]
    try:
        _ = urlsplit(url).port
    except ValueError:
        return [f"{key}: the port is no number up to 65535; give it one host, as HOST:PORT"]
    return []

"""Settings: one file documents them all, the later source wins, every fault is named at once."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from app.errors import ConfigurationError
from app.settings import DEFAULTS, ROOT, VENDORS, Section, Settings, is_vendor, load


def keys(section: type[Section], path: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            found |= keys(kind, f"{path}{name}.")
        else:
            found.add(f"{path}{name}")
    return found


def test_the_default_file_documents_every_setting_and_no_other() -> None:
    def flat(tree: dict[str, object], path: str = "") -> set[str]:
        return set().union(
            *(flat(v, f"{path}{k}.") if isinstance(v, dict) else {f"{path}{k}"} for k, v in tree.items())
        )

    assert flat(tomllib.loads(DEFAULTS.read_text())) == keys(Settings)


def test_language_models_are_asked_at_their_vendors_unless_another_address_is_set() -> None:
    settings, _ = load(environment={})
    assert settings.judges.llm.keys() == VENDORS.keys()
    assert all(is_vendor(name, section.base_url) for name, section in settings.judges.llm.items())
    own, _ = load(assignments=["judges.openai.base_url=http://127.0.0.1:11434/v1"], environment={})
    assert not is_vendor("openai", own.judges.openai.base_url)
    settings, sources = load(environment={})
    assert settings.bus.kind == "memory"
    assert set(sources.values()) == {"default"}


def test_the_later_source_wins_and_is_named(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("[http]\nport = 1\nhost = '0.0.0.0'\nbody_limit = 5\n")
    settings, sources = load(
        file, ["http.port=3"], {"JUXTA_HTTP__PORT": "2", "JUXTA_HTTP__HOST": "::1", "PATH": "x"}
    )
    assert (settings.http.port, settings.http.host, settings.http.body_limit) == (3, "::1", 5)
    assert sources["http.port"] == "command line"
    assert sources["http.host"] == "environment"
    assert sources["http.body_limit"] == str(file)


def test_all_faults_are_reported_at_once_each_with_key_value_and_what_is_allowed() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(
            None, ["http.port=abc", "bus.kind=carrier-pigeon", "nonsense.key=1"], {"JUXTA_QUEUE__LIMITT": "1"}
        )
    lines = caught.value.detail.splitlines()
    assert len(lines) == 4
    assert any(line.startswith("http.port: 'abc' (from command line)") for line in lines)
    assert any("'carrier-pigeon'" in line and "'memory'" in line for line in lines)
    assert any(line.startswith("nonsense") and "unknown setting" in line for line in lines)
    assert any(line.startswith("queue.limitt: unknown setting (from environment)") for line in lines)


def test_the_key_that_commands_send_is_no_setting() -> None:
    assert "key" not in load(environment={"JUXTA_KEY": "juxta_a_b"})[1]


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("role=cj", "needs a bus between processes"),
        ("cj.callback_topic=other.topic", "not in provider.topics"),
        ("provider.topics=['no spaces']", "no legal topic name"),
        ("judges.default=simulated", "needs judges.simulated.scores"),
        ("http.host=0.0.0.0", r"0\.0\.0\.0.*auth\.enabled = true.*`key new`"),
        ("http.host=192.168.1.5", "can be reached by others"),
        ("http.host=::", "can be reached by others"),
        ("http.host=juxta.example.org", "can be reached by others"),
        ("queue.retention=10", "must be longer than cj.expires_in"),
    ],
)
def test_an_impossible_combination_is_refused_with_its_reason(assignment: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        load(None, [assignment], {})


KAFKA = ("bus.kind=kafka", "kafka.servers=127.0.0.1:9092")


@pytest.mark.parametrize(
    ("assignments", "says"),
    [
        (("role=provider",), "needs a bus between processes"),
        (("role=cj", *KAFKA), "must know where the providers are"),
        (
            ("role=cj", *KAFKA, 'cj.provider_urls=["localhost:1"]'),
            "'localhost:1' is no address of a provider",
        ),
        (('cj.provider_urls=["http://a:1"]',), "has its provider in the same process"),
        (("kafka.servers=broker",), "'broker' is no list of brokers"),
        (("kafka.heartbeat=9",), "more than a third of kafka.session_timeout"),
        (("kafka.security_protocol=SASL_SSL",), "needs kafka.username and kafka.password"),
        (("kafka.username=me",), "would not be used"),
        (("kafka.cert_file=a.pem",), "needs both"),
        (("http.grace=5",), "leaves nothing for answers under way"),
    ],
)
def test_a_role_that_could_not_work_is_refused_with_its_reason(
    assignments: tuple[str, ...], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        load(assignments=assignments, environment={})


@pytest.mark.parametrize(
    "assignments",
    [
        ("role=provider", *KAFKA),
        ("role=provider", *KAFKA, 'cj.provider_urls=["http://provider-1:8001"]'),
        ("role=cj", *KAFKA, 'cj.provider_urls=["http://provider-1:8001", "https://provider.example.org/"]'),
        ("role=all", *KAFKA, "kafka.servers=a:9092, [::1]:9092"),
    ],
)
def test_roles_apart_start_with_kafka_between_them(assignments: tuple[str, ...]) -> None:
    load(assignments=assignments, environment={})


def test_a_password_of_digits_stays_what_it_is_and_is_never_shown() -> None:
    settings, _ = load(environment={"JUXTA_KAFKA__PASSWORD": "0123", "JUXTA_HTTP__PORT": "9000"})
    assert settings.kafka.password.get_secret_value() == "0123"
    assert settings.http.port == 9000
    assert "0123" not in settings.model_dump_json()


@pytest.mark.parametrize("text", ["[http", "\x00", "é".encode("latin-1").decode("latin-1")])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "broken.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"broken\.toml"):
        load(file, (), {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml: cannot be read"):
        load(tmp_path / "nowhere.toml", (), {})


def test_an_assignment_without_a_value_says_how_to_write_it() -> None:
    with pytest.raises(ConfigurationError, match=r"key\.sub=value"):
        load(None, ["http.port"], {})


def test_a_command_may_be_given_the_settings_of_a_server_whatever_its_role() -> None:
    environment = {"JUXTA_CJ__PROVIDER_URLS": '["http://a:1"]'}
    load(environment=environment, serving=False)
    with pytest.raises(ConfigurationError, match="role 'all' has its provider in the same process"):
        load(environment=environment)


@pytest.mark.parametrize("role", ["provider", "cj"])
def test_the_settings_for_production_are_sound_once_the_environment_says_where_things_are(role: str) -> None:
    secret = "correct-horse"
    environment = {
        "JUXTA_ROLE": role,
        "JUXTA_DATABASE__URL": f"postgresql://juxta:{secret}@db:5432/juxta",
        "JUXTA_REDIS__URL": f"rediss://juxta:{secret}@redis:6379/0",
        "JUXTA_CJ__PROVIDER_URLS": '["http://provider1:8001", "http://provider2:8001"]',
    }
    settings, _ = load(ROOT / "config" / "production.toml", environment=environment)
    assert settings.shares_queue
    assert settings.shares("cj")
    assert secret not in settings.model_dump_json()


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["queue.kind=redis"], "queue.kind: 'redis' is shared between processes, but bus.kind = 'memory'"),
        (
            ["database.kind=postgresql", "database.url=postgresql://a@b/c"],
            "database.kind: 'postgresql' is shared",
        ),
        (["database.kind=postgresql", "bus.kind=kafka"], "database.url: database.kind = 'postgresql' needs"),
        (["database.url=postgresql://a@b/c"], "database.url: would not be used"),
        (["queue.kind=redis", "bus.kind=kafka", "redis.url=localhost:6379"], "redis.url: write redis://"),
        (["redis.prefix={a}"], "redis.prefix"),
    ],
)
def test_engines_that_cannot_work_together_refuse_to_start(assignments: list[str], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(assignments=assignments, environment={})
    assert words in caught.value.detail


@pytest.mark.parametrize(
    "secret", ["p@canary", "p/canary", "p@canary:1/x", "p?canary", "p#canary", "canary@", "p[canary"]
)
@pytest.mark.parametrize(
    ("kind", "url"), [("database.kind=postgresql", "database.url"), ("queue.kind=redis", "redis.url")]
)
def test_a_password_that_is_not_percent_encoded_is_refused_and_no_part_of_it_told(
    secret: str, kind: str, url: str
) -> None:
    """Taken in silence, what follows its first @ or / would be printed as the host."""
    scheme = "postgresql" if url == "database.url" else "redis"
    with pytest.raises(ConfigurationError, match="percent-encoded") as caught:
        load(
            assignments=["bus.kind=kafka", kind, f"{url}={scheme}://juxta:{secret}@127.0.0.1:5432/0"],
            environment={},
        )
    assert f"{url}: " in caught.value.detail
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("port", ["many", "5432,other:5432", "70000"])
def test_a_port_that_is_no_number_is_refused(port: str) -> None:
    address = f"database.url=postgresql://juxta:p%40ss%2F@h:{port}/juxta"
    with pytest.raises(ConfigurationError, match=r"database\.url: .*port"):
        load(assignments=["bus.kind=kafka", "database.kind=postgresql", address], environment={})


OWN = "http://127.0.0.1:11434/v1"


def test_the_key_that_people_have_already_is_taken_and_its_source_named() -> None:
    settings, sources = load(environment={"OPENAI_API_KEY": " sk-1 ", "GEMINI_API_KEY": "g-1"})
    assert settings.judges.openai.key.get_secret_value() == "sk-1"
    assert settings.judges.google.key.get_secret_value() == "g-1"
    assert sources["judges.openai.key"] == "environment, OPENAI_API_KEY"


def test_a_key_of_a_vendor_is_shown_to_no_other_server() -> None:
    settings, _ = load(None, [f"judges.openai.base_url={OWN}"], {"OPENAI_API_KEY": "sk-1"})
    assert settings.judges.openai.key.get_secret_value() == ""
    environment = {"OPENAI_API_KEY": "sk-1", "JUXTA_JUDGES__OPENAI__KEY": "sk-2"}
    for url in (OWN, "https://api.openai.com/v1/"):
        settings, _ = load(None, [f"judges.openai.base_url={url}"], environment)
        assert settings.judges.openai.key.get_secret_value() == "sk-2"


@pytest.mark.parametrize("given", ["a,b", "a b", '["a", "b"]'])
def test_models_are_a_list_or_words(given: str) -> None:
    settings, _ = load(None, [f"judges.openai.models={given}"], {})
    assert settings.judges.openai.models == ("a", "b")


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("judges.default=anthropic", "needs a model"),
        ("judges.openai.models=a,a", "stands twice"),
        ("judges.openai.base_url=api.openai.com", "is no address"),
        ("judges.openai.base_url=https://me:canary@proxy/v1", "is no address"),
        ("judges.openai.key=canary key", "no key has"),
    ],
)
def test_what_no_language_model_can_be_asked_by_is_refused(assignment: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        load(None, [assignment], {})
    assert "canary" not in caught.value.detail


def test_a_secret_of_the_wrong_type_is_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("[judges.openai]\nkey = [4711]\n")
    with pytest.raises(ConfigurationError, match=r"judges\.openai\.key") as caught:
        load(file, [], {})
    assert "4711" not in caught.value.detail


@pytest.mark.parametrize(
    "given", ["judges.openai=sk-canary", "redis=sk-canary", "judges=sk-canary", "sk-canary"]
)
def test_a_secret_in_the_place_of_its_section_is_not_told(given: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(None, [given], {})
    assert "canary" not in caught.value.detail


@pytest.mark.parametrize("limit", ["requests_per_minute", "tokens_per_minute"])
def test_a_limit_that_cannot_be_divided_among_the_processes_is_refused(limit: str) -> None:
    with pytest.raises(ConfigurationError, match=f"judges.openai.{limit}: 2 cannot be divided among"):
        load(None, [f"judges.openai.{limit}=2", "provider.processes=3"], {})
    load(None, [f"judges.openai.{limit}=3", "provider.processes=3"], {})

"""The command line: `python run.py` serves; the other commands rank, look and explain."""

from __future__ import annotations

import os
import sys

import typer

from app.cli import (
    batch_files,
    batches,
    breakers,
    dead_letters,
    fit,
    keys,
    look,
    money,
    queue_rows,
    rank,
    serve,
    simulate,
    spec,
)
from app.errors import (
    ConfigurationError,
    Conflict,
    JudgeUnavailable,
    JuxtaError,
    NotFound,
    ProviderUnavailable,
)

app = typer.Typer(
    name="juxta",
    help="Rank essays by comparative judgement. Without a command: serve on http://127.0.0.1:8000.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
)
app.callback(invoke_without_command=True)(serve.serve)
app.command("rank")(rank.rank)
app.command("fit")(fit.fit)
app.command("simulate")(simulate.simulate)
batch = typer.Typer(help="Work on the batches of a running server.", no_args_is_help=True)
batch.command("add")(batches.add)
app.add_typer(batch, name="batch")
app.command("what-if")(batch_files.what_if)
app.command("export")(batch_files.export)
app.command("trace")(look.trace)
app.command("doctor")(look.doctor)
app.command("models")(money.models)
app.command("usage")(money.usage)
providers = typer.Typer(help="Ask the providers of language models how they are.", no_args_is_help=True)
providers.command("test")(money.providers_test)
app.add_typer(providers, name="providers")
queue = typer.Typer(
    help="Look into the provider's queue, and hurry or cancel what waits there.", no_args_is_help=True
)
queue.command("ls")(look.queue_ls)
queue.command("show")(queue_rows.show)
queue.command("retry")(queue_rows.retry)
queue.command("cancel")(queue_rows.cancel)
app.add_typer(queue, name="queue")
breaker = typer.Typer(help="Look at circuit breakers, and work them by hand.", no_args_is_help=True)
breaker.command("ls")(breakers.ls)
breaker.command("trip")(breakers.trip)
breaker.command("reset")(breakers.reset)
app.add_typer(breaker, name="breaker")
letters = typer.Typer(help="Look at what could not be handled, and send it again.", no_args_is_help=True)
letters.command("ls")(dead_letters.ls)
letters.command("show")(dead_letters.show)
letters.command("redrive")(dead_letters.redrive)
app.add_typer(letters, name="dead-letters")
key = typer.Typer(help="Make, list and revoke keys to the HTTP API.", no_args_is_help=True)
key.command("new")(keys.key_new)
key.command("ls")(keys.key_ls)
key.command("revoke")(keys.key_revoke)
app.add_typer(key, name="key")
audit = typer.Typer(help="Look at what operators did.", no_args_is_help=True)
audit.command("ls")(keys.audit_ls)
app.add_typer(audit, name="audit")
config = typer.Typer(help="Look at the settings.", no_args_is_help=True)
config.command("show")(look.config_show)
app.add_typer(config, name="config")
documents = typer.Typer(help="Describe the HTTP API and the topics for other programs.", no_args_is_help=True)
documents.command("openapi")(spec.openapi)
documents.command("asyncapi")(spec.asyncapi)
app.add_typer(documents, name="spec")

_EXITS: tuple[tuple[type[JuxtaError], int], ...] = (
    (ConfigurationError, 2),
    (NotFound, 3),
    (Conflict, 4),
    (ProviderUnavailable, 5),
    (JudgeUnavailable, 5),
)


def main() -> None:
    """Run a command; an expected failure is one message on stderr and an exit code, never a traceback."""
    try:
        app()
    except JuxtaError as error:
        print(f"juxta: {error.detail}", file=sys.stderr)
        for field, message in getattr(error, "errors", ()):
            if message not in error.detail:
                print(f"  {field}: {message}", file=sys.stderr)
        if error.hint:
            print(error.hint, file=sys.stderr)
        sys.exit(next((code for kind, code in _EXITS if isinstance(error, kind)), 1))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `… | head` closed the pipe: nobody is left to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)

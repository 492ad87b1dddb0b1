"""What a process with these settings tells other programs about itself: both documents, and the page that shows them."""

from __future__ import annotations

import json
from typing import Any

from starlette.routing import BaseRoute

from app.settings import Settings
from app.spec.asyncapi import Broker, asyncapi
from app.spec.openapi import openapi
from app.spec.operation import Role
from app.spec.routes import routes


def openapi_of(settings: Settings, role: Role | None = None) -> dict[str, Any]:
    """The HTTP API of a process of `role`; without one, of the role in the settings."""
    return openapi(role or settings.role, keys=settings.auth.enabled)


def asyncapi_of(settings: Settings, role: Role | None = None) -> dict[str, Any]:
    """The topics of a process of `role`; without one, of the role in the settings."""
    kafka = settings.kafka
    broker = Broker(
        servers=[server.strip() for server in kafka.servers.split(",")],
        security_protocol=kafka.security_protocol,
        sasl_mechanism=kafka.sasl_mechanism,
        partitions=settings.bus.partitions,
        replicas=kafka.replication,
        retention=kafka.retention,
    )
    return asyncapi(
        role or settings.role,
        topics=settings.provider.topics,
        consumed=settings.cj.callback_topic,
        group=settings.cj.group,
        broker=broker if settings.bus.kind == "kafka" else None,
    )


def text(document: dict[str, Any], *, indent: int | None = 2) -> str:
    """A document as it is printed, committed and compared."""
    return json.dumps(document, indent=indent, ensure_ascii=False) + "\n"


def document_routes(settings: Settings) -> list[BaseRoute]:
    """`/openapi.json`, `/asyncapi.json`, and `/docs` for people."""
    return routes(settings.role, openapi=openapi_of(settings), asyncapi=asyncapi_of(settings))

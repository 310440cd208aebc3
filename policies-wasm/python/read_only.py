"""Lets programs read one host."""

import json

from wit_world.exports import configure
from wit_world.imports.types import Denial, Grant, Inspection, Verdict_Abstain, Verdict_Allow, Verdict_Deny

settings = {"host": "example.com"}


class Configure:
    def schema(self):
        return json.dumps(
            {"type": "object", "properties": {"host": {"type": "string"}}, "additionalProperties": False}
        )

    def configure(self, text):
        settings.update(json.loads(text))
        return configure.Setup(body_cap=0, examples=[])


def deny(rule, reason, hint):
    return Verdict_Deny(Denial(rule=rule, reason=reason, hint=hint))


def allow(rule):
    return Verdict_Allow(
        Grant(
            rule=rule,
            inspection=Inspection.AUTOMATIC,
            credential=None,
            private_ranges=[],
            headers=[],
            audit=None,
        )
    )


class Connect:
    def decide(self, connection):
        return allow("known-host") if connection.host == settings["host"] else Verdict_Abstain()


class Request:
    def decide(self, connection, request):
        if connection.host != settings["host"]:
            return Verdict_Abstain()
        if request.method in ("GET", "HEAD"):
            return allow("read-only")
        return deny("read-only", f"{request.method} would write", "use GET")

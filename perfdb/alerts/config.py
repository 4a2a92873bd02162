"""The rules and channels of the settings, checked when a program starts.

A mistake is a SettingsError with file, line and the nearest right word. Some kinds have a rule by default; a
rule of the same name replaces one, ``off`` takes it away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from perfdb.analysis.rules import KINDS, TABLE, Rule
from perfdb.measures import Measure, configured, named
from perfdb.recording.redaction import redact
from perfdb.settings import boolean, number, text, texts, whole
from perfdb.toml import Table, nearest
from perfdb.vocabulary import INFO, SEVERITIES, WARNING, recorded_name

CHANNEL_KINDS = ("webhook", "apprise", "log", "console")
DEFAULT_RULES = tuple(kind.default for kind in TABLE.values() if kind.default is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Somewhere that messages go to; ``url`` and ``secret`` are kept out of every text.

    ``unset`` names the variables that should hold them and are not set: until then it is off.
    """

    name: str
    kind: str
    url: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    min_severity: str = WARNING
    resolved: bool = True
    timeout_s: float = 10.0
    most_per_hour: int = 20
    unset: tuple[str, ...] = ()

    @property
    def off(self) -> str | None:
        """Why nothing can be sent, in words; None when it can."""
        if not self.unset:
            return None
        verb = "is" if len(self.unset) == 1 else "are"
        return f"channel '{self.name}' is off: {' and '.join(self.unset)} {verb} not set"

    def wants(self, severity: str) -> bool:
        """Say whether an alert of this severity goes here."""
        return SEVERITIES.index(severity) >= SEVERITIES.index(self.min_severity)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """All that the evaluation after a session needs to know."""

    rules: tuple[Rule, ...] = DEFAULT_RULES
    channels: tuple[Channel, ...] = ()
    channels_off: tuple[Channel, ...] = ()
    repeat_after_s: float = 24 * 3600.0
    stale_after_s: float = 14 * 24 * 3600.0
    measures: Mapping[str, Measure] = field(default_factory=dict)  # that the settings describe

    def rule(self, name: str) -> Rule | None:
        """Return the rule of this name."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def rules_for(self, pinned: Iterable[str]) -> tuple[Rule, ...]:
        """Return the rules; the default one that holds runs against baselines, for each measure pinned."""
        further = [
            replace(rule, metric=name, measure=measure, direction=measure.direction, jitter=0.0)
            for rule in self.rules
            if rule.default and TABLE[rule.kind].finds == "loss"
            for name in sorted({*pinned} - {rule.metric})
            for measure in (named(name, self.measures),)
        ]
        return (*self.rules, *further)


def read_alert_settings(
    table: Table, environ: Mapping[str, str] | None = None, *, reading: bool = False
) -> AlertSettings:
    """Return the ``[alerts]`` of the settings.

    Args:
        table: ``Settings.alerts``.
        environ: where ``url_env`` and ``secret_env`` of a channel look; the process's when None.
        reading: nothing will be sent from here: a channel whose variable is not set counts as the others,
            because programs that send may have it. Else it is among ``channels_off``.

    Raises:
        SettingsError: a key, kind or value that perfdb does not know; two rules or channels of one name.
    """
    if not table:
        return AlertSettings()
    found = table.read(
        {
            "rules": _anything,
            "channels": _anything,
            "off": texts,
            "repeat_after_h": number(0.01, 10_000),
            "stale_after_days": number(0.01, 10_000),
        }
    )
    measures = {} if table.above is None else configured(table.above.table("measures"))
    rules = [_rule(each, measures) for each in table.tables("rules")]
    channels = [_channel(each, environ) for each in table.tables("channels")]
    _refuse_twice(table, "rules", [rule.name for rule in rules])
    _refuse_twice(table, "channels", [channel.name for channel in channels])
    named = {rule.name for rule in rules}
    off = set(found.get("off", ()))
    known = {rule.name for rule in DEFAULT_RULES}
    for name in sorted(off - known):
        raise table.error(f"'off' names no default rule: '{name}'{nearest(name, known)}", "off")
    kept = tuple(rule for rule in DEFAULT_RULES if rule.name not in named | off)
    return AlertSettings(
        rules=(*rules, *kept),
        channels=tuple(each for each in channels if reading or not each.unset),
        channels_off=tuple(each for each in channels if each.unset and not reading),
        repeat_after_s=3600.0 * found.get("repeat_after_h", 24.0),
        stale_after_s=86400.0 * found.get("stale_after_days", 14.0),
        measures=measures,
    )


def _anything(value: object) -> object:
    return value


def _refuse_twice(table: Table, key: str, names: list[str]) -> None:
    for index, name in enumerate(names):
        if name in names[:index]:
            raise table.error(f"two of [[alerts.{key}]] are called '{name}': a name is unique", key, index)


def _one_of(known: tuple[str, ...]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        near = nearest(value, known) if isinstance(value, str) else ""
        meant = f" ({near[2:]})" if near.startswith("; did") else ""
        raise ValueError(f"must be one of {', '.join(known)}{meant}")

    return check


def _mode(value: object) -> tuple[tuple[str, object], ...]:
    if isinstance(value, Mapping) and value:
        return tuple(sorted((str(key), each) for key, each in value.items()))
    raise ValueError("must be a table such as { fast_mode = false }")


def _name(value: object) -> str:
    """Accept a name; it is shown, and compared with names as they were recorded."""
    return recorded_name(redact(text(value)))


def _addressed(value: object) -> str:
    """Accept the name of a rule, which stands in the address of its page."""
    name = _name(value)
    if {".", ".."}.intersection(name.split("/")):  # a browser takes them for folders
        raise ValueError("must have no '.' or '..' between slashes")
    return name


_COMMON: dict[str, Any] = {
    "name": _addressed,
    "kind": _one_of(KINDS),
    "severity": _one_of(SEVERITIES),
    "step": _name,
    "pipeline": _name,
    "metric": text,
    "mode": _mode,
    "hits": whole(1, 100),
}


def _rule(table: Table, measures: Mapping[str, Measure]) -> Rule:
    for key in ("name", "kind"):
        if key not in table:
            raise table.error(f"a rule needs '{key}'")
    kind = TABLE.get(table["kind"]) if isinstance(table["kind"], str) else None
    if kind is None:
        table.read(_COMMON | {key: _anything for key in table if key not in _COMMON})  # says which are known
        raise table.error("there is no such kind", "kind")
    checks = _COMMON | {name: number(*limits) for name, limits in kind.settings.items()}
    checks = checks | {name: _one_of(words) for name, words in kind.choices.items()}
    if kind.sided:
        checks = checks | {"direction": _one_of(("up", "down"))}
    found = table.read(checks)
    for key in kind.needs:
        if key not in found:
            raise table.error(f"rule '{found['name']}' of kind '{kind.name}' needs '{key}'")
    severity = found.setdefault("severity", INFO if kind.information else WARNING)
    if kind.information and severity != INFO:
        raise table.error(
            f"a rule of kind '{kind.name}' is information only: severity must be 'info'", "severity"
        )
    found = {**kind.defaults, **found}
    default = next((rule for rule in DEFAULT_RULES if rule.name == found["name"]), None)
    if default is not None and default.kind == kind.name:
        return replace(default, **found, default=False)
    if kind.looks_at == "failed" and found.get("metric", "duration") != "duration":
        raise table.error(f"a rule of kind '{kind.name}' has no metric", "metric")
    if found.get("metric") == "total":  # the session's total is a rule without a step
        if "step" in found:
            raise table.error("metric 'total' is the session's: leave 'step' out", "step")
        found["metric"] = "duration"
    measure = named(found.get("metric", "duration"), measures)
    if kind.sided:
        found.setdefault("direction", measure.direction)
    return Rule(measure=measure, **found)


def rule_lines(rule: Rule) -> str:
    """Return a rule as it stands in ``perfdb.toml``; read again, it is the same rule."""
    kind = TABLE[rule.kind]
    given: dict[str, object] = {"name": rule.name, "kind": rule.kind, "severity": rule.severity}
    given |= {name: getattr(rule, name) for name in ("step", "pipeline") if getattr(rule, name) is not None}
    if rule.metric != "duration":
        given["metric"] = rule.metric
    given |= {name: getattr(rule, name) for name in kind.settings if getattr(rule, name) is not None}
    if kind.sided:
        given["direction"] = rule.direction
    if rule.hits != 1:
        given["hits"] = rule.hits
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in given.items()]
    if rule.mode is not None:
        pairs = (f"{json.dumps(name)} = {json.dumps(value, ensure_ascii=False)}" for name, value in rule.mode)
        lines.append(f"mode = {{ {', '.join(pairs)} }}")
    return "\n".join(["[[alerts.rules]]", *lines])


def _channel(table: Table, environ: Mapping[str, str] | None) -> Channel:
    found = table.read(
        {
            "name": _name,
            "kind": _one_of(CHANNEL_KINDS),
            "url": text,
            "url_env": text,
            "secret": text,
            "secret_env": text,
            "min_severity": _one_of(SEVERITIES),
            "resolved": boolean,
            "timeout_s": number(0.1, 60),
            "most_per_hour": whole(1, 10_000),
        }
    )
    for key in ("name", "kind"):
        if key not in found:
            raise table.error(f"a channel needs '{key}'")
    unset: list[str] = []
    for key in ("url", "secret"):
        variable = found.pop(f"{key}_env", None)
        if variable is not None:
            if key in found:
                raise table.error(f"give '{key}' or '{key}_env', not both", f"{key}_env")
            found[key] = _environment(environ).get(variable, "").strip() or "(not set)"
            if found[key] == "(not set)":
                unset.append(variable)
    kind, url = found["kind"], found.get("url")
    if kind in ("webhook", "apprise") and not url:
        raise table.error(f"a channel of kind '{kind}' needs 'url' or 'url_env'")
    if kind == "webhook" and url != "(not set)" and (wrong := _not_of_the_web(str(url))):
        raise table.error(f"the 'url' of a webhook {wrong}", "url")
    return Channel(**found, unset=tuple(unset))


def _not_of_the_web(url: str) -> str:
    """Return what is wrong with an address of the web, without a part of it; "" when it is right."""
    if not url.startswith(("http://", "https://")):
        return "starts with http:// or https://"
    if not url.isprintable() or " " in url:
        return "has a blank or a control character in it"
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        return "" if parts.hostname and parts.port != 0 else "names no host"
    except ValueError:  # of the port too, and of what is no name of a host
        return "has a host or a port that cannot be"


def _environment(environ: Mapping[str, str] | None) -> Mapping[str, str]:
    import os

    return os.environ if environ is None else environ

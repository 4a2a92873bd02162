"""Values as a person says them, and recorded texts that nothing obeys. Pure, for every way of showing.

What was recorded is shown inert: control characters and direction overrides become visible
escapes, so that no step name can move a cursor, forge a line or turn the words around it.
"""

from __future__ import annotations

import json
import math
import re

from perfdb.vocabulary import MEDIANS, NOT_RUN, OTHER, TOTAL

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# Patterns are compiled when they are first needed, by ``re`` itself: most programs need none of them.
# Printable to Unicode, and nothing to see: fillers, selectors of variants but those of emoji and ideographs
_HIDDEN = (
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0d\uffa0]"
    "|(?<![\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]"
)
_BREAK = "\u200b"
_MARKUP = (
    (r"[<@|\\]|[&!](?=[\w#])", rf"\g<0>{_BREAK}"),  # tags, mentions, spoilers, entities
    (r"\](?=[(\[:])", f"]{_BREAK}"),  # links and pictures
    (
        r"(?i)(:)(?=//)|\b(www)(?=\.)|\b(mailto|javascript|data|tel|sms|xmpp|sips?|magnet|tg)(?=:)",
        rf"\g<0>{_BREAK}",
    ),
    # domains without a scheme, which many services make links of, with every dot that IDNA knows; addresses
    (r"(?<=[^\W_])[.\u2024\u3002\ufe52\uff0e\uff61](?=[^\W\d_][^\W_])", rf"\g<0>{_BREAK}"),
    (r"\b\d{1,3}(?=\.\d{1,3}\.\d{1,3}\.\d{1,3}\b)", rf"\g<0>{_BREAK}"),
    (r"\*", "\u2217"),
    (r"`", "\u02cb"),
    (r"~", "\u223c"),
    (r"(?<![^\W_])_|_(?![^\W_])", "\uff3f"),  # but not within session ids
)


# What services of continuous integration obey in a log: ::add-mask::, ##[command], ##vso[…], ##teamcity[…]
_COMMANDS = r"(?i)\A\s*:(?=:[a-z\-]+[ :])|#(?=#(?:\[|vso\[|teamcity\[))"

_OUR_NAMES = (TOTAL.lower(), OTHER.lower(), MEDIANS.lower(), "everything", "time outside of steps")
# Spaces within a figure: 5 s, 2 min 05 s, 46 %, n = 48
_WITHIN_FIGURE = (
    r"(?<=\d) (?=(?:[mµ]?s|min|h|%|×|[kMG]?B)(?!\w))|(?<=\d min) (?=\d\d s)"
    r"|(?<=\b[np]) (?== )|(?<=\b[np] =) (?=\d)"
)
_MOST_SHOWN = 8  # names of what there is
_MOST_OF_LINE = 200  # characters
_MOST_ESCAPED = 100_000  # characters of a text that cannot be shown as it is


def inert(text: object) -> str:
    """Return the text with nothing in it that a terminal, a log, a browser or an editor would obey."""
    shown = str(text)
    if "##" in shown or shown.lstrip().startswith("::"):
        shown = re.sub(_COMMANDS, r"\g<0>\\", shown)
    if not shown.isascii():
        shown = re.sub(_HIDDEN, lambda found: _escaped(found[0]), shown)
    if shown.isprintable():
        return shown
    shown = cut_to(shown, _MOST_ESCAPED)
    return "".join(_escaped(character) if _is_unsafe(character) else character for character in shown)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def cut_to(text: str, characters: int, of: int | None = None) -> str:
    """Return the text cut to so many characters, with the number of those that are missing.

    Args:
        text: whole, or the beginning of one of ``of`` characters, such as what is left of it redacted.
        characters: that are kept.
        of: length of the whole.
    """
    missing = (len(text) if of is None else of) - characters
    return text if missing <= 0 else f"{text[:characters]}… [{missing} characters cut]"


def one_line(text: str) -> str:
    """Return the first line of a text, inert and cut to 200 characters; cuts are marked."""
    lines = [line for line in text[: 20 * _MOST_OF_LINE].splitlines() if line.strip()] or [""]
    line = lines[0] if len(lines) == 1 else f"{lines[0].rstrip()} …"
    line = inert(line if line.isprintable() else line.replace("\t", " "))
    return line if len(line) <= _MOST_OF_LINE else f"{line[: _MOST_OF_LINE - 1]}…"


def unmarked(text: str) -> str:
    """Return the text as any service shows it: it mentions nobody and marks nothing up.

    Chats, mails and telephones each obey other signs, whatever format they are given. Signs that matter
    to none of our own words get a break of no width, or give way to one that looks alike.
    """
    for pattern, inert_sign in _MARKUP:
        text = re.sub(pattern, inert_sign, text)
    return text


def _is_unsafe(character: str) -> bool:
    if character.isprintable():
        return False
    from unicodedata import category

    return category(character) in _UNSAFE and character != "\u200d"  # the joiner inside of emoji


def nothing_called(kind: str, name: str, known: Iterable[str], where: str) -> str:
    """Return in words that nothing is called so, and what is near, or what there is."""
    import difflib

    names = sorted(set(known))
    by_letters = {each.casefold(): each for each in names}
    near = difflib.get_close_matches(name.casefold(), by_letters, n=3)
    if near:
        hint = "did you mean " + " or ".join(repr(by_letters[each]) for each in near) + "?"
    elif names:
        more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
        hint = "there are " + ", ".join(repr(each) for each in names[:_MOST_SHOWN]) + more
    else:
        hint = "there is none"
    return f"no {kind} in {where} is called {shortened(name, 80)!r}; {hint}"


def shortened(text: str, characters: int) -> str:
    """Return the text cut in its middle to so many characters; both ends distinguish long names."""
    if len(text) <= characters:
        return text
    head = (characters - 1) * 2 // 3
    return f"{text[:head].rstrip()}…{text[len(text) - (characters - 1 - head) :].lstrip()}"


def unbroken(sentence: str) -> str:
    """Return the sentence with no-break spaces within its figures: no line ends between number and unit."""
    return re.sub(_WITHIN_FIGURE, "\u00a0", sentence)


def so_far_text(seconds: float, usual: float | None) -> str:
    """Return how long what has not ended has taken, beside what is usual: ``so far 12 s, usually 37 s``."""
    return f"so far {duration_text(seconds)}" + ("" if usual is None else f", usually {duration_text(usual)}")


def duration_text(seconds: float | None) -> str:
    """Return seconds as a person says them: ``850 µs``, ``12.3 ms``, ``23.33 s``, ``2 min 05 s``."""
    if seconds is None or seconds != seconds:
        return "-"
    if seconds == 0:
        return "0 s"
    if 0 < seconds < 0.95e-6:  # a limit that somebody set: no time is measured so finely
        return f"{seconds * 1e6:.2g} µs"
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 119.995:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod((whole + 30) // 60, 60)
    return f"{hours} h {minutes:02d} min"


def size_text(size: float | None) -> str:
    """Return bytes as a person says them: ``310 MB``."""
    if size is None or size != size:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def amount_text(value: float | None, unit: str) -> str:
    """Return a value with its unit: ``23.33 s``, ``310 MB``, ``$0.084``, ``1,234 tokens``, ``12.3 %``.

    Args:
        value: in the unit.
        unit: of a measure, see ``measures.Measure``; empty for a count.
    """
    if value is None or value != value:
        return "-"
    if value < 0:
        return f"-{amount_text(-value, unit)}"
    if unit in ("s", "ms"):
        return duration_text(value if unit == "s" else value / 1000)
    if unit == "bytes":
        return size_text(value)
    if unit == "usd":
        return f"${money_text(value)}"
    if unit == "percent":
        figure = f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    elif value < 1e15 and (value == int(value) or value >= 1000):
        figure = f"{value:,.0f}"
    else:
        figure = f"{value:.4g}"
    return f"{figure} {'%' if unit == 'percent' else unit}" if unit else figure


def money_text(value: float) -> str:
    """Return dollars, those below one with three digits: ``1,234.50``, ``0.084``, ``0.000123``."""
    if value >= 0.995 or value == 0:
        return f"{value:,.2f}" if value < 1e15 else f"{value:.3g}"
    places = min(12, 2 - math.floor(math.log10(value)))
    figure = f"{value:.{places}f}".rstrip("0")
    return figure + "0" * max(0, 2 - len(figure.partition(".")[2]))


def percent_text(percent: float | None) -> str:
    """Return a percentage as it is read: ``46 %``, ``0.7 %``, nothing when there is none."""
    if percent is None or percent != percent:
        return ""
    if abs(percent) < 0.05:
        return "0 %"
    return f"{percent:.0f} %" if abs(percent) >= 9.95 else f"{percent:.1f} %"


def most_text(name: str, row: Mapping[str, Any], whole: float, words: str) -> str:
    """Say who has most of a measure: ``Image Generation is 71 % of $0.084 a run (cost)``.

    Args:
        name: of the step, as it is shown.
        row: its ``value``, ``unit`` and ``share_percent``, as ``analysis.bottlenecks`` gives them.
        whole: what all steps have together.
        words: what the measure is called.
    """
    share = percent_text(row["share_percent"])
    if not share:
        return f"{name} has the most {words}: {amount_text(row['value'], row['unit'])}"
    return f"{name} is {share} of {amount_text(whole, row['unit'])} a run ({words})"


def is_nothing(difference: float, unit: str = "s") -> bool:
    """Say whether a difference is none: clocks are read to the microsecond, so less than one is rounding."""
    return abs(difference) < 9.5e-7 if unit == "s" else difference == 0


def p_text(p_value: float, digits: int = 2, sign: str = "= ") -> str:
    """Return a p-value: ``= 0.03``; one that is too small for a float is ``< 1e-300``, never 0."""
    return f"{sign}{p_value:.{digits}g}" if p_value > 0 else "< 1e-300"


def difference_text(value: float, unit: str = "s") -> str:
    """Return a difference with its sign: ``+73.4 ms``, ``-$0.02``."""
    if is_nothing(value, unit):
        return amount_text(0.0, unit) if unit != "s" else "0 s"
    return f"{'-' if value < 0 else '+'}{amount_text(abs(value), unit)}"


def local_time(epoch: float) -> str:
    """Return an instant as this machine's clock shows it, to the second."""
    from datetime import datetime

    return datetime.fromtimestamp(epoch).strftime("%Y-%m-%d %H:%M:%S")


def zoned_time(epoch: float) -> str:
    """Return an instant as this machine's clock shows it, with its zone: for what is read elsewhere."""
    from datetime import datetime

    offset = datetime.fromtimestamp(epoch).astimezone().strftime("%z")
    return f"{local_time(epoch)} UTC{'' if offset == '+0000' else f'{offset[:3]}:{offset[3:]}'}"


def utc_time(epoch: float) -> str:
    """Return an instant in UTC, to the second, and say so: for readers anywhere."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def mode_text(mode: str) -> str:
    """Return a mode's canonical JSON as words: ``normal mode``, ``fast mode``, ``model=gpt-4o``, or none."""
    try:
        values = json.loads(mode)
    except ValueError:
        return inert(mode)
    if not isinstance(values, dict):
        return inert(mode)
    words = []
    if values.get("fast_mode") in (True, False):
        words.append("fast mode" if values["fast_mode"] else "normal mode")
    words += [
        f"{inert(name)}={inert(value)}"
        for name, value in values.items()
        if value is not None and not (name == "fast_mode" and isinstance(value, bool))
    ]
    return ", ".join(words)


def step_label(step_name: str | None, kind: str = "step") -> str:
    """Return what a table for people calls a step, or the total; a step of such a name says that it is one.

    Args:
        step_name: as it was recorded; None is the session's total.
        kind: of the row: step, total, medians or other.
    """
    if step_name is None:
        return TOTAL
    return f"{step_name} (step)" if kind == "step" and step_name.lower() in _OUR_NAMES else step_name


def as_it_ran(
    cause: object, n: int, value: float | None, usual: float | None
) -> tuple[float | None, float | None]:
    """Return what a step took and its usual, for a table: None where it did not run, or never had before."""
    return None if cause == NOT_RUN else value, usual if n else None


def counted(number: int, noun: str) -> str:
    """Return ``1 session``, ``12 sessions``, ``100,000 sessions``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def spending_text(row: Mapping[str, Any]) -> str:
    """Return what was spent today and what a run costs beside the usual: a row of ``History.spending``."""
    parts = []
    if row["today_usd"] is not None:
        tokens = f", {row['today_tokens']:,.0f} tokens" if row["today_tokens"] else ""
        parts.append(
            f"{amount_text(row['today_usd'], 'usd')} today in {counted(row['today_n'], 'run')}{tokens}"
        )
    if row["run_usd"] is not None:
        text = f"a run costs {amount_text(row['run_usd'], 'usd')} (median of {row['n']})"
        if row["usual_usd"] is not None:
            change = row["change_percent"]
            moved = f" ({change:+.0f} %)" if change is not None and abs(change) >= 0.5 else ""
            text += f", usually {amount_text(row['usual_usd'], 'usd')}{moved}"
        parts.append(text)
    return "; ".join(parts)

"""Whether an exception ends a step or session as completed, failed or interrupted; and its message.

``sys.exit(0)`` is how a program reports success, and an exception that calls work off (a cancelled task, a
closed generator, a task that asks to be run again, a skipped test) is no failure of the work. Classes of
other libraries are known by their names: none is imported for it.
"""

from __future__ import annotations

from perfdb.guard import raise_foreign
from perfdb.recording.values import MAX_NAME, MAX_TEXT, clean_error, clean_text
from perfdb.vocabulary import COMPLETED, FAILED, INTERRUPTED

TYPE_CHECKING = False  # see perfdb/__init__.py
if TYPE_CHECKING:
    from typing import Any

Expected = tuple[type[BaseException], ...]

MOST_LEAVES = 10_000  # exceptions of one group that are looked at

# Module and name of classes, or of the base that their library gave all such. A KeyboardInterrupt
# is none of them: a run that a person stops has failed.
_INTERRUPTIONS = frozenset(
    (
        "builtins.GeneratorExit",
        "asyncio.exceptions.CancelledError",  # anyio's on asyncio, too
        "concurrent.futures._base.CancelledError",
        "trio.Cancelled",
        "trio._core._exceptions.Cancelled",
        "curio.errors.TaskCancelled",
        "curio.errors.TimeoutCancellationError",
        "twisted.internet.defer.CancelledError",
        "greenlet.GreenletExit",
        "celery.exceptions.TaskPredicate",  # Retry, Ignore, Reject
        "huey.exceptions.RetryTask",
        "huey.exceptions.CancelExecution",
        "huey.exceptions.TaskLockedException",  # it was not run
        "huey.exceptions.RateLimitExceeded",
        "dramatiq.errors.Retry",
        "arq.worker.Retry",
        "airflow.exceptions.AirflowSkipException",
        "airflow.exceptions.AirflowRescheduleException",
        "airflow.exceptions.TaskDeferred",
        "airflow.sdk.exceptions.AirflowSkipException",  # of Airflow 3
        "airflow.sdk.exceptions.AirflowRescheduleException",
        "airflow.sdk.exceptions.DagRunTriggerException",
        "airflow.sdk.exceptions.DownstreamTasksSkipped",
        "airflow.sdk.exceptions.TaskDeferred",
        "dagster._core.definitions.events.RetryRequested",
        "prefect.exceptions.CancelledRun",
        "prefect.exceptions.PausedRun",
        "prefect.exceptions.PrefectSignal",  # Pause and Abort
        "temporalio.exceptions.CancelledError",
        "langgraph.errors.GraphBubbleUp",  # it waits for a person, or goes on elsewhere
        "langgraph.errors.NodeCancelledError",
        "unittest.case.SkipTest",
        "builtins.Skipped",  # pytest.skip: its class says that it is a builtin
        "_pytest.outcomes.Skipped",
        "_pytest.outcomes.XFailed",
    )
)
_EXITS = {"builtins.SystemExit": "code", "click.exceptions.Exit": "exit_code"}


def take_expected(data: dict[str, Any]) -> Expected:
    """Take ``expected`` out of keywords when it is exception classes; else it stays, as an attribute."""
    if "expected" not in data:
        return ()
    given = data["expected"]
    classes = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if classes and all([isinstance(each, type) and issubclass(each, BaseException) for each in classes]):
        del data["expected"]
        return classes
    return ()


def outcome_of(
    success: bool, error: object, expected: Expected = (), *, text_decides: bool = True
) -> tuple[str, str | None]:
    """Return the status of a step or session that ends, and its ``error_message``.

    Args:
        success: what the host says; an exception says it itself.
        error: what it was ended with; a text is kept as it was given.
        expected: further exceptions that are no failure.
        text_decides: a text makes it failed, whatever ``success`` is.
    """
    if isinstance(error, BaseException):
        status = status_of(error, expected)
        return status, None if status == COMPLETED else message_of(error)
    if error is None:
        return COMPLETED if success else FAILED, None
    said = clean_text(error) if isinstance(error, str) else clean_error(error)
    return COMPLETED if success and not text_decides else FAILED, said


def status_of(error: BaseException, expected: Expected = ()) -> str:
    """Return the status of work that an exception ends: completed, failed or interrupted.

    A group is failed when one of its exceptions is, else interrupted when one of them is.
    """
    try:
        found = {_of_one(each, expected) for each in _leaves(error)}
    except BaseException as failure:  # a class of the host may answer for itself
        raise_foreign(failure)
        found = {FAILED}
    for status in (FAILED, INTERRUPTED, COMPLETED):
        if status in found:
            return INTERRUPTED if status == FAILED and _is_expected(error, expected) else status
    return FAILED


def message_of(error: BaseException, limit: int = MAX_TEXT) -> str:
    """Return the type of an exception and what it says, as Python prints it: ``KeyError: 'x'``."""
    try:
        name = clean_text(type(error).__name__, MAX_NAME)
    except BaseException as failure:
        raise_foreign(failure)
        return "<unreadable exception>"
    said = clean_error(error, limit)  # its type when it says nothing
    return name if said in ("", name) else f"{name}: {said}"


def _of_one(error: BaseException, expected: Expected) -> str:
    for kind in type(error).__mro__:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in _INTERRUPTIONS:
            return INTERRUPTED
        if name in _EXITS:
            code = getattr(error, _EXITS[name], None)
            if code is None or (isinstance(code, int) and int(code) == 0):
                return COMPLETED
    return INTERRUPTED if _is_expected(error, expected) else FAILED


def _is_expected(error: BaseException, expected: Expected) -> bool:
    try:
        return isinstance(error, expected)
    except BaseException as failure:  # a class of the host may have its own `__instancecheck__`
        raise_foreign(failure)
        return False


def _leaves(error: BaseException) -> list[BaseException]:
    """Return the exceptions that a group holds, however deep; of anything else itself."""
    waiting = [error]
    leaves: list[BaseException] = []
    for _ in range(2 * MOST_LEAVES):  # one may say that it holds itself
        if not waiting or len(leaves) >= MOST_LEAVES:
            break
        each = waiting.pop()
        if issubclass(type(each), BaseExceptionGroup):  # a class may deny what it is
            waiting.extend(each.exceptions)  # type: ignore[attr-defined]
        else:
            leaves.append(each)
    return leaves

"""The read door: what was recorded, as pandas frames and Session records."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from perfdb.filters import (
    Filters,
)
from perfdb.history.keeping import Keeping

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from perfdb.history.reports import Report


class History(Keeping):
    """The recorded history of one database.

    What opens a database raises ``StoreError`` when it is missing, unreadable or not perfdb's; what takes
    filters raises ``ValueError`` for a value that cannot be meant and ``TypeError`` for an unknown name.

    Args:
        url: an SQLAlchemy URL or the path of an SQLite file, or a lake: its folder, or a URL such as
            ``s3://bucket/lake``; default: the database of the settings.
        home: the folder that perfdb keeps its files in, when it is not the default one.

    Raises:
        SettingsError: the URL is none that perfdb can read.
    """

    def chart(
        self,
        kind: str,
        *session_ids: str,
        step: str | None = None,
        by: str | None = None,
        measure: str = "duration",
        last: int | None = None,
        **filters: Unpack[Filters],
    ) -> Figure:
        """Return a chart as a matplotlib Figure; ``figure.savefig("trend.png")`` writes it.

        Args:
            kind: ``trend``, ``waterfall`` or another that ``perfdb chart --help`` lists.
            session_ids: of ``waterfall`` and ``resources`` one session (the last one that fits), of
                ``compare`` two (the last two of one pipeline and mode).
            step: of ``trend``: this step, not the total; of ``pareto``: only this one.
            by: of ``trend``: ``session`` (at equal distances) or ``time``; of ``compare``: the attribute
                whose values make the two groups; of ``pareto``: that whose values are drawn (``model``).
            measure: of ``trend``, ``steps``, ``bottlenecks`` and ``compare``: as in ``trends``; of
                ``pareto``: what the seconds are held against (``cost_usd``).
            last: how many of the newest sessions.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Raises:
            UsageError: there is no such kind, or an argument is not for this kind.
            NotFoundError: as in ``session``.
        """
        from perfdb.charts.style import Picture
        from perfdb.history.charts import drawing
        from perfdb.history.jupyter import BUNDLE, as_picture, show_as

        show_as(Picture, BUNDLE, as_picture)
        with self._at_one_moment():
            with self._reading() as connection:
                of = self._measure(connection, measure)
            asked: dict[str, Any] = {"step": step, "by": by, "measure": of, "last": last, **filters}
            return drawing(self, kind, *session_ids, **asked).figure()

    def chart_frame(
        self,
        kind: str,
        *session_ids: str,
        step: str | None = None,
        by: str | None = None,
        measure: str = "duration",
        last: int | None = None,
        **filters: Unpack[Filters],
    ) -> pd.DataFrame:
        """Return what a chart shows: a row per run, bar or point of it.

        Arguments and errors are those of ``chart``. Of ``bottlenecks``, ``compare`` and ``pareto`` the
        columns are those of the methods of that name.
        """
        from perfdb.history.charts import drawing

        with self._at_one_moment():
            with self._reading() as connection:
                of = self._measure(connection, measure)
            asked: dict[str, Any] = {"step": step, "by": by, "measure": of, "last": last, **filters}
            return drawing(self, kind, *session_ids, **asked).frame

    def report(
        self,
        session_id: str | None = None,
        *,
        measure: str = "duration",
        last: int | None = None,
        **filters: Unpack[Filters],
    ) -> Report:
        """Return a report that Jupyter shows and ``save("report.html")`` writes: one file with its data.

        Args:
            session_id: one session, as in ``session``; the last one without any argument.
            measure: what the figures are of, as ``measures`` lists them: any number that was recorded.
            last: instead, so many of the newest sessions together.
            filters: instead, the sessions that fit; as in ``sessions``: pipeline, since, until, fast_mode,
                status, attribute, tag, branch, mode.

        Raises:
            NotFoundError: as in ``session``; or no measure is called so.
        """
        from perfdb.history.reports import report

        with self._at_one_moment():
            return report(self, session_id, made_at=time.time(), measure=measure, last=last, **filters)

    def export(
        self,
        path: str | os.PathLike[str],
        format: Literal["json", "csv", "parquet", "otlp", "chrome", "speedscope"] | None = None,  # noqa: A002
        *,
        rows: Literal["steps", "sessions"] = "steps",
        last: int | None = None,
        expand_attributes: bool = False,
        **filters: Unpack[Filters],
    ) -> int:
        """Write the history to a file, whole or not at all; return how many rows it has.

        Args:
            path: the file; an existing one is replaced, but no database.
            format: ``json`` (whole reports, which ``import_reports`` reads), ``csv``, ``parquet``, or traces:
                ``otlp`` (JSON lines), ``chrome``, ``speedscope``; None: what the file's name ends with.
            rows: of CSV and Parquet: ``steps`` or ``sessions``.
            last: only so many of the newest sessions.
            expand_attributes: of CSV and Parquet, as in ``sessions``.
            filters: as in ``sessions``: pipeline, since, until, fast_mode, status, attribute, tag, branch,
                mode.

        Raises:
            ValueError: there is no such format, or no such rows.
            StoreError: the file cannot be written.
            MissingExtraError: Parquet needs ``perfdb[parquet]``.
        """
        from perfdb.history.exporting import export

        return export(
            self,
            Path(path),
            format,
            rows=rows,
            expand_attributes=expand_attributes,
            filters={"last": last, **filters},
        )

    def _repr_html_(self) -> str:
        """Show the database and its five newest sessions, for Jupyter."""
        from perfdb.history.values import instant_texts
        from perfdb.pages.rendering import render

        newest = self.sessions(last=5)
        newest["started_at"] = [
            text and f"{text[:10]} {text[11:19]} UTC" for text in instant_texts(newest["started_at"])
        ]
        columns = ["session_id", "pipeline", "status", "fast_mode", "total_duration", "started_at"]
        table = (
            newest[columns]
            .iloc[::-1]
            .to_html(index=False, border=0, na_rep="–", float_format="{:.2f}".format)
        )
        return render("history.html", database=self.database, newest=None if newest.empty else table)

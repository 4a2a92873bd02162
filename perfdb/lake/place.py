"""Where a lake is: a folder, a bucket, any file system of pyarrow or fsspec; and how its tables are opened.

Everything heavy is imported by the first thing that opens a lake. User, password and options that an address
carries go to the libraries only, never into a message.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from perfdb.errors import AbsentError, MissingExtraError, StoreError
from perfdb.settings import absolute, shown_path
from perfdb.vocabulary import BACKENDS

MARKER = "perfdb-lake.json"
FORMAT = 1
HISTORY, ROLLUPS, INBOX, SOURCES, CHANGES = "history", "rollups", "inbox", "sources", "changes"
TAGS, ANNOTATIONS, DELETED = "tags", "annotations", "deleted"
FOLDERS = (HISTORY, ROLLUPS, INBOX, SOURCES, CHANGES, TAGS, ANNOTATIONS, DELETED)
_PATH = re.compile(r"(?:[\w=-][\w=.-]*/)*[\w=-][\w=.-]*", re.ASCII)  # of a file that a table may name
_LOG = re.compile(
    r"(\d{20})\.(?:json|\d{20}\.compacted\.json|checkpoint\.parquet|checkpoint\.\d+\.\d+\.parquet)"
)
# Of a document or a piece of a log: a file that is mostly a hole takes no room on the disk, but in memory.
_MOST_BYTES, _MOST_OF_LOG = 64 << 20, 256 << 20
_OPTIONS = {"endpoint_override": "AWS_ENDPOINT_URL", "region": "AWS_REGION"}


def is_lake(text: str) -> bool:
    """Tell whether what a person names is a lake: of another scheme than a database's, or such a folder."""
    scheme, separator, _ = text.partition("://")
    if separator:
        return scheme.partition("+")[0] not in BACKENDS and scheme not in ("http", "https", "postgres")
    try:
        return os.path.isfile(os.path.join(text, MARKER))
    except ValueError:
        return False


def require_libraries() -> None:
    """Refuse to go on without what a lake needs.

    Raises:
        MissingExtraError: one of the libraries is not installed.
    """
    try:
        import deltalake  # noqa: F401
        import duckdb  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(f"a lake needs {error.name}: pip install 'perfdb[lake]'") from None


def _is_named(file: Any) -> bool:
    try:
        return bool(file.path)
    except UnicodeDecodeError:
        return False


class Place:
    """One lake's place.

    Args:
        text: a path, or a URL such as ``s3://bucket/lake``; ``s3://KEY:SECRET@bucket/lake?region=…``,
            ``endpoint_override`` and ``scheme`` are understood, too.
    """

    def __init__(self, text: str) -> None:
        self.known: dict[str, tuple[object, Any]] = {}  # what was read of a version, by its name
        self._options: dict[str, str] = {}
        if "://" not in text:
            self.local: Path | None = absolute(text)
            self.url = str(self.local)
            return
        scheme, _, rest = text.partition("://")
        named, _, query = rest.partition("?")
        user, _, path = named.rpartition("@")  # a secret may have a slash
        self.local = absolute(unquote(path)) if scheme == "file" else None
        name, _, secret = user.partition(":")
        if user:
            self._options = {"AWS_ACCESS_KEY_ID": unquote(name), "AWS_SECRET_ACCESS_KEY": unquote(secret)}
        given = dict(parse_qsl(query))
        for option, value in given.items():
            if option in _OPTIONS:
                self._options[_OPTIONS[option]] = value
        endpoint = self._options.get("AWS_ENDPOINT_URL")
        if endpoint is not None and "://" not in endpoint:
            self._options["AWS_ENDPOINT_URL"] = f"{given.get('scheme', 'https')}://{endpoint}"
        self.url = str(self.local) if self.local else f"{scheme}://{path.rstrip('/')}"

    def __getstate__(self) -> dict[str, object]:
        """Leave out what was read: a worker of a cluster needs the place only."""
        return {**vars(self), "known": {}}

    def once(self, name: str, version: object, read: Callable[[], Any]) -> Any:
        """Return what ``read`` gives, read once for each version."""
        if name not in self.known or self.known[name][0] != version:
            self.known[name] = (version, read())
        return self.known[name][1]

    @property
    def shown(self) -> str:
        """The place for people."""
        return shown_path(self.local) if self.local is not None else self.url

    @property
    def storage_options(self) -> dict[str, str]:
        """What the Delta library is told; what the environment says it reads by itself."""
        options = dict(self._options)
        endpoint = options.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL", "")
        if endpoint.startswith("http://"):
            options["AWS_ALLOW_HTTP"] = "true"
        if self.url.startswith("s3"):
            options.setdefault("aws_conditional_put", "etag")
        return options

    @cached_property
    def _files(self) -> tuple[Any, str]:
        """Return the file system and the path of the lake in it."""
        require_libraries()
        from pyarrow import fs

        if self.local is not None:
            return fs.LocalFileSystem(), str(self.local)
        scheme, _, rest = self.url.partition("://")
        if scheme in ("s3", "s3a"):
            return fs.S3FileSystem(**self._arguments()), rest
        try:
            system, path = fs.FileSystem.from_uri(self.url)
            return system, path
        except Exception:
            try:
                import fsspec
            except ImportError:
                raise MissingExtraError(f"{scheme}:// needs fsspec: pip install fsspec") from None
            try:
                system, path = fsspec.core.url_to_fs(self.url)
            except ValueError:
                raise StoreError(
                    f"{scheme}:// is no database that perfdb knows ({', '.join(BACKENDS)}), nor a file system"
                ) from None
            return fs.PyFileSystem(fs.FSSpecHandler(system)), path

    def _arguments(self) -> dict[str, Any]:
        """Return what pyarrow's S3 is told; no address, because it would say one that it cannot read."""
        known = {**os.environ, **self._options}
        found: dict[str, Any] = {"allow_bucket_creation": True}
        if endpoint := known.get("AWS_ENDPOINT_URL"):
            kind, _, host = endpoint.partition("://")
            found |= {"scheme": kind, "endpoint_override": host.rstrip("/")}
        if region := known.get("AWS_REGION"):
            found["region"] = region
        if name := self._options.get("AWS_ACCESS_KEY_ID"):
            found |= {"access_key": name, "secret_key": self._options["AWS_SECRET_ACCESS_KEY"]}
        return found

    @property
    def files(self) -> Any:
        """The pyarrow file system."""
        return self._files[0]

    def path(self, *parts: str) -> str:
        """Return the path of a part of the lake in ``files``."""
        return "/".join((self._files[1], *parts))

    def own(self, *parts: str) -> str:
        """Return the path of a file that is there.

        Raises:
            FileNotFoundError: it is not.
            StoreError: of a folder, it is no file of the lake: a link, a pipe, what lies elsewhere.
        """
        path = self.path(*parts)
        if self.local is not None:
            try:
                is_own = stat.S_ISREG(os.lstat(path).st_mode) and self._holds(os.path.dirname(path))
            except (ValueError, NotADirectoryError):
                is_own = False
            if not is_own:
                raise self._foreign("/".join(parts))
        return path

    def require_own(self, *parts: str, most: float = math.inf) -> None:
        """Refuse links, pipes and devices in a part of a lake that is a folder: libraries follow them.

        Args:
            parts: of the lake.
            most: bytes of one file.

        Raises:
            StoreError: there is one, or a file of more bytes.
        """
        if self.local is None:
            return
        folders = [self.path(*parts)]
        if not self._holds(folders[0]):
            raise self._foreign("/".join(parts))
        while folders:
            with contextlib.suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif entry.is_symlink() or not entry.is_file():
                        raise self._foreign(os.path.relpath(entry.path, self.local))
                    elif (size := entry.stat(follow_symlinks=False).st_size) > most:
                        raise self._too_large(os.path.relpath(entry.path, self.local), size)

    def _holds(self, folder: str) -> bool:
        return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(self.path()))

    def _foreign(self, name: str) -> StoreError:
        return StoreError(f"{self.shown} is not used: {name[:200]!r} is no file of its own")

    def _too_large(self, name: str, size: int) -> StoreError:
        return StoreError(
            f"{self.shown} is not used: {name[:200]!r} has {size:,} bytes, which perfdb never writes"
        )

    def table_url(self, name: str) -> str:
        """Return what the Delta library calls a table."""
        return f"{self.url}/{name}"

    # -- small files ---------------------------------------------------------------------------

    def listed(self, folder: str, *, recursive: bool = False) -> list[Any]:
        """Return the files in a folder of the lake, as pyarrow tells of them.

        Those whose names are no text are left out: perfdb writes none.
        """
        from pyarrow import fs

        if self.local is not None and not self._holds(self.path(folder)):
            raise self._foreign(folder)
        selector = fs.FileSelector(self.path(folder), allow_not_found=True, recursive=recursive)
        return [each for each in self.files.get_file_info(selector) if each.is_file and _is_named(each)]

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder of the lake, sorted."""
        found = (each.base_name for each in self.listed(folder))
        return sorted(name for name in found if not name.startswith("."))

    def read(self, *parts: str, most: int = _MOST_BYTES) -> bytes | None:
        """Return a small file; None when it is not there.

        Raises:
            StoreError: it has more bytes than ``most``.
        """
        try:
            with self.files.open_input_file(self.own(*parts)) as file:
                if file.size() > most:
                    raise self._too_large("/".join(parts), file.size())
                return bytes(file.read())
        except FileNotFoundError:
            return None

    def document(self, *parts: str) -> dict[str, Any] | None:
        """Return a small file that is a JSON object; None when it is not there.

        Raises:
            StoreError: it is something else.
        """
        content = self.read(*parts)
        if content is None:
            return None
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise StoreError(f"{self.shown}: {'/'.join(parts)} is damaged: it is no JSON object")
        return found

    def write(self, content: bytes, *parts: str) -> None:
        """Write a file, whole or not at all; a folder of its name, which perfdb never makes, is put aside."""
        if self.local is not None:  # a bucket shows an object once it is whole
            target = self.local.joinpath(*parts)
            if not self._holds(str(target.parent)):
                raise self._foreign(parts[0])
            target.parent.mkdir(parents=True, exist_ok=True)
            aside = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
            try:
                aside.write_bytes(content)
                if target.is_dir() and not target.is_symlink():
                    os.replace(target, target.with_name(f"{aside.name}.aside"))
                os.replace(aside, target)
            finally:
                aside.unlink(missing_ok=True)
            return
        with self.files.open_output_stream(self.path(*parts)) as file:
            file.write(content)

    def remove(self, *parts: str) -> None:
        """Remove a file; somebody else may have done so."""
        with contextlib.suppress(FileNotFoundError):
            self.files.delete_file(self.path(*parts))

    # -- the lake ------------------------------------------------------------------------------

    def create(self) -> None:
        """Make it a lake if it is none.

        Raises:
            StoreError: it is of a newer perfdb, or a folder with other things in it.
        """
        if self._is_marked():
            return
        if self.local is not None and self.local.exists() and any(self.local.iterdir()):
            raise StoreError(f"{self.shown} is no lake and not empty: name a new folder")
        if self.local is not None:
            self.local.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.write(json.dumps({"format": FORMAT}).encode(), MARKER)
        if self.local is not None and not os.stat(self.local).st_mode & 0o022:
            for name in FOLDERS:  # of a lake of one user: for him only, as databases and journals
                self.local.joinpath(name).mkdir(mode=0o700, exist_ok=True)

    def require(self) -> None:
        """Refuse a place that is no lake.

        Raises:
            AbsentError: it is none.
            StoreError: it is of a newer perfdb.
        """
        if not self._is_marked():
            raise AbsentError(f"there is no lake at {self.shown}: perfdb archive {self.shown} makes one")

    def _is_marked(self) -> bool:
        with self.in_words("opened"):
            marker = self.document(MARKER)
        if marker is None:
            return False
        if not isinstance(made := marker.get("format", 0), int) or made > FORMAT:
            raise StoreError(f"{self.shown} was made by a newer perfdb: pip install -U perfdb")
        return True

    @contextlib.contextmanager
    def in_words(self, what: str) -> Iterator[None]:
        """Say what could not be done with the lake when a library fails at it."""
        import duckdb
        import pyarrow as pa
        from deltalake.exceptions import DeltaError

        try:
            yield
        except (OSError, DeltaError, duckdb.Error, pa.ArrowException) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StoreError(f"{self.shown} cannot be {what}: {reason[:300]}") from None

    def open(self, name: str) -> Any:
        """Return a table at its newest version; None when it is not there yet.

        Raises:
            StoreError: it cannot be opened, or names files that lie elsewhere.
        """
        require_libraries()
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        if self.local is not None and not (self.local / name / "_delta_log").is_dir():
            return None
        self.require_own(name, "_delta_log", most=_MOST_OF_LOG)
        with self.in_words("opened"):
            try:
                table = DeltaTable(self.table_url(name), storage_options=self.storage_options)
            except TableNotFoundError:
                return None
            self._require_paths(name, table)  # each time: a version may be written anew
        return table

    def _require_paths(self, name: str, table: Any) -> None:
        """Refuse a log that leads elsewhere: the libraries follow it with the rights of whoever asks."""
        import pyarrow as pa

        for path in pa.table(table.get_add_actions(flatten=True)).column("path").to_pylist():
            if not _PATH.fullmatch(path):
                raise self._foreign(f"{name}/{path}")

    def require_plain(self, name: str) -> None:
        """Refuse deletion vectors before the Delta library reads rows: it follows where they lead.

        Raises:
            StoreError: the log of a table names some, or parts of itself in other files.
        """
        import pyarrow.parquet as pq

        log = f"{name}/_delta_log"
        found = {file: _LOG.fullmatch(file) for file in self.names(log)}
        known = {file: int(match[1]) for file, match in found.items() if match}
        point = max((version for file, version in known.items() if file.endswith("parquet")), default=0)
        wanted = [file for file, version in known.items() if version >= point]
        vectors = [file for file in found if ".checkpoint." in file and file not in known]  # of another kind

        def look(pairs: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
            vectors.extend(file for key, value in pairs if key == "deletionVector" and value is not None)
            return pairs

        for file in wanted:
            with self.in_words("read"):
                if file.endswith("json"):
                    for row in (self.read(log, file, most=_MOST_OF_LOG) or b"").splitlines():
                        try:
                            json.loads(row or b"0", object_pairs_hook=look)
                        except (ValueError, RecursionError):
                            vectors.append(file)
                    continue
                with self.files.open_input_file(self.own(log, file)) as opened:
                    rows = pq.ParquetFile(opened).read(columns=["add.deletionVector", "sidecar"]).to_pylist()
            if any((row.get("add") or {}).get("deletionVector") or row.get("sidecar") for row in rows):
                vectors.append(file)
        if vectors:
            raise self._foreign(f"{log}/{vectors[0]}")

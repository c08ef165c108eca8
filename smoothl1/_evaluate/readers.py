"""Tables in files and in memory, as batches of some of their columns.

A source gives its rows in parts, which several threads may read at the same time: row groups of
Parquet, batches of Arrow IPC. What can only be read in a row is one part after the other. No more
is in memory than a batch, or what is decoded of one row group, for each thread.
"""

from __future__ import annotations

import fnmatch
import glob
import itertools
import os
import threading
import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs

from smoothl1._evaluate.npy import InputError, line_of

if TYPE_CHECKING:
    from smoothl1._evaluate.where import Where

# Rows whose temporary arrays stay in a cache of second level, about.
BATCH = 2**17

_SUFFIXES = {
    ".parquet": "parquet", ".pq": "parquet", ".parq": "parquet",
    ".arrow": "ipc", ".feather": "ipc", ".ipc": "ipc", ".arrows": "ipc",
    ".csv": "csv", ".tsv": "csv", ".npy": "npy",
}  # fmt: skip
_COMPRESSIONS = {".gz", ".bz2", ".zst", ".lz4"}
_MAGIC = {b"PAR1": "parquet", b"ARRO": "ipc", b"\xffARR": "ipc", b"\x93NUM": "npy"}
_BUFFER = 2**20

# What folders give to columns: names and values.
Folders = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Columns:
    """Which columns are read, and for what."""

    numbers: tuple[str, ...]
    keys: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys((*self.numbers, *self.keys, *self.others)))


@dataclass(frozen=True)
class File:
    """A file, and the values that its folders give to columns."""

    system: pa.fs.FileSystem
    path: str
    name: str  # as it is shown
    size: int
    folders: Folders
    # The same of folders that the user named: what the file itself has counts more.
    given: Folders = ()


@dataclass
class Part:
    """Batches that one thread reads, of one file."""

    name: str
    batches: Iterable[pa.RecordBatch]
    size: int = 0  # bytes of the file that it stands for, where that is known


class Source:
    """Where the rows are: files, or a table in memory."""

    def __init__(self, data: Any, columns: Columns, condition: Where | None = None) -> None:
        self.columns = columns
        self._condition = condition
        self.name = "table"
        self.total = 0  # bytes, of files
        self.files: list[File] = []
        self.left_out: list[str] = []  # files of folders that hold no table
        self.untyped: set[str] = set()
        if _is_path(data) or isinstance(data, Sequence):
            names = [data] if _is_path(data) else list(data)
            if not names or not all(map(_is_path, names)):
                raise TypeError("data must be a path, or a list of at least one path")
            files = [file for name in names for file in find(os.fspath(name), self.left_out)]
            self.files = files
            self.name = files[0].name
            self.total = sum(file.size for file in files)
            self._opened = [_open(file, columns) for file in files]
            self.schema = _one_schema(self._opened, columns)
            # Their types are not stored: what looks like integers is taken for such.
            self.untyped = {n for opened in self._opened for n in opened.folders}
            if any(isinstance(opened, _Csv) for opened in self._opened):
                self.untyped |= set(columns.keys)
        elif hasattr(data, "__arrow_c_stream__"):
            try:
                reader = pa.RecordBatchReader.from_stream(data)
            except pa.ArrowException as error:
                raise InputError(f"{type(data).__qualname__}: {line_of(error)}") from None
            self._opened = [_Stream(type(data).__qualname__, reader)]
            self.schema = _chosen(self._opened[0], columns)
        else:
            raise TypeError(
                f"data must be a path, a list of paths, or a table with __arrow_c_stream__ "
                f"(pyarrow, pandas, polars, DuckDB), got {type(data).__qualname__}"
            )

    @property
    def separate(self) -> int:
        """The number of parts that can be read at the same time."""
        return sum(opened.separate for opened in self._opened)

    def counts(self) -> list[int]:
        """Return for each file how many of its parts can be read apart."""
        return [max(1, opened.separate) for opened in self._opened]

    def parts(self, threads: int) -> Iterator[Part]:
        """Yield the parts; the next one is to be asked for by one thread at a time."""
        for opened in self._opened:
            yield from opened.parts(self.columns, threads, self._condition)


def parts_of(
    file: File, columns: Columns, first: int, step: int, condition: Where | None = None
) -> Iterator[Part]:
    """Yield every so many-th part of a file that a source found."""
    parts = _open(file, columns).parts(columns, 1, condition)
    yield from itertools.islice(parts, first, None, step)


class _Opened(ABC):
    """A file whose schema was read, or a table in memory."""

    separate = 0

    def __init__(self, name: str, schema: pa.Schema, file: File | None = None) -> None:
        self.name = name
        self.folders: dict[str, str | None] = {}
        self._size = 0
        if file is not None:
            given = [pair for pair in file.given if pair[0] not in schema.names]
            self.folders = dict((*given, *file.folders))
            self._size = file.size
        for key in self.folders:
            place, field = schema.get_field_index(key), pa.field(key, pa.string())
            schema = schema.set(place, field) if place >= 0 else schema.append(field)
        self.schema = schema

    def parts(
        self, columns: Columns, threads: int, condition: Where | None = None
    ) -> Iterator[Part]:
        """Yield what is read of the file, a bounded part at a time.

        Parts of which a condition is known to choose no row have no batches.
        """
        if condition is not None and self.folders:
            from smoothl1._evaluate import bounds

            if condition.excludes(bounds.of_folders(self.folders.items())):
                yield Part(self.name, (), self._size)
                return
        yield from self._parts(columns, threads, condition)

    @abstractmethod
    def _parts(self, columns: Columns, threads: int, condition: Where | None) -> Iterator[Part]:
        """Yield the parts, where folders do not exclude all."""

    def _stored(self, columns: Columns) -> list[str]:
        """Return the columns that are in the file."""
        return [name for name in columns.names if name not in self.folders]

    def _filled(self, batch: pa.RecordBatch, columns: Columns) -> pa.RecordBatch:
        """Return the batch with the columns that folders give, in the order asked for."""
        if not self.folders:
            return batch
        arrays = []
        for name in columns.names:
            if name in self.folders:
                places = pa.repeat(pa.scalar(0, pa.int32()), batch.num_rows)
                values = pa.array([self.folders[name]], pa.string())
                arrays.append(pa.DictionaryArray.from_arrays(places, values))
            else:
                arrays.append(batch.column(name))
        return pa.RecordBatch.from_arrays(arrays, names=list(columns.names))


class _Stream(_Opened):
    """Batches that come one after the other, from a table in memory."""

    def __init__(self, name: str, reader: pa.RecordBatchReader) -> None:
        super().__init__(name, reader.schema)
        self._reader = reader

    def _parts(self, columns: Columns, threads: int, condition: Where | None) -> Iterator[Part]:
        names = list(columns.names)
        with reading(self.name):
            for batch in self._reader:
                for piece in _pieces(batch.select(names)):
                    yield Part(self.name, [piece])


class _Parquet(_Opened):
    """A Parquet file, of which row groups are read apart."""

    def __init__(self, file: File, columns: Columns) -> None:
        import pyarrow.parquet as pq

        with reading(file.name):
            opened = pq.ParquetFile(file.system.open_input_file(file.path))
            self._metadata = opened.metadata
            schema = opened.schema_arrow
        super().__init__(file.name, schema, file)
        self._file = file
        # Text as keys comes as places in a list, as it is stored.
        self._coded = [name for name in columns.keys if _is_text(schema, name)]
        self.separate = self._metadata.num_row_groups

    def _parts(self, columns: Columns, threads: int, condition: Where | None) -> Iterator[Part]:
        count = self._metadata.num_row_groups
        for group in range(count):
            batches: Iterable[pa.RecordBatch] = ()
            if condition is None or not self._excluded(group, condition):
                batches = self._batches(group, columns, threads)
            yield Part(self.name, batches, self._file.size // count)

    def _excluded(self, group: int, condition: Where) -> bool:
        """Return whether folders or statistics say that no row of a row group is chosen."""
        from smoothl1._evaluate import bounds

        with reading(self.name):
            known = bounds.of_row_group(self._metadata, group, self.schema, condition.columns)
        return condition.excludes(known | bounds.of_folders(self.folders.items()))

    def _batches(self, group: int, columns: Columns, threads: int) -> Iterator[pa.RecordBatch]:
        import pyarrow.parquet as pq

        with reading(self.name), self._file.system.open_input_file(self._file.path) as source:
            opened = pq.ParquetFile(
                source,
                metadata=self._metadata,
                read_dictionary=self._coded or None,
                buffer_size=_BUFFER,
                pre_buffer=False,
            )
            names = self._stored(columns)

            def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
                yield from opened.iter_batches(
                    BATCH, row_groups=[group], columns=names, use_threads=threads > 1
                )

            try:
                for batch in batches(names):
                    yield self._filled(batch, columns)
            except (pa.ArrowException, OSError):
                for name in names:  # each alone, to tell which one is damaged
                    with reading(f"{self.name}: column {name!r}"):
                        for _ in batches([name]):
                            pass
                raise


class _Ipc(_Opened):
    """Arrow IPC: a file, of which batches are read apart, or a stream."""

    def __init__(self, file: File, columns: Columns) -> None:
        with reading(file.name):
            self._source = self._open(file)
            try:
                self._reader: Any = pa.ipc.open_file(self._source)
                self.separate = self._reader.num_record_batches
            except pa.ArrowInvalid:
                self._source.seek(0)
                if self._source.read(6) == b"ARROW1":
                    raise InputError(f"{file.name}: an Arrow file that is cut off") from None
                self._source.seek(0)
                self._reader = pa.ipc.open_stream(self._source)
            schema = self._reader.schema
        super().__init__(file.name, schema, file)

    @staticmethod
    def _open(file: File) -> Any:
        if isinstance(file.system, pa.fs.LocalFileSystem) and file.size:
            return pa.memory_map(file.path)
        return file.system.open_input_file(file.path)

    def _parts(self, columns: Columns, threads: int, condition: Where | None) -> Iterator[Part]:
        names = self._stored(columns)
        if not self.separate:
            with reading(self.name):
                for batch in self._reader:
                    for piece in _pieces(self._filled(batch.select(names), columns)):
                        yield Part(self.name, [piece])
            return
        # The chosen columns alone are decompressed.
        wanted = [self._reader.schema.get_field_index(name) for name in names]
        options = pa.ipc.IpcReadOptions(included_fields=wanted, use_threads=threads > 1)
        reader = pa.ipc.open_file(self._source, options=options)
        lock = threading.Lock()

        def batches(i: int) -> Iterator[pa.RecordBatch]:
            with reading(self.name):
                with lock:  # one reader, whose position in the file is one
                    batch = reader.get_batch(i)
                yield from _pieces(self._filled(batch.select(names), columns))

        for i in range(self.separate):
            yield Part(self.name, batches(i), self._size // self.separate)


class _Csv(_Opened):
    """CSV, also compressed, read in blocks: numbers as float64, keys as text."""

    def __init__(self, file: File, columns: Columns) -> None:
        self._file = file
        with reading(file.name):
            reader = self._open(columns, {})
            schema = reader.schema
            reader.close()
        self._header = schema.names
        text = {name: pa.string() for name in columns.keys}
        numbers = {name: pa.float64() for name in columns.numbers}
        self._types = {**text, **numbers}
        fields = [pa.field(f.name, self._types.get(f.name, f.type)) for f in schema]
        super().__init__(file.name, pa.schema(fields), file)

    def _open(self, columns: Columns, types: dict[str, Any], names: Any = None) -> Any:
        import pyarrow.csv as pc

        stream = self._file.system.open_input_stream(self._file.path, compression="detect")
        suffixes = Path(self._file.path).suffixes
        try:
            return pc.open_csv(
                stream,
                read_options=pc.ReadOptions(block_size=2**22),
                parse_options=pc.ParseOptions(delimiter="\t" if ".tsv" in suffixes else ","),
                # NaN is a number, not a value that is missing.
                convert_options=pc.ConvertOptions(
                    column_types=types,
                    include_columns=names,
                    null_values=["", "NA", "N/A", "#N/A", "NULL", "null", "None"],
                ),
            )
        except BaseException:
            stream.close()
            raise

    def _parts(self, columns: Columns, threads: int, condition: Where | None) -> Iterator[Part]:
        try:
            with reading(self.name):
                reader = self._open(columns, self._types, self._stored(columns))
                for batch in reader:
                    yield Part(self.name, [self._filled(batch, columns)])
        except InputError as error:
            text = str(error)
            for i, name in enumerate(self._header):
                text = text.replace(f"CSV column #{i}:", f"column {name!r}:")
            raise InputError(text) from None


_OPENERS: dict[str, Callable[[File, Columns], _Opened]] = {
    "parquet": _Parquet,
    "ipc": _Ipc,
    "csv": _Csv,
}


def _open(file: File, columns: Columns) -> _Opened:
    kind = format_of(file)
    if kind == "npy":
        raise InputError(
            f"{file.name}: a .npy file has no columns; pass two, without --prediction and --target"
        )
    if kind == "compressed":
        raise InputError(f"{file.name}: of compressed files only CSV is read")
    if kind is None:
        raise InputError(
            f"{file.name}: neither its name nor its first bytes are of Parquet, Arrow IPC, or CSV"
        )
    return _OPENERS[kind](file, columns)


def format_of(file: File) -> str | None:
    """Return which format a file has, by its name or its first bytes."""
    suffixes = [suffix.lower() for suffix in Path(file.path).suffixes]
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        return "csv" if suffixes[-2:-1] and _SUFFIXES.get(suffixes[-2]) == "csv" else "compressed"
    if suffixes and suffixes[-1] in _SUFFIXES:
        return _SUFFIXES[suffixes[-1]]
    with reading(file.name), file.system.open_input_file(file.path) as opened:
        return _MAGIC.get(bytes(opened.read(4)))


def find(name: str, left_out: list[str]) -> list[File]:
    """Return the files of a path, a folder, a glob, or an address; `InputError` if none is.

    Files of folders that are no tables are left out, and noted.
    """
    with reading(name):
        if "://" in name:
            system, path = _system_of(name)
        else:
            system, path = pa.fs.LocalFileSystem(), name
        if not path or "\0" in path:
            raise InputError(f"{name!r}: no path")
        local = isinstance(system, pa.fs.LocalFileSystem)
        if local and not os.path.lexists(path) and any(c in path for c in "*?["):
            paths = sorted(glob.glob(path, recursive=True))
        elif not local and any(c in path for c in "*?["):
            base = path[: min(path.find(c) for c in "*?[" if c in path)].rpartition("/")[0]
            selector = pa.fs.FileSelector(base, recursive=True)
            paths = sorted(
                info.path
                for info in system.get_file_info(selector)
                if fnmatch.fnmatch(info.path, path) and info.type == pa.fs.FileType.File
            )
        else:
            paths = [path]
        if not paths:
            raise InputError(f"{name}: no file matches")
        return [file for one in paths for file in _files_at(system, one, name, left_out)]


def _files_at(system: pa.fs.FileSystem, path: str, name: str, left_out: list[str]) -> list[File]:
    """Return a file, or the files of a folder and below, in the order of their paths."""
    folders: Sequence[str] = path.split("/")
    if isinstance(system, pa.fs.LocalFileSystem):
        folders = Path(path).parts
        os.stat(path)  # whose errors say why: no such file, no permission
    info = system.get_file_info(path)
    shown = path if "://" not in name else name if path in name else path
    if info.type == pa.fs.FileType.NotFound:
        raise InputError(f"{shown}: No such file or directory")
    if info.type == pa.fs.FileType.File:
        return [File(system, path, shown, info.size or 0, (), _values_of(folders[:-1]))]
    if info.type != pa.fs.FileType.Directory:
        raise InputError(f"{shown}: neither a file nor a folder")
    found, others = [], []
    kinds: dict[str, str] = {}  # and the first file of each
    for inner in _listed(system, path):
        below = inner.path[len(path.rstrip("/")) :].strip("/").split("/")
        if inner.type == pa.fs.FileType.Directory or any(map(_is_hidden, below)):
            continue
        if inner.type != pa.fs.FileType.File:
            others.append(inner.path)
            continue
        values = _values_of(below[:-1])
        file = File(system, inner.path, inner.path, inner.size or 0, values, _values_of(folders))
        kind = format_of(file)
        if kind in _OPENERS:
            found.append(file)
            kinds.setdefault(kind, inner.path)
        else:
            others.append(inner.path)
    if not found:
        more = f"; {others[0]} is none" if others else ""
        raise InputError(f"{shown}: a folder without a file of Parquet, Arrow IPC, or CSV{more}")
    if len(kinds) > 1:
        first, second = list(kinds.values())[:2]
        suffixes = Path(first).suffixes
        kept = suffixes[-2:] if suffixes[-1:] and suffixes[-1] in _COMPRESSIONS else suffixes[-1:]
        raise InputError(
            f"{shown}: a folder with files of two formats, {first} and {second}, which may hold "
            f"the same rows; pass those of one, as '{path.rstrip('/')}/**/*{''.join(kept)}'"
        )
    left_out += others
    return found


def _listed(system: pa.fs.FileSystem, path: str) -> list[pa.fs.FileInfo]:
    """Return what is in a folder and below, in the order of the paths."""
    try:
        found = system.get_file_info(pa.fs.FileSelector(path, recursive=True))
    except PermissionError:
        if isinstance(system, pa.fs.LocalFileSystem):  # which folder it is
            for _ in os.walk(path, onerror=_raise):
                pass
        raise
    return sorted(found, key=lambda inner: inner.path)


def _raise(error: OSError) -> None:
    raise error


def _is_hidden(name: str) -> bool:
    """Return whether a name in a folder is one that other programs pass over, too."""
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _values_of(folders: Iterable[str]) -> Folders:
    """Return the columns that names as ``month=3`` give, and their values."""
    found = []
    for part in folders:
        key, equals, value = part.partition("=")
        if key and equals:
            text = urllib.parse.unquote(value)
            null = text == "__HIVE_DEFAULT_PARTITION__"
            found.append((urllib.parse.unquote(key), None if null else text))
    return tuple(found)


def _system_of(address: str) -> tuple[pa.fs.FileSystem, str]:
    """Return file system and path of an address, by pyarrow or else by fsspec."""
    try:
        system, path = pa.fs.FileSystem.from_uri(address)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        try:
            import fsspec
        except ImportError:
            raise InputError(f"{address}: {line_of(error)}; fsspec is not installed") from None
        inner, path = fsspec.core.url_to_fs(address)  # whose errors say what else is needed
        return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(inner)), path
    return system, path


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn errors of reading into one line that names the file."""
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, ImportError, KeyError) as error:
        if isinstance(error, MemoryError):
            raise
        reason = line_of(error)
        if isinstance(error, OSError) and error.errno:
            reason = os.strerror(error.errno)
            name = error.filename or name
        raise InputError(f"{name}: {reason}") from None


def _one_schema(opened: Sequence[_Opened], columns: Columns) -> pa.Schema:
    """Return the schema of the columns; `InputError` where files differ in one."""
    first = _chosen(opened[0], columns)
    fields = list(first)
    for other in opened[1:]:
        schema = _chosen(other, columns)
        for i, (mine, theirs) in enumerate(zip(fields, schema, strict=True)):
            a, b = plain_type(mine.type), plain_type(theirs.type)
            if pa.types.is_null(a):
                fields[i] = theirs
            elif a != b and not pa.types.is_null(b):
                raise InputError(
                    f"{other.name}: column {mine.name!r} holds {theirs.type}, "
                    f"in {opened[0].name} {mine.type}"
                )
    return pa.schema(fields)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return one type for all that hold the same: text, integers, dictionaries of either."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_integer(kind):
        return pa.int64()
    return kind


def _chosen(opened: _Opened, columns: Columns) -> pa.Schema:
    """Return the fields of the columns; `InputError` for one that is missing or ambiguous."""
    fields = []
    for name in columns.names:
        places = opened.schema.get_all_field_indices(name)
        if len(places) != 1:
            have = ", ".join(opened.schema.names[:12])
            more = ", ..." if len(opened.schema.names) > 12 else ""
            problem = f"{len(places)} columns" if places else "no column"
            raise InputError(f"{opened.name}: {problem} {name!r}; it has {have}{more}")
        field = opened.schema.field(places[0])
        if name in columns.numbers and not _is_number(field.type):
            raise InputError(
                f"{opened.name}: column {name!r} holds {field.type}, where numbers are needed"
            )
        fields.append(field)
    return pa.schema(fields)


_NUMBERS = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_decimal,
    pa.types.is_null,
)


def _is_number(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(is_one(kind) for is_one in _NUMBERS)


def _is_text(schema: pa.Schema, name: str) -> bool:
    places = schema.get_all_field_indices(name)
    return len(places) == 1 and bool(plain_type(schema.field(places[0]).type) == pa.string())


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch that is large into views of some of its rows."""
    for start in range(0, max(batch.num_rows, 1), BATCH):
        yield batch.slice(start, BATCH)


def _is_path(data: Any) -> bool:
    return isinstance(data, str | os.PathLike)

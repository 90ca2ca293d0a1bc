"""Image data sets: one call opens a folder, a parquet file, a hub data set or a single image."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

from torch import Tensor

from vqlink.protocols import VqlinkError
from vqlink.sources.images import SUFFIXES, decode_image, read_image, sample_image

COLUMN = "image"
"""The column of a table that holds the images: ``{bytes, path}``, as the Hugging Face hub's."""


class ImageCollection(Sequence[tuple[str, Tensor]]):
    """A sequence of (id, float32 (3, H, W) in [0, 1]), each decoded when it is asked for.

    Ids are unique within a collection and don't depend on where it lies, so that they can key
    result rows and noise. Nothing decoded is kept.

    Args:
        ids: one for each image.
        load: image number -> pixels; raises VqlinkError for an image that can't be read.
    """

    def __init__(self, ids: Sequence[str], load: Callable[[int], Tensor]) -> None:
        self.ids = tuple(ids)
        self._load = load

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> tuple[str, Tensor]: ...
    @overload
    def __getitem__(self, index: slice) -> ImageCollection: ...
    def __getitem__(self, index: int | slice) -> tuple[str, Tensor] | ImageCollection:
        """The image at ``index``, or the collection of those in a slice."""
        chosen = range(len(self.ids))[index]
        if isinstance(chosen, range):
            return ImageCollection([self.ids[i] for i in chosen], lambda i: self._load(chosen[i]))
        return self.ids[chosen], self._load(chosen)


def open_images(location: str) -> ImageCollection:
    """Open a data set without decoding it.

    Args:
        location: a folder of images (searched with its subfolders, in order of name), a
            ``.parquet`` file or a folder of them (column ``image``), one image file,
            ``"sample:NAME"``, or ``"hf:NAME[:SPLIT]"`` for a data set on the Hugging Face hub
            (split ``train`` unless named; fetched into the hub's own cache).

    Raises:
        VqlinkError: nothing there, no images in it, or no such column.
    """
    if location.startswith("sample:"):
        return ImageCollection([location], lambda _: sample_image(location))
    if location.startswith("hf:"):
        return _open_hub(location)
    path = Path(location)
    try:
        if path.is_dir():
            return _open_folder(path)
        if path.suffix.lower() == ".parquet" and path.is_file():
            return _open_parquet([path])
    except PermissionError:
        raise VqlinkError(f"{path}: no permission to read it") from None
    except (OSError, ValueError) as error:
        raise VqlinkError(f"{location!r}: cannot be opened ({error})") from None
    if not path.is_file():
        hint = "; docs/data.md says what lies there" if path.parts[:1] == ("data",) else ""
        raise VqlinkError(f"{path}: no such file or folder{hint}")
    return ImageCollection([path.name], lambda _: read_image(path))


def _open_folder(folder: Path) -> ImageCollection:
    def refuse(error: OSError) -> None:
        raise error  # os.walk would skip what it may not read

    walk = os.walk(folder, onerror=refuse)
    files = sorted(Path(parent) / name for parent, _, names in walk for name in names)
    files = [file for file in files if not file.name.startswith(".")]
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    tables = [file for file in files if file.suffix.lower() == ".parquet"]
    if images and tables:
        raise VqlinkError(f"{folder}: holds both images and parquet files; name one kind")
    if tables:
        return _open_parquet(tables)
    if not images:
        raise VqlinkError(f"{folder}: holds no images ({', '.join(SUFFIXES[:7])}, ...) or parquet")
    ids = [file.relative_to(folder).as_posix() for file in images]
    return ImageCollection(ids, lambda index: read_image(images[index]))


def _open_parquet(files: list[Path]) -> ImageCollection:
    tables = [_ParquetImages(file) for file in files]
    ids = [name for table in tables for name in table.ids]
    if not ids:
        raise VqlinkError(f"{files[0]}: holds no rows")
    ends = list(accumulate(len(table.ids) for table in tables))

    def load(index: int) -> Tensor:
        table = bisect_right(ends, index)
        row = index - (ends[table - 1] if table else 0)
        return decode_image(tables[table].data(row), f"{files[table]}, row {row}")

    # The paths inside name the images as their makers do, unless two files use the same ones.
    if not all(ids) or max(Counter(ids).values()) > 1:
        ids = [f"{t.file.stem}-{row:06d}" for t in tables for row in range(len(t.ids))]
    if max(Counter(ids).values()) > 1:  # two files with one name, in different subfolders
        ids = [f"{n:06d}" for n in range(len(ids))]
    return ImageCollection(ids, load)


class _ParquetImages:
    """The compressed images of one parquet file, read one row group at a time."""

    def __init__(self, file: Path) -> None:
        # Imported late, because it takes a tenth of a second. It comes with datasets.
        import pyarrow.parquet as pq
        from pyarrow import ArrowException

        self.file = file
        try:
            self._parquet = pq.ParquetFile(file)
            self._check_column()
            paths = self._parquet.read(columns=[f"{COLUMN}.path"])
        except ArrowException as error:
            raise VqlinkError(f"{file}: not a parquet file, or a damaged one") from error
        has_paths = COLUMN in paths.column_names
        column = paths.column(COLUMN).to_pylist() if has_paths else [None] * self._rows
        self.ids = [(record or {}).get("path") or "" for record in column]
        groups = range(self._parquet.num_row_groups)
        metadata = self._parquet.metadata
        self._ends = list(accumulate(metadata.row_group(g).num_rows for g in groups))
        self._held: tuple[int, Any] = (-1, None)

    @property
    def _rows(self) -> int:
        return int(self._parquet.metadata.num_rows)

    def _check_column(self) -> None:
        from pyarrow.types import is_struct

        schema = self._parquet.schema_arrow
        names = [field.name for field in schema]
        if COLUMN not in names:
            raise VqlinkError(f"{self.file}: has no column {COLUMN!r}, only {', '.join(names)}")
        kind = schema.field(COLUMN).type
        if not is_struct(kind) or "bytes" not in [field.name for field in kind]:
            raise VqlinkError(f"{self.file}: column {COLUMN!r} is not a struct with bytes and path")

    def data(self, row: int) -> bytes:
        """The image file in ``row``. Raises VqlinkError where it is empty or the file damaged."""
        from pyarrow import ArrowException

        group = bisect_right(self._ends, row)
        if self._held[0] != group:
            try:
                table = self._parquet.read_row_group(group, columns=[f"{COLUMN}.bytes"])
            except (ArrowException, OSError) as error:
                raise VqlinkError(f"{self.file}: damaged near row {row}") from error
            self._held = (group, table.column(COLUMN))
        start = self._ends[group - 1] if group else 0
        record = self._held[1][row - start].as_py()
        data = (record or {}).get("bytes")
        if not data:
            raise VqlinkError(f"{self.file}, row {row}: holds no image bytes")
        return bytes(data)


def _open_hub(location: str) -> ImageCollection:
    name, _, split = location.removeprefix("hf:").partition(":")
    split = split or "train"
    if not name:
        raise VqlinkError(f"{location}: write hf:NAME or hf:NAME:SPLIT")
    import datasets

    try:
        table = datasets.load_dataset(name, split=split)
    except Exception as error:  # the hub's client raises its own, httpx's, OSErrors, ValueErrors
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise VqlinkError(f"{location}: cannot be fetched from the hub ({reason[0]})") from error
    if COLUMN not in table.column_names:
        columns = ", ".join(table.column_names)
        raise VqlinkError(f"{location}: has no column {COLUMN!r}, only {columns}")
    table = table.select_columns([COLUMN]).cast_column(COLUMN, datasets.Image(decode=False))
    if not len(table):
        raise VqlinkError(f"{location}: holds no rows")
    ids = [f"{name}-{split}-{row:06d}" for row in range(len(table))]
    return ImageCollection(ids, partial(_load_hub_row, table, location))


def _load_hub_row(table: Any, location: str, row: int) -> Tensor:
    record = table[row][COLUMN]
    if record["bytes"]:
        return decode_image(record["bytes"], f"{location}, row {row}")
    return read_image(record["path"])

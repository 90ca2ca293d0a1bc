"""Folders, parquet files and single images open as lazy collections with stable ids."""

from __future__ import annotations

import io
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from vqlink.protocols import VqlinkError
from vqlink.sources.datasets import ImageCollection, open_images
from vqlink.sources.images import to_bytes8


def encoded(level: int, side: int = 16) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (level, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def level_of(image: torch.Tensor) -> int:
    return int(to_bytes8(image)[0, 0, 0])


def write_table(path: Path, levels: range, paths: bool = True, column: str = "image") -> Path:
    records = [{"bytes": encoded(n), "path": f"{n}.png" if paths else None} for n in levels]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({column: pa.array(records, kind), "label": list(levels)})
    pq.write_table(table, path, row_group_size=4)
    return path


def test_folder_is_sorted_recursive_and_lazy(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, level in [("b.PNG", 2), ("a.png", 1), ("sub/c.png", 3)]:
        (tmp_path / name).write_bytes(encoded(level))
    (tmp_path / "sub" / "broken.jpg").write_text("no picture")
    (tmp_path / "notes.txt").write_text("not listed")
    (tmp_path / "._a.png").write_text("a Mac's shadow file")
    collection = open_images(str(tmp_path))
    assert collection.ids == ("a.png", "b.PNG", "sub/broken.jpg", "sub/c.png")
    assert [level_of(collection[i][1]) for i in (0, 1, 3, -1)] == [1, 2, 3, 3]
    with pytest.raises(VqlinkError, match=r"broken\.jpg: not an image"):
        collection[2]


@pytest.mark.parametrize("paths", [True, False])
def test_parquet_across_row_groups(tmp_path: Path, paths: bool) -> None:
    path = write_table(tmp_path / "train.parquet", range(10), paths)
    collection = open_images(str(path))
    assert len(collection) == 10
    assert collection.ids[3] == ("3.png" if paths else "train-000003")
    assert [level_of(image) for _, image in collection] == list(range(10))
    assert [level_of(collection[i][1]) for i in (9, 0, 4, 3, -1)] == [9, 0, 4, 3, 9]


def test_folder_of_parquet_files(tmp_path: Path) -> None:
    write_table(tmp_path / "part-0.parquet", range(5))
    write_table(tmp_path / "part-1.parquet", range(3, 9))  # repeats 3.png and 4.png
    collection = open_images(str(tmp_path))
    assert len(set(collection.ids)) == len(collection) == 11
    assert collection.ids[5] == "part-1-000000"
    assert [level_of(collection[i][1]) for i in (4, 5, 10)] == [4, 3, 8]


def test_slices_are_collections(tmp_path: Path) -> None:
    collection = open_images(str(write_table(tmp_path / "a.parquet", range(10))))
    part = collection[2:9:3]
    assert isinstance(part, ImageCollection)
    assert part.ids == ("2.png", "5.png", "8.png")
    assert level_of(part[1:][-1][1]) == 8
    with pytest.raises(IndexError):
        part[3]


def test_nothing_is_decoded_before_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(encoded(1))
    monkeypatch.setattr(Image, "open", None)
    assert len(open_images(str(tmp_path))) == 1


def test_single_image_and_sample(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(7))
    ((name, image),) = open_images(str(tmp_path / "a.png"))
    assert (name, level_of(image)) == ("a.png", 7)
    ((name, image),) = open_images("sample:astronaut")
    assert (name, tuple(image.shape)) == ("sample:astronaut", (3, 512, 512))


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(VqlinkError, match="no such file or folder"):
        open_images(str(tmp_path / "none"))
    with pytest.raises(VqlinkError, match="holds no images"):
        open_images(str(tmp_path))
    other = write_table(tmp_path / "other.parquet", range(2), column="img")
    with pytest.raises(VqlinkError, match="no column 'image', only img, label"):
        open_images(str(other))
    pq.write_table(pa.table({"image": [1, 2]}), other)
    with pytest.raises(VqlinkError, match="not a struct"):
        open_images(str(other))
    pq.write_table(pa.table({"image": pa.array([], pa.struct([("bytes", pa.binary())]))}), other)
    with pytest.raises(VqlinkError, match="no rows"):
        open_images(str(other))
    other.write_text("no table")
    with pytest.raises(VqlinkError, match="not a parquet file"):
        open_images(str(other))
    (tmp_path / "a.png").write_bytes(encoded(1))
    with pytest.raises(VqlinkError, match="both images and parquet"):
        open_images(str(tmp_path))


def test_empty_record_names_file_and_row(tmp_path: Path) -> None:
    path = tmp_path / "holes.parquet"
    kind = pa.struct([("bytes", pa.binary())])
    records = pa.array([{"bytes": encoded(1)}, {"bytes": b"junk"}, None], kind)
    pq.write_table(pa.table({"image": records}), path)
    collection = open_images(str(path))
    assert collection.ids == ("holes-000000", "holes-000001", "holes-000002")
    assert level_of(collection[0][1]) == 1
    with pytest.raises(VqlinkError, match=r"holes\.parquet, row 1: not an image"):
        collection[1]
    with pytest.raises(VqlinkError, match=r"holes\.parquet, row 2: holds no image bytes"):
        collection[2]


def test_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fake(name: str, *, split: str) -> datasets.Dataset:
        asked.append((name, split))
        if name == "offline":
            raise ConnectionError("Couldn't reach the Hub\nand more lines")
        column = "picture" if name == "other" else "image"
        rows = {column: [{"bytes": encoded(n), "path": None} for n in range(3)]}
        return datasets.Dataset.from_dict(rows, datasets.Features({column: datasets.Image()}))

    monkeypatch.setattr(datasets, "load_dataset", fake)
    collection = open_images("hf:someone/pictures:test")
    assert collection.ids[2] == "someone/pictures-test-000002"
    assert [level_of(image) for _, image in collection] == [0, 1, 2]
    with pytest.raises(VqlinkError, match=r"cannot be fetched from the hub .*reach the Hub\)$"):
        open_images("hf:offline")
    with pytest.raises(VqlinkError, match="no column 'image', only picture"):
        open_images("hf:other")
    with pytest.raises(VqlinkError, match="write hf:NAME"):
        open_images("hf:")
    assert asked == [("someone/pictures", "test"), ("offline", "train"), ("other", "train")]

"""Every file is what its content says, whatever its name; what is none of ours is named, with what to do about it."""

import bz2
import gzip
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from utils.errors import InputFileError
from utils.readers.formats import READERS, detect_format, open_reader
from utils.readers.places.storage import Source
from utils.readers.spec import Access, Format


def detected(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return detect_format(Source(str(path)))


def refusal(path: Path, content: bytes, **access: Any) -> str:
    path.write_bytes(content)
    with pytest.raises(InputFileError) as caught:
        open_reader(str(path), access=Access(**access))
    assert str(path) in str(caught.value)
    assert caught.value.remedy
    return str(caught.value)


def test_every_format_of_the_configs_has_a_reader() -> None:
    from typing import get_args

    assert {"auto", *READERS} == set(get_args(Format))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"root\x00\x00\xf3\xc0\x00", "root"),
        (b"PAR1\x15\x04", "parquet"),
        (b"ARROW1\x00\x00\xff\xff", "arrow"),
        (b"\xff\xff\xff\xff\x10\x01\x00\x00", "arrow"),
        (b"\x89HDF\r\n\x1a\n\x00", "hdf5"),
        (b"pt,eta\n1,2\n", "csv"),
        (b"1.5 2.5\n", "csv"),
        (b"PAR1,PAR2\n1,2\n", "csv"),
        (b"root;BZh9\n1;2\n", "csv"),
        (b"\xef\xbb\xbfpt\n1\n", "csv"),
        ("kanał,µ\n".encode(), "csv"),
        ("größe\n".encode("latin-1"), "csv"),
        (b'{"pt": 1}\n', "json"),
        (b'\xef\xbb\xbf\n  {"pt": 1}\n', "json"),
    ],
)
def test_content_tells(tmp_path: Path, content: bytes, expected: str) -> None:
    assert detected(tmp_path / "events.h5", content) == expected
    if expected in ("csv", "json"):
        for squeezed in (gzip.compress(content), bz2.compress(content), pa.compress(content, "zstd", asbytes=True)):
            assert detected(tmp_path / "events.root", squeezed) == expected


def test_a_long_line_in_utf8_may_be_cut_within_a_character(tmp_path: Path) -> None:
    assert detected(tmp_path / "a", ("x" + "µ" * 5000).encode()) == "csv"


def test_hdf5_may_begin_behind_a_block_of_its_user(tmp_path: Path) -> None:
    for size in (512, 8192):
        path = tmp_path / f"{size}.h5"
        with h5py.File(path, "w", userblock_size=size) as file:
            file["pt"] = np.arange(5.0)
        with path.open("r+b") as raw:
            raw.write(b"\x01\x02 detector settings")
        with open_reader(str(path)) as reader:
            assert reader.read(["pt"], 1, 3)["pt"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file (0 bytes)"),
        (b" \n\t\n", "a file of blanks only"),
        (b"FEA1\x00\x00\x00\x00", "Feather file of version 1, in .*Convert it"),
        (b"\x93NUMPY\x01\x00", "a NumPy array"),
        (b"PK\x03\x04\x14\x00", "a ZIP archive"),
        (b"ORC\x0a\x01", "an ORC file"),
        (b"\xfd7zXZ\x00\x00", "compressed with xz"),
        ("pt\n1\n".encode("utf-16"), "text in UTF-16, in .*Save it as UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "Git LFS pointer.*git lfs pull"),
        (b'[{"pt": 1}]', "one JSON array.*one object per line"),
        (b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title>", "a web page ('502 Bad Gateway')"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code>", "a web page ('AccessDenied')"),
        (gzip.compress(b"", mtime=0), "an empty file, compressed with gzip"),
        (gzip.compress(b"root\x00\x00\xf3\xc0", mtime=0), "root inside gzip.*Decompress it"),
        (gzip.compress(b"<html><h1>Log in</h1>", mtime=0), "a web page ('Log in')"),
        (gzip.compress(bytes(range(256)) * 40, mtime=0), "a file of no known format"),
        (b"\x1f\x8b" + b"\x07" * 100, "a gzip file that cannot be decompressed"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "a zstd file that cannot be decompressed"),
    ],
)
def test_what_is_no_input_says_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    message = refusal(tmp_path / "events.root", content)
    assert all(part in message for part in said.split(".*")), message
    # Nor is it what the config says it is.
    stated = refusal(tmp_path / "events.root", content, format="root")
    assert "no known format" in message or stated == message


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "exploded",))

    assert "a pickle, which could run any program" in refusal(tmp_path / "a.pkl", pickle.dumps(Bomb()))
    assert not (tmp_path / "exploded").exists()


def test_an_unknown_format_names_the_known_ones(tmp_path: Path) -> None:
    message = refusal(tmp_path / "events.pq", b"\x01\x02\x03junk")
    assert message.startswith(
        r"a file of no known format (it begins with b'\x01\x02\x03junk'; known are root, parquet, "
    )
    assert message.endswith("Its name says parquet: the file is damaged, or set format: parquet.")
    assert refusal(tmp_path / "events.dat", b"\x01\x02").endswith("set format: NAME.")


def test_a_stated_format_has_the_last_word_on_unknown_bytes(tmp_path: Path) -> None:
    assert "cannot be opened as a Parquet file" in refusal(tmp_path / "a", b"\x01\x02junk", format="parquet")


def test_a_stated_format_that_the_content_contradicts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"pt": [1.0]}), tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    message = refusal(tmp_path / "events.root", content, format="root")
    assert message.startswith("format is 'root', but the file's content is parquet, in ")
    assert message.endswith("Set format to auto or to parquet, or correct the path.")
    assert "format is 'csv', but the file's content is json" in refusal(tmp_path / "b", b'{"a": 1}', format="csv")

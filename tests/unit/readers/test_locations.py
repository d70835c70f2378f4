"""What a config names, as files: globs, folders, lists, redirectors."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.servers import file_server
from utils.errors import InputFileError
from utils.logs import captured_log
from utils.readers.places.locations import below, expand_paths, join, redirected
from utils.readers.spec import Access


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data of all kinds, and what is none."""
    for name in ("b.root", "a.root", "c.csv.gz", "d.h5", "_SUCCESS", ".hidden.root", "e.root.part", "labels.md"):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).touch()
    for name in ("part-1.parquet", "part-0.parquet", "_metadata"):
        (tmp_path / "data" / "p.parquet" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / "p.parquet" / name).touch()
    (tmp_path / "data" / "older").mkdir()
    (tmp_path / "data" / "older" / "z.root").touch()
    return tmp_path / "data"


def names(paths: list[str], folder: Path) -> list[str]:
    """Paths as seen from the folder."""
    return [str(Path(path).relative_to(folder)) for path in paths]


def test_a_file_a_glob_and_a_folder(folder: Path) -> None:
    assert expand_paths(str(folder / "b.root")) == [str(folder / "b.root")]
    assert names(expand_paths(str(folder / "*.root")), folder) == ["a.root", "b.root", "e.root"][:2]
    assert names(expand_paths(str(folder / "**" / "*.root")), folder) == ["a.root", "b.root", "older/z.root"]
    with captured_log() as log:
        found = expand_paths(str(folder))
    expected = ["a.root", "b.root", "c.csv.gz", "d.h5", "p.parquet/part-0.parquet", "p.parquet/part-1.parquet"]
    assert names(found, folder) == expected
    assert any("2 of 7 entries are no data files: labels.md, older/" in line for line in log)
    assert names(expand_paths(str(folder / "*.parquet")), folder) == expected[-2:]
    assert expand_paths(f"file://{folder}/a.root") == [str(folder / "a.root")]


def test_a_list(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "f#1.root").touch()
    monkeypatch.chdir(tmp_path)
    (folder / "files.txt").write_text(
        f"\ufeff# all of it\n\n b.root   # beside the list\r\n{folder}/a.root\nelsewhere/f#1.root # from here\n"
        "older/*.root\nroot://host//store/x#y.root\n"
    )
    assert expand_paths(str(folder / "files.txt")) == [
        f"{folder}/b.root", f"{folder}/a.root", "elsewhere/f#1.root", f"{folder}/older/z.root", "root://host//store/x#y.root",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("# nothing\n\n", "the list of files is empty"),
        ("a.root\n\nb.roott\n", "no such file: 'b.roott', in .*files.txt, line 3; did you mean"),
        ("more.txt\n", "a list itself"),
        ("nothing*.root\n", "no file matches"),
    ],
)
def test_a_list_that_is_wrong(folder: Path, content: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "files.txt").write_text(content)
    with pytest.raises(InputFileError, match=message):
        expand_paths(str(folder / "files.txt"))


def test_what_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputFileError) as raised:
        expand_paths(str(folder / "aa.root"))
    assert raised.value.nearest == "a.root"
    with pytest.raises(InputFileError, match="no file matches"):
        expand_paths(str(folder / "q*.root"))
    with pytest.raises(InputFileError, match="no such file"):
        expand_paths(str(tmp_path / "files.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputFileError, match="no data files in the folder"):
        expand_paths(str(tmp_path / "empty"))
    with pytest.raises(InputFileError, match="no data files .*; it holds z.txt"):
        (tmp_path / "empty" / "z.txt").touch()
        expand_paths(str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("redirector", "path", "url"),
    [
        ("root://xrootd.example/", "/store/mc/a.root", "root://xrootd.example//store/mc/a.root"),
        ("root://xrootd.example//", "/store/mc/a.root", "root://xrootd.example//store/mc/a.root"),
        ("root://xrootd.example:1094", "store/a.root", "root://xrootd.example:1094//store/a.root"),
        ("root://eos.example//eos/cms/", "/store/a.root", "root://eos.example//eos/cms/store/a.root"),
        ("https://door.example/", "/store/a.root", "https://door.example/store/a.root"),
    ],
)
def test_what_does_not_exist_here_is_behind_the_redirector(redirector: str, path: str, url: str) -> None:
    assert redirected(redirector, path) == url
    assert expand_paths(path, Access(redirector=redirector)) == [url]


def test_a_path_that_exists_needs_no_redirector(folder: Path) -> None:
    access = Access(redirector="root://host.example/")
    assert expand_paths(str(folder / "a.root"), access) == [str(folder / "a.root")]
    assert names(expand_paths(str(folder / "a*.root"), access), folder) == ["a.root"]


def test_urls_that_need_no_question_are_taken_as_they_are() -> None:
    for url in ("root://host.example//store/a.root", "https://host.example/a.csv.gz", "s3://bucket/a.h5"):
        assert expand_paths(url) == [url]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rooot://host//a.root", "unknown protocol 'rooot://'.*did you mean 'root'"),
        ("root:///a/*.root", "without a host"),
        ("hdfs:///a/*.root", "Set namenode to HOST:PORT"),
        ("hdfs://host:abc/a/*.root", "no name node"),
    ],
)
def test_urls_that_name_nothing(url: str, message: str) -> None:
    with pytest.raises(InputFileError, match=message):
        expand_paths(url)


def test_joining_and_looking_from_a_folder() -> None:
    assert join("root://host//store", "a.root") == "root://host//store/a.root"
    assert join("data/", "a.root") == "data/a.root"
    assert join("data", "/b/a.root") == "/b/a.root"
    assert join("data", "http://host/a.root") == "http://host/a.root"
    assert below("data", "data/x/a.root") == "x/a.root"
    assert below("root://host//store", "root://host//store/x/a.root") == "x/a.root"
    assert below("root://host/store/", "root://host//store/x/a.root") == "x/a.root"
    assert below("root://host//store", "root://host//stores/a.root") == "root://host//stores/a.root"
    assert below("data", "root://host//data/a.root") == "root://host//data/a.root"


@pytest.fixture(params=["http", "webhdfs", "s3"])
def remote(
    request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> "Iterator[tuple[Callable[[str], str], Access]]":
    """The same folder on a server: (path → URL, access)."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with file_server(folder.parent, request.param) as served:
        monkeypatch.setenv("AWS_ENDPOINT_URL", served.address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "me")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        head = {"http": f"{served.address}/", "webhdfs": "hdfs:///", "s3": "s3://"}[request.param]
        yield lambda path: head + path, Access(namenode=served.host, retries=0, timeout=10)


def test_folders_and_globs_on_servers(remote: "tuple[Callable[[str], str], Access]", folder: Path) -> None:
    url, access = remote
    assert expand_paths(url("data/*.root"), access) == [url("data/a.root"), url("data/b.root")]
    assert expand_paths(url("data/[b-z].root"), access) == [url("data/b.root")]
    assert expand_paths(url("data/old*/*.root"), access) == [url("data/older/z.root")]
    assert expand_paths(url("data/**/*.root"), access) == [
        url("data/a.root"), url("data/b.root"), url("data/older/z.root"),
    ]  # fmt: skip
    assert expand_paths(url("data/"), access) == [
        url(f"data/{path.relative_to(folder)}") for path in map(Path, expand_paths(str(folder)))
    ]
    assert expand_paths(url("data/p.parquet/"), access) == [
        url("data/p.parquet/part-0.parquet"), url("data/p.parquet/part-1.parquet"),
    ]  # fmt: skip
    (folder / "files.txt").write_text("b.root # one\nolder/z.root\n")
    assert expand_paths(url("data/files.txt"), access) == [url("data/b.root"), url("data/older/z.root")]
    with pytest.raises(InputFileError, match="no file matches"):
        expand_paths(url("data/q*.root"), access)
    with pytest.raises(InputFileError, match="no such file"):
        expand_paths(url("date/*.root"), access)

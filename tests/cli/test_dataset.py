"""Where the documents come from, with and without a network."""

import hashlib
import http.client
import io
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from urllib.response import addinfourl

import pytest

from cli.dataset import BUNDLED_PATH, NAMES_SHA256, NAMES_URL, cache_directory, load_dataset
from cli.errors import UsageError
from engine.errors import DatasetError

pytestmark = pytest.mark.unit


class Network(urllib.request.HTTPSHandler):
    """The network as seen from here: an error, or a page."""

    def __init__(self, answer: Exception | bytes) -> None:
        super().__init__()
        self._answer = answer
        self.asked: list[str] = []

    def https_open(self, request: urllib.request.Request) -> addinfourl:
        self.asked.append(request.full_url)
        if isinstance(self._answer, Exception):
            raise self._answer
        response = addinfourl(io.BytesIO(self._answer), Message(), request.full_url, 200)
        response.msg = "OK"  # type: ignore[attr-defined]  # what an HTTPResponse has besides
        return response


@pytest.fixture(autouse=True)
def _no_proxy_and_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GRADFLOCK_CACHE_DIR", str(tmp_path / "cache"))
    reach(OSError("unreachable"))
    yield
    urllib.request.install_opener(None)  # type: ignore[arg-type]  # the default one comes back


def reach(answer: Exception | bytes) -> Network:
    network = Network(answer)
    proxies = urllib.request.ProxyHandler({})
    urllib.request.install_opener(urllib.request.build_opener(proxies, network))
    return network


def load(name: str) -> tuple[list[str], list[str]]:
    said: list[str] = []
    return load_dataset(name, said.append).texts, said


def written(path: Path, data: bytes) -> str:
    (path / "documents.txt").write_bytes(data)
    return str(path / "documents.txt")


# ---- the bundled list ---------------------------------------------------------------------------


def test_the_bundled_list_has_two_thousand_different_names_in_small_letters() -> None:
    texts, said = load("bundled")

    assert len(set(texts)) == len(texts) >= 2000
    assert all(text.isalpha() and text.isascii() and text == text.lower() for text in texts)
    assert said == []


def test_without_a_network_the_bundled_list_stands_in_with_one_warning() -> None:
    reach(urllib.error.URLError("no route"))

    texts, (line,) = load("names")

    assert texts == load("bundled")[0]
    assert "cannot be fetched (no route)" in line
    assert f"{len(texts):,} bundled names" in line


def test_a_run_on_the_bundled_list_says_so() -> None:
    record = load_dataset("names", lambda _line: None).record

    assert record.name == "bundled"
    assert record.sha256 == hashlib.sha256(BUNDLED_PATH.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "answer",
    [
        TimeoutError("timed out"),
        ConnectionResetError("reset"),
        urllib.error.HTTPError(NAMES_URL, 403, "Forbidden", Message(), io.BytesIO()),
        b"<html>log in to this network</html>",
        b"",
        http.client.BadStatusLine("garbage"),
        http.client.IncompleteRead(b"half"),
    ],
    ids=["timeout", "reset", "403", "portal", "empty", "garbage", "half"],
)
def test_whatever_the_network_does_there_is_a_list(answer: Exception | bytes) -> None:
    reach(answer)

    texts, said = load("names")

    assert len(texts) >= 2000
    assert len(said) == 1


# ---- the canonical list -------------------------------------------------------------------------


def test_the_canonical_list_is_fetched_once(canonical_names: Path, tmp_path: Path) -> None:
    network = reach(canonical_names.read_bytes())

    first, second = load("names"), load("names")

    assert len(first[0]) == 32_033
    assert first == second
    assert network.asked == [NAMES_URL]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["names.txt"]


def test_a_cached_list_with_the_right_checksum_needs_no_network(
    canonical_names: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "names.txt").write_bytes(canonical_names.read_bytes())

    dataset = load_dataset("names", pytest.fail)

    assert (dataset.name, dataset.sha256) == ("names", NAMES_SHA256)


def test_a_cached_list_with_another_checksum_is_fetched_anew(
    canonical_names: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "names.txt").write_text("emma\nmallory\n")
    reach(canonical_names.read_bytes())

    texts, said = load("names")

    assert len(texts) == 32_033
    assert said == []
    assert (tmp_path / "cache" / "names.txt").read_bytes() == canonical_names.read_bytes()


def test_a_cached_list_with_another_checksum_is_not_used_without_a_network(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "names.txt").write_text("emma\nmallory\n")

    texts, said = load("names")

    assert "mallory" not in texts
    assert len(said) == 1


def test_a_cache_that_cannot_be_written_costs_nothing(
    canonical_names: Path, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file")
    reach(canonical_names.read_bytes())

    assert len(load("names")[0]) == 32_033


def test_the_cache_is_where_the_user_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADFLOCK_CACHE_DIR", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    monkeypatch.setenv("HOME", "/c")

    places = [cache_directory()]
    monkeypatch.delenv("GRADFLOCK_CACHE_DIR")
    places.append(cache_directory())
    monkeypatch.delenv("XDG_CACHE_HOME")
    places.append(cache_directory())

    assert places == [Path("/a"), Path("/b/gradflock"), Path("/c/.cache/gradflock")]


# ---- a file of one's own ------------------------------------------------------------------------


def test_a_line_is_a_document_without_the_space_around_it(tmp_path: Path) -> None:
    path = written(tmp_path, b"emma\r\n\r\n  al \n\n\t\nmia c")

    assert load(path)[0] == ["emma", "al", "mia c"]


def test_letters_of_any_script_are_kept(tmp_path: Path) -> None:
    assert load(written(tmp_path, "zoë\n日向\n".encode()))[0] == ["zoë", "日向"]


def test_the_name_of_a_file_is_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, b"emma\n")
    monkeypatch.chdir(tmp_path)

    dataset = load_dataset("documents.txt", pytest.fail)

    assert dataset.name == str(tmp_path / "documents.txt")
    assert dataset.record.count == 1
    assert dataset.sha256 == hashlib.sha256(b"emma\n").hexdigest()


def test_a_byte_order_mark_is_no_letter(tmp_path: Path) -> None:
    assert load(written(tmp_path, b"\xef\xbb\xbfemma\nal\n"))[0] == ["emma", "al"]


def test_a_file_that_is_not_utf_8_is_refused_with_byte_and_line(tmp_path: Path) -> None:
    path = written(tmp_path, b"emma\nal\nzo\xeb\n")

    with pytest.raises(DatasetError, match="expected UTF-8 text, got byte 0xeb in line 3"):
        load(path)


@pytest.mark.parametrize("data", [b"", b"\n", b"  \r\n\t\n"])
def test_a_file_without_documents_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DatasetError, match="got an empty file"):
        load(written(tmp_path, data))


@pytest.mark.parametrize("name", ["", "no-such-file", "."])
def test_a_file_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match=f"got {name!r}.*--data; give a path, or names"):
        load(name)

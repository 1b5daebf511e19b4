"""Zipped collections: unpacked once, whole or not at all, and nowhere else."""

import gzip
import json
import stat
import zipfile

import pandas as pd
import pytest

from pyterrier_taskarith.data import _archive as archive
from pyterrier_taskarith.data import _formats as formats
from pyterrier_taskarith.data import read_collection, read_run, read_topics
from pyterrier_taskarith.data._archive import unpacked
from pyterrier_taskarith.errors import DataError

FILES = {
    "corpus.jsonl": "".join(json.dumps({"_id": f"d{i}", "title": f"T{i}", "text": f"body {i} " * 50}) + "\n"
                            for i in range(40)),
    "queries.jsonl": "".join(json.dumps({"_id": f"q{i}", "text": f"query number {i}"}) + "\n" for i in range(40)),
    "qrels/dev.tsv": "query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(10)),
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\td{i}\t1\n" for i in range(10, 30)),
}


def zipped(path, files=FILES, prefix="nfcorpus/", compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, text in files.items():
            file.writestr(prefix + name, text)
    return path


@pytest.mark.parametrize("prefix", ["", "nfcorpus/", "./a/b/"])
def test_a_zip_is_the_collection_that_its_folder_is(tmp_path, prefix):
    for name, text in FILES.items():
        (tmp_path / "nfcorpus" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "nfcorpus" / name).write_text(text)
    folder = read_collection(tmp_path / "nfcorpus")
    found = read_collection(zipped(tmp_path / "nfcorpus.zip", prefix=prefix))
    assert found.name == folder.name == "nfcorpus"
    pd.testing.assert_frame_equal(found.documents.head(), folder.documents.head())
    for split in ("dev", "test"):
        pd.testing.assert_frame_equal(found.topics[split], folder.topics[split])
        pd.testing.assert_frame_equal(found.qrels[split], folder.qrels[split])


def test_a_zip_is_unpacked_once_and_another_one_anew(tmp_path, monkeypatch):
    first = unpacked(zipped(tmp_path / "a.zip"), tmp_path / "place")
    monkeypatch.setattr(archive, "_extract", lambda *args: 1 / 0)
    assert unpacked(zipped(tmp_path / "a.zip"), tmp_path / "place") == first
    monkeypatch.undo()
    other = unpacked(zipped(tmp_path / "a.zip", FILES | {"qrels/test.tsv": "q1\td2\t1\n"}), tmp_path / "place")
    assert other != first and (other / "qrels" / "test.tsv").read_text() == "q1\td2\t1\n"
    assert (first / "qrels" / "test.tsv").read_text() == FILES["qrels/test.tsv"]
    assert sorted(path.name for path in (tmp_path / "place").iterdir()) == sorted([first.name, other.name])


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.95, 0.999])
def test_a_zip_that_was_not_downloaded_to_its_end_is_named_and_leaves_nothing(tmp_path, share):
    path = zipped(tmp_path / "half.zip")
    whole = path.read_bytes()
    path.write_bytes(whole[:int(share * len(whole))])
    with pytest.raises(ValueError, match=r"half\.zip is not a whole zip file .* downloaded to its end"):
        read_collection(path)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_zip_with_wrong_bytes_in_a_file_is_named_and_leaves_nothing(tmp_path, compression):
    path = zipped(tmp_path / "bad.zip", compression=compression)
    raw = bytearray(path.read_bytes())
    raw[150:170] = bytes(20)  # inside corpus.jsonl
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"bad\.zip: its file nfcorpus/corpus\.jsonl cannot be unpacked"):
        unpacked(path, tmp_path / "place")
    assert list((tmp_path / "place").iterdir()) == []


def test_names_that_lead_elsewhere_lead_nowhere(tmp_path):
    path = zipped(tmp_path / "evil.zip", prefix="../../outside/")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("../escaped.txt", "x")
        file.writestr("/absolute.txt", "x")
        file.writestr("../../outside/qrels/../../../escaped.tsv", "x")
        link = zipfile.ZipInfo("../../outside/queries.tsv")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/hostname")
    folder = unpacked(path, tmp_path / "deep" / "place")
    assert folder.parent == tmp_path / "deep" / "place"
    assert sorted(str(found.relative_to(tmp_path)) for found in tmp_path.rglob("*") if not found.is_dir()) == sorted([
        "evil.zip", *(str((folder / name).relative_to(tmp_path)) for name in [*FILES, "queries.tsv"])])
    assert not (folder / "queries.tsv").is_symlink() and (folder / "queries.tsv").read_text() == "/etc/hostname"


@pytest.mark.parametrize(("files", "error", "words"), [
    ({"readme.txt": "hello"}, FileNotFoundError, r"holds neither corpus\.jsonl nor docs\.jsonl"),
    ({"a/corpus.jsonl": "", "b/corpus.jsonl": ""}, ValueError,
     r"holds 2 collections \(nfcorpus/a/corpus\.jsonl, nfcorpus/b/corpus\.jsonl\)"),
])
def test_a_zip_without_one_collection_is_named(tmp_path, files, error, words):
    with pytest.raises(error, match=words) as caught:
        unpacked(zipped(tmp_path / "other.zip", files), tmp_path / "place")
    assert "other.zip" in str(caught.value)


def test_a_file_that_is_no_zip_and_a_file_that_is_not_there_are_named(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"notes\.txt is not a whole zip file"):
        read_collection(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.zip"):
        unpacked(tmp_path / "nowhere.zip", tmp_path / "place")


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpacked(zipped(tmp_path / "a.zip"), tmp_path / "place")
    assert list((tmp_path / "place").iterdir()) == []


def test_a_zip_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip")
    monkeypatch.setenv("TASKARITH_MAX_UNPACKED", "1000")
    with pytest.raises(DataError, match=r"a\.zip unpacks to more than 1,000 bytes.*TASKARITH_MAX_UNPACKED"):
        unpacked(path, tmp_path / "place")
    assert not (tmp_path / "place").exists()
    monkeypatch.setenv("TASKARITH_MAX_UNPACKED", "1GB")
    with pytest.raises(DataError, match="TASKARITH_MAX_UNPACKED='1GB' is not a number of bytes"):
        unpacked(path, tmp_path / "place")
    monkeypatch.setenv("TASKARITH_MAX_UNPACKED", "")
    assert (unpacked(path, tmp_path / "place") / "corpus.jsonl").is_file()


@pytest.mark.parametrize(("read", "content"), [
    (read_run, "".join(f"q1 Q0 d{number} 1 1 t\n" for number in range(2**18)).encode()), (read_run, b"\n" * 2**24),
    (read_topics, b" " * 2**24), (read_topics, b"<topics>" + b" " * 2**24)])
def test_a_gzip_that_unpacks_to_too_much_is_refused_while_it_is_read(tmp_path, monkeypatch, content, read):
    monkeypatch.setattr(formats, "LONGEST", 2**20)
    monkeypatch.setenv("TASKARITH_MAX_UNPACKED", str(2**22))
    path = tmp_path / ("a.xml.gz" if read is read_topics else "a.run.gz")
    path.write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=r"gz unpacks to more than 4,194,304 bytes"):
        read(path)


def test_without_a_limit_stated_a_hundred_times_the_file_or_a_gigabyte_is_allowed(tmp_path, monkeypatch):
    monkeypatch.delenv("TASKARITH_MAX_UNPACKED", raising=False)
    path = tmp_path / "a.gz"
    path.write_bytes(bytes(2**24))
    archive.check_unpacked(path, 100 * 2**24)
    with pytest.raises(DataError, match="more than 1,677,721,600 bytes"):
        archive.check_unpacked(path, 100 * 2**24 + 1)
    path.write_bytes(b"")
    archive.check_unpacked(path, 2**30)

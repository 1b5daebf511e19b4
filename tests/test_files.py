"""Files and folders that appear all at once: killed and living writers, races, full disks, and odd names."""

import errno
import hashlib
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pyterrier_taskarith._files import file_sha256, home, new_file, new_folder

FORK = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def filled(target: Path, text: str, **options: bool) -> None:
    with new_folder(target, **options) as folder:
        (folder / "a").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "b").write_text(text)


def whole(target: Path) -> str:
    """Returns the text of a folder that `filled` wrote, all of whose files are of one writer."""
    texts = {(target / name).read_text() for name in ("a", "deep/b")}
    assert len(texts) == 1 and names(target) == ["a", "deep"]
    return texts.pop()


def test_a_file_and_a_folder_appear_whole_at_the_end_of_the_block(tmp_path):
    target = tmp_path / "new" / "file.txt"
    with new_file(target) as path:
        path.write_text("words")
        assert not target.exists()
    assert target.read_text() == "words" and names(target.parent) == ["file.txt"]
    with new_folder(tmp_path / "folder") as folder:
        (folder / "x").write_text("1")
        assert not (tmp_path / "folder").exists()
    assert names(tmp_path) == ["folder", "new"] and names(tmp_path / "folder") == ["x"]


def test_what_is_there_is_replaced_or_refused(tmp_path):
    file, folder, empty = tmp_path / "file", tmp_path / "folder", tmp_path / "empty"
    file.write_text("old")
    empty.mkdir()
    with new_file(file) as path:
        path.write_text("new")
    assert file.read_text() == "new"
    filled(empty, "over an empty folder")
    filled(folder, "one")
    for target in (folder, file):
        with pytest.raises(FileExistsError, match=f"{target.name} was made by something else"):
            filled(target, "two")
    with pytest.raises(FileExistsError, match="file was made"):
        filled(file, "a folder does not replace a file", replaces=True)
    assert whole(folder) == "one" and file.read_text() == "new"
    filled(folder, "two", replaces=True)
    assert whole(folder) == "two" and names(tmp_path) == ["empty", "file", "folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs links")
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    for name, write in (("file", lambda target: new_file(target)), ("folder", lambda target: new_folder(target))):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
        with write(tmp_path / name) as path:
            (path / "x" if name == "folder" else path).write_text("1")
        assert (tmp_path / name).is_symlink()
    assert names(tmp_path / "disk") == ["file", "folder"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(),
                                   ZeroDivisionError()], ids=["full", "interrupted", "bug"])
@pytest.mark.parametrize("exists", [False, True])
def test_a_block_that_fails_leaves_the_target_as_it_was(tmp_path, error, exists):
    if exists:
        filled(tmp_path / "folder", "old")
        (tmp_path / "file").write_text("old")
    before = names(tmp_path)
    for write in (lambda: new_file(tmp_path / "file"), lambda: new_folder(tmp_path / "folder", replaces=True)):
        with pytest.raises(type(error)), write() as path:
            (path / "half" if path.is_dir() else path).write_text("half")
            raise error
    assert names(tmp_path) == before
    if exists:
        assert whole(tmp_path / "folder") == "old" and (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_end_leaves_the_target_as_it_was(tmp_path, monkeypatch, call):
    filled(tmp_path / "folder", "old")
    real, calls = getattr(os, call), []

    def fails(*arguments):
        calls.append(arguments)
        if call == "fsync" or Path(arguments[0]).name == "new":
            if Path(str(arguments[0])).name == "new" and len(calls) == 1:
                raise OSError(errno.ENOTEMPTY, "there is something")  # so that the old folder is put aside first
            raise OSError(errno.EIO, "Input/output error")
        return real(*arguments)

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(OSError, match="Input/output error"):
        filled(tmp_path / "folder", "new", replaces=True)
    assert whole(tmp_path / "folder") == "old" and names(tmp_path) == ["folder"]
    if call == "replace":
        assert len(calls) == 4  # it was put aside, and came back


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root, and Windows, may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError, match=tmp_path.name), new_file(tmp_path / "file"):
            pass
    finally:
        tmp_path.chmod(0o755)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["a[b]*?.x", "a b", ".hidden", "*", "x" * 200, "x" * 255, "ä\u2028",
                                  os.fsdecode(b"\xff\xfe")])
def test_names_mean_themselves(tmp_path, name):
    if sys.platform == "win32" and set(name) & set("*?"):
        pytest.skip("Windows has no such names")
    (tmp_path / ".abQ.x.12345678.lock").write_text("")  # a pattern a[b]*?.x would match it
    for _ in range(2):
        filled(tmp_path / name, "text", replaces=True)
        with new_file(tmp_path / "files" / name) as path:
            path.write_text("text")
    assert whole(tmp_path / name) == "text" and names(tmp_path) == sorted([".abQ.x.12345678.lock", "files", name])
    assert names(tmp_path / "files") == [name]


def test_a_hash_that_cannot_be_remembered_or_read_is_computed(tmp_path, monkeypatch):
    path = tmp_path / os.fsdecode(b"weights \xff")
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setenv("TASKARITH_HOME", str(tmp_path / "home"))
    assert file_sha256(path) == digest
    memory, = (tmp_path / "home" / "sha256").iterdir()
    for damaged in (b"\xff\xfe", b"not a hash"):
        memory.write_bytes(damaged)
        assert file_sha256(path) == digest
    memory.unlink()
    memory.mkdir()  # it can be neither read nor written
    (memory / "x").touch()
    assert file_sha256(path) == digest


def test_a_relative_target_is_that_of_the_moment_it_was_given(tmp_path, monkeypatch):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    with new_file(Path("file")) as path:
        monkeypatch.chdir(tmp_path / "other")
        path.write_text("1")
    assert names(tmp_path / "one") == ["file"] and names(tmp_path / "other") == []


# killed and living writers -------------------------------------------------------------------------------------------

WRITER = """
import sys, time
from pathlib import Path
from pyterrier_taskarith._files import new_folder
with new_folder(Path(sys.argv[1]), replaces=True) as folder:
    (folder / "half").write_text("half")
    print("writes", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "target")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "writes\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def scratch(folder: Path) -> list[str]:
    return [name for name in names(folder) if name.startswith(".target.")]


@pytest.mark.slow
def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_living_writers_stays(tmp_path, writer):
    living = scratch(tmp_path)
    filled(tmp_path / "target", "one")
    assert scratch(tmp_path) == living and [Path(name).suffix for name in living] == [".lock", ".tmp"]
    writer.kill()
    writer.wait()
    for other in ("tar", "target.2", "[t]arget"):  # writers of other targets leave it alone
        filled(tmp_path / other, "other")
    assert scratch(tmp_path) == living
    filled(tmp_path / "target", "two", replaces=True)
    assert scratch(tmp_path) == [] and whole(tmp_path / "target") == "two"


def test_what_a_killed_writer_had_put_aside_comes_back(tmp_path):
    left = tmp_path / ".target.12345678.tmp"
    filled(left / "old", "old")
    (left / "new").mkdir()
    (tmp_path / ".target.12345678.lock").touch()
    with pytest.raises(FileExistsError):
        filled(tmp_path / "target", "new")
    assert whole(tmp_path / "target") == "old" and names(tmp_path) == ["target"]


def test_what_was_replaced_does_not_come_back(tmp_path):
    filled(tmp_path / ".target.12345678.tmp" / "old", "old")  # killed after the new folder had its name
    (tmp_path / ".target.12345678.lock").touch()
    filled(tmp_path / "target", "newest")  # the new one was removed by its owner since
    assert whole(tmp_path / "target") == "newest" and names(tmp_path) == ["target"]


# races ---------------------------------------------------------------------------------------------------------------

def at_once(count: int, work) -> list[str]:
    """Returns the outcome of some processes that start at the same moment: the names of errors, "" for none."""
    context = multiprocessing.get_context("fork")
    start, outcomes = context.Barrier(count), context.SimpleQueue()

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
            outcomes.put("")
        except BaseException as error:
            outcomes.put(type(error).__name__)

    processes = [context.Process(target=run, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    found = [outcomes.get() for _ in processes]
    for process in processes:
        process.join()
    return found


@pytest.mark.slow
@FORK
def test_of_several_writers_of_one_folder_one_ends_well_and_the_others_are_told(tmp_path):
    for number in range(15):
        target = tmp_path / str(number)
        outcomes = at_once(4, lambda mine, target=target: filled(target, str(mine)))
        assert sorted(outcomes) == ["", *["FileExistsError"] * 3]
        whole(target)
    assert len(names(tmp_path)) == 15


@FORK
def test_several_writers_that_replace_one_folder_or_file_all_end_well(tmp_path):
    filled(tmp_path / "folder", "old")

    def write(mine: int) -> None:
        for _ in range(15):
            filled(tmp_path / "folder", str(mine), replaces=True)
            with new_file(tmp_path / "file") as path:
                path.write_text(str(mine) * 1000)

    assert at_once(4, write) == [""] * 4
    assert whole(tmp_path / "folder") in "0123" and len(set((tmp_path / "file").read_text())) == 1
    assert names(tmp_path) == ["file", "folder"]


def test_threads_of_one_process_end_well_too(tmp_path):
    errors = []

    def write() -> None:
        try:
            for _ in range(10):
                filled(tmp_path / "folder", "x", replaces=True)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and names(tmp_path) == ["folder"] and whole(tmp_path / "folder") == "x"


# other systems -------------------------------------------------------------------------------------------------------

HIDDEN = """
import sys
sys.modules["fcntl"] = None
import os
del os.O_DIRECTORY
from pathlib import Path
from pyterrier_taskarith._files import new_file, new_folder
target = Path(sys.argv[1])
for text in ("one", "two"):
    with new_folder(target / "folder", replaces=True) as folder:
        (folder / "x").write_text(text)
    with new_file(target / "file") as path:
        path.write_text(text)
    print((target / "folder" / "x").read_text(), (target / "file").read_text(), sorted(os.listdir(target)))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there, these are always missing")
def test_without_fcntl_and_o_directory_files_and_folders_are_written_all_the_same(tmp_path):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", HIDDEN, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.splitlines() == [f"{text} {text} ['file', 'folder']" for text in ("one", "two")], done.stderr


def test_home_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("TASKARITH_HOME", "~/mine")
    assert home() == Path.home() / "mine"
    monkeypatch.delenv("TASKARITH_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home() == tmp_path / "taskarith"
    for name in ("TASKARITH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")  # as if it were not set
    assert home() == Path.home() / ".cache" / "taskarith"

"""Files that are written whole or not at all, whatever happens in between."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from sdf_format import atomic


def attentive() -> None:
    """In a child: Ctrl-C is heard, though the tests themselves may run in the background, where it is not."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_new_bytes_take_the_place_of_old_ones_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "x.sdf"
    path.write_bytes(b"old")
    with atomic.replacing(path) as stream:
        stream.write(b"new and longer")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new and longer"
    atomic.write(os.fsencode(path), b"by a name of bytes")
    assert path.read_bytes() == b"by a name of bytes" and names(tmp_path) == ["x.sdf"]


@pytest.mark.parametrize("reason", [KeyboardInterrupt, SystemExit, ValueError, MemoryError])
def test_whatever_is_raised_in_between_leaves_the_old_file_and_nothing_beside_it(tmp_path, reason):
    (tmp_path / "x.sdf").write_bytes(b"old")
    for name in ("x.sdf", "new.sdf"):
        with pytest.raises(reason), atomic.replacing(tmp_path / name) as stream:
            stream.write(b"half")
            raise reason
    assert names(tmp_path) == ["x.sdf"] and (tmp_path / "x.sdf").read_bytes() == b"old"


def test_a_full_disk_leaves_the_old_file(tmp_path):
    (tmp_path / "x.sdf").write_bytes(b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # as a full disk, of 4096 bytes
    try:
        for name in ("x.sdf", "new.sdf"):
            with pytest.raises(OSError):
                atomic.write(tmp_path / name, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert names(tmp_path) == ["x.sdf"] and (tmp_path / "x.sdf").read_bytes() == b"old"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_a_signal_leaves_the_old_file(tmp_path, number):
    (tmp_path / "x.sdf").write_bytes(b"old")
    code = """
        import sys, time
        from sdf_format import atomic
        with atomic.replacing(sys.argv[1]) as stream:
            stream.write(b"half")
            stream.flush()
            print("now", flush=True)
            time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "x.sdf")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=attentive,
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == b"now\n"
        child.send_signal(number)
    assert child.returncode != 0 and (tmp_path / "x.sdf").read_bytes() == b"old"


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o755])
def test_the_mode_of_the_old_file_is_kept_and_a_new_one_follows_the_umask(tmp_path, mode):
    path = tmp_path / "x.sdf"
    path.write_bytes(b"old")
    path.chmod(mode)
    atomic.write(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode and path.read_bytes() == b"new"
    before = os.umask(0o027)
    try:
        atomic.write(tmp_path / "new.sdf", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.sdf").stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="no extended attributes here")
def test_extended_attributes_are_kept(tmp_path):
    path = tmp_path / "x.sdf"
    path.write_bytes(b"old")
    try:
        os.setxattr(path, "user.tag", b"harbour")
    except OSError:
        pytest.skip("the file system has no extended attributes")
    atomic.write(path, b"new")
    assert os.getxattr(path, "user.tag") == b"harbour"


def test_symbolic_links_are_followed(tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "x.sdf").write_bytes(b"old")
    (tmp_path / "link.sdf").symlink_to(folder / "x.sdf")
    (tmp_path / "link-to-link.sdf").symlink_to("link.sdf")
    (tmp_path / "nowhere-yet.sdf").symlink_to(folder / "y.sdf")
    atomic.write(tmp_path / "link-to-link.sdf", b"new")
    atomic.write(tmp_path / "nowhere-yet.sdf", b"first")
    assert all((tmp_path / n).is_symlink() for n in ("link.sdf", "link-to-link.sdf", "nowhere-yet.sdf"))
    assert (folder / "x.sdf").read_bytes() == b"new" and (folder / "y.sdf").read_bytes() == b"first"
    assert names(folder) == ["x.sdf", "y.sdf"]


def test_what_is_no_file_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    atomic.write(tmp_path / "pipe", b"through a pipe")
    reader.join()
    assert read == [b"through a pipe"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    atomic.write(os.devnull, b"away")
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_a_name_for_standard_output_is_the_open_file_itself(tmp_path):
    code = "import sys; from sdf_format import atomic; atomic.write('/dev/stdout', b'data')"
    out = tmp_path / "out"
    with out.open("wb") as stream:
        subprocess.run([sys.executable, "-c", code], stdout=stream, check=True)
        inode = os.fstat(stream.fileno()).st_ino
    assert out.read_bytes() == b"data" and out.stat().st_ino == inode
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout == b"data"


def test_targets_that_cannot_be_are_refused_at_once_by_their_own_name(tmp_path):
    (tmp_path / "folder.sdf").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for name, wanted in (
        ("folder.sdf", IsADirectoryError),
        ("missing/x.sdf", FileNotFoundError),
        ("file/x.sdf", NotADirectoryError),
    ):
        for attempt in (atomic.check, lambda path: atomic.write(path, b"")):
            with pytest.raises(wanted) as caught:
                attempt(tmp_path / name)
            assert caught.value.filename == str(tmp_path / name)
    atomic.check(tmp_path / "new.sdf")
    assert names(tmp_path) == ["file", "folder.sdf"]


READ_ONLY = """
    import os, sys
    from pathlib import Path
    from sdf_format import atomic

    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(12345)
        os.setuid(12345)
    for name in ("closed/x.sdf", "closed/new.sdf", "open/read-only.sdf"):
        for attempt in (atomic.check, lambda path: atomic.write(path, b"new")):
            try:
                attempt(name)
            except PermissionError as error:
                assert error.filename == name, error
            else:
                raise AssertionError(name)
    atomic.write("open/x.sdf", b"new")
    print(os.listdir("open"), Path("closed/x.sdf").read_bytes())
"""


def test_read_only_files_and_folders_are_left_alone(tmp_path):
    for folder in ("closed", "open"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.sdf").write_bytes(b"old")
        (tmp_path / folder / "x.sdf").chmod(0o666)
    (tmp_path / "open" / "read-only.sdf").write_bytes(b"old")
    (tmp_path / "open" / "read-only.sdf").chmod(0o444)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "closed").chmod(0o555)
    for folder in (
        tmp_path,
        *[f for f in tmp_path.parents if f.stat().st_uid == os.getuid() and len(f.parts) > 2],
    ):  # the other user has to get there
        folder.chmod(folder.stat().st_mode | 0o755)
    root = str(Path(atomic.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(READ_ONLY)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    assert "x.sdf" in done.stdout and ".tmp" not in done.stdout and "b'old'" in done.stdout
    assert (tmp_path / "open" / "x.sdf").read_bytes() == b"new"


def test_of_two_that_write_at_once_one_wins_whole(tmp_path):
    path, stop = tmp_path / "x.sdf", threading.Event()
    wrong: list[bytes] = []
    atomic.write(path, b"a" * 50_000)

    def watch() -> None:
        while not stop.is_set():
            data = path.read_bytes()
            if data not in (b"a" * 50_000, b"b" * 300):
                wrong.append(data)
            time.sleep(0)

    threads = [
        threading.Thread(target=lambda d=d: [atomic.write(path, d) for _ in range(30)])
        for d in (b"a" * 50_000, b"b" * 300)
    ]
    watcher = threading.Thread(target=watch)
    watcher.start()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    stop.set()
    watcher.join()
    assert not wrong and names(tmp_path) == ["x.sdf"]

"""A mount on which each operation takes a while: a FUSE mirror of a folder, with delays.

Run as `python -m bench.slow_mount FOLDER MOUNT SECONDS`; it says `mounted`, and ends when it is
unmounted. It speaks the kernel's protocol itself (include/uapi/linux/fuse.h, version 7.31), so it
needs no library, only Linux, root and /dev/fuse.

Each request waits so many seconds, as a round trip to a server would, and data 1 ns a byte besides.
As with NFS, folders' names are kept for a second, and files' names and attributes are always asked;
reads are up to 1 MiB and many may be under way.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_DEVICE = Path("/dev/fuse")
_CHECKOUT = Path(__file__).resolve().parent.parent
_DETACH = 2
_THREADS = 64
_LARGEST = 1 << 20
_SECONDS_PER_BYTE = 1e-9
_FOLDER_KEPT_SECONDS = 1
_ROOT = 1

_REQUEST = struct.Struct("<IIQQIIII")
_ANSWER = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")
_ENTRY = struct.Struct("<4Q2I")
_ENTRY_NAME = struct.Struct("<QQII")
_SET_ATTRIBUTES = struct.Struct("<II6Q8I")
_TRANSFER = struct.Struct("<QQII")
_PARALLEL = 1 | 1 << 18
"""FUSE_ASYNC_READ, FUSE_PARALLEL_DIROPS: many requests for one file or folder at once."""
_LARGE = 1 << 5 | 1 << 22
"""FUSE_BIG_WRITES, FUSE_MAX_PAGES: requests of up to `_LARGEST` bytes."""
_INIT = struct.pack(
    "<IIIIHHIIH", 7, 31, _LARGEST, _PARALLEL | _LARGE, _THREADS, 48, _LARGEST, 1, _LARGEST >> 12
).ljust(64, b"\0")
"""The answer to the first request: fuse_init_out."""

# Opcodes. Those without an answer, or that no caller waits for, are not delayed.
_FORGET, _RELEASE, _INTERRUPT, _DESTROY, _BATCH_FORGET = 2, 18, 36, 38, 42
_SILENT = frozenset({_FORGET, _INTERRUPT, _DESTROY, _BATCH_FORGET})
_READ, _WRITE, _INITIALIZE = 15, 16, 26
_PROMPT = _SILENT | {_RELEASE, _INITIALIZE}

_SET_MODE, _SET_OWNER, _SET_GROUP, _SET_SIZE, _SET_TIMES = 1, 2, 4, 8, 16 | 32
_NOW = (128, 256)


class Mirror:
    """Answers to the kernel's requests, from a folder."""

    def __init__(self, folder: str) -> None:
        """Mirror a folder; nothing is mounted yet."""
        self._nodes: dict[int, list[int]] = {_ROOT: [os.open(folder, os.O_PATH), 1]}
        self._numbers: dict[tuple[int, int], int] = {}
        self._last = _ROOT
        self._lock = threading.Lock()
        self._answers: dict[int, Callable[[int, memoryview], bytes]] = {
            1: self._look_up,
            _FORGET: self._forget,
            3: lambda node, _: struct.pack("<QII", 0, 0, 0) + _attributes(os.fstat(self._at(node))),
            4: self._set_attributes,
            5: lambda node, _: os.readlink(b"", dir_fd=self._at(node)),
            9: self._make_folder,
            10: self._unlink,
            11: self._remove_folder,
            12: lambda node, data: self._rename(node, data, 8),
            13: self._link,
            14: self._open,
            _READ: self._read,
            _WRITE: self._write,
            17: lambda node, _: _space(os.fstatvfs(self._at(node))),
            _RELEASE: _close,
            20: _sync,
            25: lambda _node, _data: b"",
            _INITIALIZE: lambda _node, _data: _INIT,
            27: self._open,
            28: self._list,
            29: _close,
            30: _sync,
            35: self._create,
            _BATCH_FORGET: self._forget_many,
            45: lambda node, data: self._rename(node, data, 16),
        }

    def answer(self, opcode: int, node: int, data: memoryview) -> bytes:
        """Answer a request.

        Raises:
            OSError: for the caller on the mount.
        """
        handler = self._answers.get(opcode)
        if handler is None:
            raise OSError(errno.ENOSYS, "not mirrored")
        return handler(node, data)

    def _at(self, node: int) -> int:
        return self._nodes[node][0]

    def _path(self, node: int) -> str:
        return f"/proc/self/fd/{self._at(node)}"

    def _entry(self, parent: int, name: bytes) -> bytes:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self._at(parent))
        status = os.fstat(found)
        with self._lock:
            number = self._numbers.get((status.st_dev, status.st_ino))
            if number is None:
                self._last += 1
                number = self._numbers[status.st_dev, status.st_ino] = self._last
                self._nodes[number] = [found, 1]
            else:
                os.close(found)
                self._nodes[number][1] += 1
        is_folder = status.st_mode & 0o170000 == 0o040000
        kept = _FOLDER_KEPT_SECONDS if is_folder else 0
        return _ENTRY.pack(number, 0, kept, kept, 0, 0) + _attributes(status)

    def _look_up(self, node: int, data: memoryview) -> bytes:
        return self._entry(node, _name(data))

    def _forget(self, node: int, data: memoryview) -> bytes:
        self._drop(node, struct.unpack_from("<Q", data)[0])
        return b""

    def _forget_many(self, _: int, data: memoryview) -> bytes:
        count = struct.unpack_from("<I", data)[0]
        for node, times in struct.iter_unpack("<QQ", data[8 : 8 + 16 * count]):
            self._drop(node, times)
        return b""

    def _drop(self, node: int, times: int) -> None:
        with self._lock:
            known = self._nodes.get(node)
            if known is None or node == _ROOT:
                return
            known[1] -= times
            if known[1] <= 0:
                status = os.fstat(known[0])
                self._numbers.pop((status.st_dev, status.st_ino), None)
                os.close(self._nodes.pop(node)[0])

    def _set_attributes(self, node: int, data: memoryview) -> bytes:
        fields = _SET_ATTRIBUTES.unpack_from(data)
        valid, size, accessed, modified = fields[0], fields[3], fields[5], fields[6]
        path = self._path(node)
        if valid & _SET_MODE:
            os.chmod(path, fields[11] & 0o7777)
        if valid & (_SET_OWNER | _SET_GROUP):
            owner = fields[13] if valid & _SET_OWNER else -1
            os.chown(path, owner, fields[14] if valid & _SET_GROUP else -1)
        if valid & _SET_SIZE:
            os.truncate(path, size)
        if valid & _SET_TIMES:
            now = time.time_ns()
            times = [
                now if valid & at_once else seconds * 10**9 + nanoseconds
                for at_once, seconds, nanoseconds in zip(
                    _NOW, (accessed, modified), fields[8:10], strict=True
                )
            ]
            os.utime(path, ns=(times[0], times[1]))
        return struct.pack("<QII", 0, 0, 0) + _attributes(os.stat(path))

    def _make_folder(self, node: int, data: memoryview) -> bytes:
        name = _name(data[8:])
        os.mkdir(name, struct.unpack_from("<I", data)[0] & 0o7777, dir_fd=self._at(node))
        return self._entry(node, name)

    def _unlink(self, node: int, data: memoryview) -> bytes:
        os.unlink(_name(data), dir_fd=self._at(node))
        return b""

    def _remove_folder(self, node: int, data: memoryview) -> bytes:
        os.rmdir(_name(data), dir_fd=self._at(node))
        return b""

    def _rename(self, node: int, data: memoryview, start: int) -> bytes:
        target = struct.unpack_from("<Q", data)[0]
        old, new = bytes(data[start:]).split(b"\0")[:2]
        os.rename(old, new, src_dir_fd=self._at(node), dst_dir_fd=self._at(target))
        return b""

    def _link(self, node: int, data: memoryview) -> bytes:
        name = _name(data[8:])
        source = self._path(struct.unpack_from("<Q", data)[0])
        os.link(source, name, dst_dir_fd=self._at(node), follow_symlinks=True)
        return self._entry(node, name)

    def _open(self, node: int, data: memoryview) -> bytes:
        flags = struct.unpack_from("<I", data)[0] & ~(os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL)
        return struct.pack("<QII", os.open(self._path(node), flags | os.O_CLOEXEC), 0, 0)

    def _create(self, node: int, data: memoryview) -> bytes:
        flags, mode = struct.unpack_from("<II", data)
        name = _name(data[16:])
        opened = os.open(name, flags | os.O_CREAT, mode & 0o7777, dir_fd=self._at(node))
        return self._entry(node, name) + struct.pack("<QII", opened, 0, 0)

    def _read(self, _: int, data: memoryview) -> bytes:
        handle, offset, size, _flags = _TRANSFER.unpack_from(data)
        return os.pread(handle, size, offset)

    def _write(self, _: int, data: memoryview) -> bytes:
        handle, offset, size, _flags = _TRANSFER.unpack_from(data)
        return struct.pack("<II", os.pwrite(handle, data[40 : 40 + size], offset), 0)

    def _list(self, _: int, data: memoryview) -> bytes:
        handle, offset, size, _flags = _TRANSFER.unpack_from(data)
        listed = bytearray()
        names = sorted(os.listdir(f"/proc/self/fd/{handle}"))
        for place, name in enumerate(names[offset:], start=offset + 1):
            encoded = os.fsencode(name)
            item = _ENTRY_NAME.pack(1, place, len(encoded), 0) + encoded
            item += bytes(-len(item) % 8)
            if len(listed) + len(item) > size:
                break
            listed += item
        return bytes(listed)


def delay_of(opcode: int, seconds: float, length: int) -> float:
    """Return how long a request waits whose data, either way, has so many bytes."""
    if opcode in _PROMPT:
        return 0.0
    return seconds + (length * _SECONDS_PER_BYTE if opcode in (_READ, _WRITE) else 0.0)


def serve(device: int, mirror: Mirror, seconds: float) -> None:
    """Answer requests until the mount is gone."""
    buffer = bytearray(_LARGEST + (1 << 16))
    while True:
        try:
            length = os.readv(device, [buffer])
        except OSError as error:
            if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                continue  # ENOENT: the request was interrupted before it was read
            return
        _, opcode, unique, node, *_ = _REQUEST.unpack_from(buffer)
        data = memoryview(buffer)[_REQUEST.size : length]
        failed, body = 0, b""
        try:
            body = mirror.answer(opcode, node, data)
        except OSError as error:
            failed = error.errno or errno.EIO
        except KeyError:
            failed = errno.ESTALE
        time.sleep(delay_of(opcode, seconds, max(len(data), len(body))))
        if opcode not in _SILENT:
            with contextlib.suppress(OSError):
                os.write(device, _ANSWER.pack(_ANSWER.size + len(body), -failed, unique) + body)


def _mount(folder: str, target: str) -> int:
    device = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,max_read={_LARGEST}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"mirror", os.fsencode(target), b"fuse", 0, options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, f"mounting {folder} on {target}: {os.strerror(code)}")
    return device


def can_mount() -> bool:
    """Whether this process may mount such a mirror."""
    return sys.platform == "linux" and os.geteuid() == 0 and _DEVICE.exists()


@contextmanager
def mounted(folder: Path, target: Path, seconds: float) -> Generator[None]:
    """Mirror a folder at another one that exists, with so many seconds for each operation."""
    command = [sys.executable, "-m", "bench.slow_mount", str(folder), str(target), str(seconds)]
    with subprocess.Popen(command, cwd=_CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "mounted\n":
                raise OSError(f"{target} could not be mounted")
            yield
        finally:
            ctypes.CDLL(None).umount2(os.fsencode(target), _DETACH)
            process.terminate()


def _name(data: memoryview) -> bytes:
    return bytes(data).partition(b"\0")[0]


def _handle(data: memoryview) -> int:
    return int(struct.unpack_from("<Q", data)[0])


def _close(_: int, data: memoryview) -> bytes:
    os.close(_handle(data))
    return b""


def _sync(_: int, data: memoryview) -> bytes:
    os.fsync(_handle(data))
    return b""


def _attributes(status: os.stat_result) -> bytes:
    seconds = [time_ns // 10**9 for time_ns in _times(status)]
    nanoseconds = [time_ns % 10**9 for time_ns in _times(status)]
    return _ATTRIBUTES.pack(
        *(status.st_ino, status.st_size, status.st_blocks, *seconds, *nanoseconds),
        *(status.st_mode, status.st_nlink, status.st_uid, status.st_gid, status.st_rdev),
        *(status.st_blksize, 0),
    )


def _times(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns


def _space(found: os.statvfs_result) -> bytes:
    return struct.pack(
        "<5Q4I24x",
        *(found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree),
        *(found.f_bsize, found.f_namemax, found.f_frsize, 0),
    )


def main(folder: str, target: str, seconds: str) -> None:
    """Mount, say so, and serve until the mount is gone."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    device = _mount(folder, target)
    mirror = Mirror(folder)
    threads = [
        threading.Thread(target=serve, args=(device, mirror, float(seconds)), daemon=True)
        for _ in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    print("mounted", flush=True)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The four calls of the C library that Python does not have: inotify(7), and a rename that replaces nothing."""

import ctypes
import errno
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_RENAME_NOREPLACE = 1


def inotify_init() -> int:
    """Return a descriptor that does not block. Raises OSError."""
    return _checked(_LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))


def inotify_add_watch(descriptor: int, path: bytes, mask: int) -> int:
    """Raises OSError."""
    return _checked(_LIBC.inotify_add_watch(descriptor, path, ctypes.c_uint32(mask)))


def inotify_rm_watch(descriptor: int, watch: int) -> None:
    """Raises OSError."""
    _checked(_LIBC.inotify_rm_watch(descriptor, watch))


def rename_new(source: bytes, source_folder: int, target: bytes, target_folder: int) -> None:
    """Rename within open folders; never replaces what is there.

    Raises FileExistsError, OSError.
    """
    try:
        _checked(_LIBC.renameat2(source_folder, source, target_folder, target, _RENAME_NOREPLACE))
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.ENOSYS):
            raise
        # A file system that does not know the flag (NFS). Between the two calls the file has both names.
        os.link(source, target, src_dir_fd=source_folder, dst_dir_fd=target_folder, follow_symlinks=False)
        os.unlink(source, dir_fd=source_folder)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result

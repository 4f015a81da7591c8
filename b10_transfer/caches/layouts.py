"""The forms of the paths that a compiler writes below its cache root.

A file of another form is somebody else's, whatever variable points at the folder: it is neither
saved nor removed. So a form is as wide as its compiler's names, if only a compiler gives such
names, and no wider.
"""

from __future__ import annotations

from typing import NamedTuple

from b10_transfer.caches.forms import Form

ANY = r"[^\x2f]+"
"""A name of any kind; in a form slashes stand only between components."""

BELOW = "**"
"""A last component that stands for everything in the folder, at any depth."""

HASH = r"[a-z0-9]{40,}"
HASHED = rf"{HASH}(?:[^a-z0-9\x2f][^\x2f]*)?"
"""A name that begins with a digest, in base32 or hexadecimal digits."""

PAIR = "<pair>"
"""Two characters of a digest; the same two wherever it occurs in a form."""

_PAIR = "[a-z0-9]{2}"
_NETWORK_LEFTOVER = r"\.nfs[0-9a-f]{8,}"
"""NFS keeps a file under such a name when it was removed while a process has it open."""


class Layout(NamedTuple):
    """The paths below a cache root that its compiler may have written.

    Attributes:
        files: the paths of files.
        folders: the paths of the folders that may contain such files.
        whole: those of them in which a file may have any name.
    """

    files: Form
    folders: Form
    whole: Form

    def has_file(self, path: str) -> bool:
        """Return whether a file at `path` may be the compiler's."""
        return self.files.fullmatch(path) is not None

    def has_folder(self, path: str) -> bool:
        """Return whether there may be files of the compiler below `path`."""
        return self.folders.fullmatch(path) is not None


def layout_of(*forms: str) -> Layout:
    """Return the layout of some forms: a pattern per component, with slashes between them.

    No pattern may match a slash. `**`, as the last component, stands for everything below.
    """
    folders = [_folders_of(form) for form in forms if "/" in form]
    files = [_files_of(form, number) for number, form in enumerate(forms)]
    whole = [_whole_of(form) for form in forms if _is_whole(form)]
    return Layout(_one_of(files), _one_of(folders), _one_of(whole))


def below(folder: str, forms: tuple[str, ...]) -> tuple[str, ...]:
    """Return the forms of a folder's content, relative to a folder above."""
    return tuple(f"{folder}/{form}" for form in forms)


def _one_of(patterns: list[str]) -> Form:
    return Form("|".join(patterns) or r"(?!)")


def _files_of(form: str, number: int) -> str:
    first = form.replace(PAIR, f"(?P<pair{number}>{_PAIR})", 1)
    folder, slash, name = first.replace(PAIR, f"(?P=pair{number})").rpartition("/")
    if name == BELOW:
        return f"{folder}{slash}.+"
    return f"{folder}{slash}(?:{name}|{_NETWORK_LEFTOVER})"


def _is_whole(form: str) -> bool:
    return form.endswith((f"/{BELOW}", f"/{ANY}")) and form.count(PAIR) < 2


def _whole_of(form: str) -> str:
    folder, _, name = form.replace(PAIR, _PAIR).rpartition("/")
    return f"{folder}(?:/.*)?" if name == BELOW else folder


def _folders_of(form: str) -> str:
    first, *inner = form.replace(PAIR, _PAIR).split("/")[:-1]
    pattern = "/.*" if form.endswith(f"/{BELOW}") else ""
    pattern = f"(?:{pattern})?" if pattern else ""
    for name in reversed(inner):
        pattern = f"(?:/{name}{pattern})?"
    return first + pattern


EVERYTHING = Layout(Form(".+"), Form(".*"), Form(".*"))
"""A folder whose layout is not known."""

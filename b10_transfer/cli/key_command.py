"""`key`: make a key pair, show the keys of this machine, sign with a new key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from b10_store import PublicKey, SigningKey
from b10_transfer.cli import exit_codes
from b10_transfer.errors import CacheError, CacheValidationError
from b10_transfer.key_file import make_key_file, read_key_file
from b10_transfer.keys import KEY_FILE, PUBLIC_KEYS, new_private_key, public_text
from b10_transfer.operations import upkeep
from b10_transfer.units import count_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_store import Key
    from b10_transfer.cli.call import Call
    from b10_transfer.cli.console import Console


def key(call: Call) -> int:
    """Make, show, or use keys."""
    actions = {"new": _new, "show": _show, "sign": _sign}
    return actions[str(call.options.action)](call)


def _new(call: Call) -> int:
    path = call.options.file
    if path is None:
        raise CacheValidationError("name the file for the private key: --file FILE")
    private, public = new_private_key()
    _write_private(path, f"# The public key is {public}\n{private}\n")
    if call.wants_json:
        call.console.json({"file": os.path.abspath(path), "public_key": public})
        return exit_codes.DONE
    call.console.line(public)
    call.console.note(
        f"the private key is in {os.path.abspath(path)}: set {KEY_FILE} to that path on the hosts "
        f"that save, and {PUBLIC_KEYS} to the line above on all hosts"
    )
    return exit_codes.DONE


def _write_private(path: str, text: str) -> None:
    try:
        make_key_file(os.path.abspath(path), text)
    except FileExistsError:
        raise CacheError(f"{path} exists already: name another file, or remove it") from None
    except OSError as error:
        raise CacheError(f"{path} cannot be written: {error.strerror}") from None


def _show(call: Call) -> int:
    path, settings = call.options.file, call.settings()
    if path is None:
        keys = settings.signing_keys
    else:
        keys = read_key_file(os.path.abspath(path), settings.store)
    if call.wants_json:
        call.console.json({"keys": [_row(item, place) for place, item in enumerate(keys)]})
        return exit_codes.DONE
    if not keys:
        call.console.line(
            "there is no key: saves sign nothing, and loads believe everything that is stored"
        )
    _print_keys(call.console, keys)
    return exit_codes.DONE


def _row(item: Key, place: int) -> dict[str, object]:
    return {
        "kind": _kind(item),
        "signs": place == 0 and item.signs,
        "fingerprint": item.fingerprint,
        "public_key": public_text(item) or None,
    }


def _kind(item: Key) -> str:
    if isinstance(item, SigningKey):
        return "shared secret"
    return "public key" if isinstance(item, PublicKey) else "private key"


def _print_keys(console: Console, keys: Sequence[Key]) -> None:
    for place, item in enumerate(keys):
        use = "signs and verifies" if place == 0 and item.signs else "verifies"
        public = public_text(item)
        console.line(f"{item.fingerprint}  {_kind(item)}, {use}")
        if public:
            console.line(f"  {public}")


def _sign(call: Call) -> int:
    console, report = call.console, upkeep.sign_again(call.settings())
    if call.wants_json:
        console.json(
            {
                "signed": [str(address) for address in report.signed],
                "unchanged": report.unchanged,
                "failed": report.failed,
            }
        )
    else:
        for name, reason in report.failed.items():
            console.paragraph((("!!", "red"), " "), f"{name}: not signed: {reason}")
        for address in report.signed:
            console.line(f"signed: {address}")
        entries = count_text(len(report.signed), "environment")
        console.line(f"{entries} signed with the first key; {report.unchanged} left unchanged")
    return exit_codes.PROBLEMS if report.failed else exit_codes.DONE

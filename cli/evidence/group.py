"""`makegood evidence`: checks a file offline; shows and replaces the instance's key."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.local_operations import cli_actor, operate
from cli.options import JsonFlag
from cli.output import CommandFailed, ExitCode, print_notice, print_record, print_rows
from domain.security.evidence import is_public_key

if TYPE_CHECKING:
    from store.evidence.keys import EvidenceKey

app = typer.Typer(help="Evidence: signed files about receipts.", no_args_is_help=True)
COLUMNS = ("id", "public_key", "created_at", "retired_at")
UNKNOWN_SIGNER = (
    "Nothing was changed since this file was signed. Who signed it was not checked: give the public"
    " key of the instance that you trust with --public-key."
)
PUBLIC_KEY_VARIABLE = "MAKEGOOD_EVIDENCE_PUBLIC_KEY"
# A file with ten thousand entries has a few MiB.
MOST_MEBIBYTES = 64
PublicKeyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--public-key",
        metavar="HEX",
        envvar=PUBLIC_KEY_VARIABLE,
        show_envvar=True,
        help="The public key that you trust, from `makegood evidence key`; can be repeated.",
    ),
]


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of evidence.")],
    public_key: PublicKeyOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Check every byte of a file, offline. Exits 1 if one was changed.

    Without --public-key, the key in the file is taken: it proves that nothing was changed, but not
    who signed.
    """
    from store.evidence.signatures import verify_evidence

    verdict = verify_evidence(_read(file), public_keys=_trusted(public_key))
    if verdict.evidence is None:
        where = "the file" if verdict.entry is None else f"entry {verdict.entry} of the file"
        raise CommandFailed(f"{where} is broken: {verdict.problem}")
    evidence = verdict.evidence
    record = {
        "valid": True,
        "signer_known": verdict.is_signer_known,
        "key_id": evidence.key_id,
        "event_id": evidence.event_id,
        "made_at": evidence.made_at,
        "entries": evidence.entries,
        "head": evidence.head,
    }
    print_record(record, as_json=as_json)
    if not verdict.is_signer_known:
        print_notice(UNKNOWN_SIGNER)


@app.command("key")
def key(as_json: JsonFlag = False) -> None:
    """Print the public keys that signed evidence here, the current one first. Creates the first.

    Give the public key to those who verify, by a way that they trust.
    """
    _print_keys(
        operate(lambda operations: operations.evidence.ensure_key(actor=cli_actor())),
        as_json=as_json,
    )


@app.command("replace-key")
def replace_key(as_json: JsonFlag = False) -> None:
    """Erase the private key and create another, because somebody may have it or it is lost.

    Files that the old key signed can still be verified with its public key.
    """
    _print_keys(
        operate(lambda operations: operations.evidence.replace_key(actor=cli_actor())),
        as_json=as_json,
    )


def _print_keys(keys: "list[EvidenceKey]", *, as_json: bool) -> None:
    from operations.responses.evidence import PublicKeyList

    answer = PublicKeyList.of(keys).to_json()
    print_rows(answer, answer["data"], COLUMNS, as_json=as_json)


def _read(file: Path) -> bytes:
    most = MOST_MEBIBYTES * 1024 * 1024
    try:
        with file.open("rb") as opened:
            read = opened.read(most + 1)
    except FileNotFoundError:
        raise CommandFailed(f"there is no file {file}", ExitCode.NOT_FOUND) from None
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read ({error.strerror})") from None
    if len(read) > most:
        raise CommandFailed(f"{file} is longer than {MOST_MEBIBYTES} MiB: it is no evidence")
    return read


def _trusted(given: list[str] | None) -> frozenset[str]:
    """The public keys, none if the option is absent. Commas separate several in the environment
    variable.

    Raises: CommandFailed: an option or a variable without a key, as from an unset shell variable,
        must not skip the check of the signer.
    """
    keys = frozenset(key for text in given or [] for key in re.split(r"[\s,]+", text) if key)
    is_blank = any(not text.strip(" \t\r\n,") for text in given or [])
    if is_blank or (not keys and PUBLIC_KEY_VARIABLE in os.environ):
        raise CommandFailed("--public-key: it names no key", ExitCode.USAGE)
    if not all(map(is_public_key, keys)):
        raise CommandFailed("--public-key: expected 64 lowercase hex digits", ExitCode.USAGE)
    return keys

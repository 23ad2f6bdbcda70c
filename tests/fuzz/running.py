"""Runs targets under atheris, in this process.

The targets are imported only then: code is instrumented as it is imported.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

CORPUS = Path(__file__).parent / "corpus"
TARGET_NAMES = tuple(sorted(path.name for path in CORPUS.iterdir() if path.is_dir()))
# An input that takes longer is a finding, and so is one that takes this much memory.
INPUT_SECONDS = 5
MEMORY_MIB = 2_048


def fuzz(names: Sequence[str], *, seconds: int, kept: Path) -> NoReturn:
    """Fuzz the targets for so long, then end the process: 0 when nothing broke.

    Several are fuzzed as one: the first byte of an input chooses. New inputs are written to `kept`;
    the corpus stays as it is.
    """
    import atheris

    with atheris.instrument_imports(
        include=[
            "api",
            "domain",
            "activities.callback.transport",
            "store.receipts.queries",
            "store.maintenance.mailbox",
        ]
    ):
        from tests.fuzz.targets import TARGETS
    chosen = [TARGETS[name] for name in names]

    def one(data: bytes) -> None:
        if len(chosen) == 1:
            chosen[0](data)
        elif data:
            chosen[data[0] % len(chosen)](data[1:])

    kept.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={INPUT_SECONDS}",
        f"-rss_limit_mb={MEMORY_MIB}",
        "-max_len=4096",
    ]
    corpora = [str(kept), *(str(CORPUS / name) for name in names if len(chosen) == 1)]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={kept}/", *corpora], one)
    atheris.Fuzz()
    raise SystemExit(0)

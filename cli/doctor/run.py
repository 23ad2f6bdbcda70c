"""`makegood doctor`: runs every check and prints one fix for each problem.

It changes nothing and sends no mail. The checks are in `machine_checks`, `store_checks` and
`service_checks`; none opens a Temporal client. It exits 1 when a check fails, 0 on warnings.
"""

import asyncio

import typer

from cli.doctor.findings import Check, Finding, Verdict, fail
from cli.doctor.machine import machine_checks
from cli.doctor.services import service_checks
from cli.doctor.store import opened_store, store_checks
from cli.output import ExitCode, print_json
from config.settings import Settings
from domain.values.text import printable
from operations.instance.findings import Examine, Findings

CHECK_SECONDS = 20
COLOURS = {
    Verdict.OK: typer.colors.GREEN,
    Verdict.WARN: typer.colors.YELLOW,
    Verdict.FAIL: typer.colors.RED,
}


def run_doctor(settings: Settings, *, as_json: bool) -> ExitCode:
    """Run every check and print the findings; returns the exit code."""
    findings = asyncio.run(run_checks(settings))
    is_well = not any(finding.verdict is Verdict.FAIL for _, finding in findings)
    if as_json:
        print_json({"ok": is_well, "checks": [_row(name, finding) for name, finding in findings]})
    else:
        _print(findings)
    return ExitCode.OK if is_well else ExitCode.FAILED


def examiner(settings: Settings) -> Examine:
    """The checks as the API process runs them for the console."""

    async def examine() -> Findings:
        return await run_checks(settings)

    return examine


async def run_checks(settings: Settings) -> Findings:
    """Run every check at the same time; each takes `CHECK_SECONDS` at most."""
    async with opened_store(settings) as store:
        checks = (
            *machine_checks(settings),
            *store_checks(settings, store),
            *service_checks(settings),
        )
        findings = await asyncio.gather(*(_run(check) for check in checks))
    return [(check.name, finding) for check, finding in zip(checks, findings, strict=True)]


async def _run(check: Check) -> Finding:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check.run()
    except TimeoutError:
        return fail(
            f"no answer within {CHECK_SECONDS} s",
            fix="check whether the machine or its network is overloaded, then run doctor again",
        )
    except Exception as error:  # its text can quote a setting; the other checks continue
        return fail(
            f"the check itself failed ({type(error).__name__})",
            fix="correct the settings that it reads, then run doctor again",
        )


def _row(name: str, finding: Finding) -> dict[str, str | None]:
    return {
        "name": name,
        "status": finding.verdict.value,
        "detail": finding.detail,
        "fix": finding.fix,
    }


def _print(findings: Findings) -> None:
    width = max(len(name) for name, _ in findings)
    for name, finding in findings:
        mark = typer.style(f"{finding.verdict.value:<4}", fg=COLOURS[finding.verdict], bold=True)
        typer.echo(f"{mark}  {name:<{width}}  {printable(finding.detail)}")
        if finding.fix is not None:
            typer.echo(f"      {'':<{width}}  -> {printable(finding.fix)}")
    counts = {
        verdict: sum(finding.verdict is verdict for _, finding in findings) for verdict in Verdict
    }
    typer.echo(
        f"\n{counts[Verdict.OK]} ok, {counts[Verdict.WARN]} warnings, {counts[Verdict.FAIL]} failed"
    )

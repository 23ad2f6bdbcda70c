"""The banner of `makegood up`: the sign-in link, the secrets, and a line that makes an incident.

What a first reader needs comes first. Key and signing secret are known on the first run only.
"""

import shlex
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cli.logs.writing import DIRECTORY_NAME
from cli.welcome.bootstrap import BootstrapResult
from config.settings import Settings

LOOPBACK = "127.0.0.1"
LAST_LINE = "Ctrl-C stops everything; stored data stays.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What the banner is made from. `run_id` makes the ids of the first call unique per run."""

    settings: Settings
    result: BootstrapResult
    ready_seconds: float
    run_id: str
    opens_browser: bool

    @property
    def login_url(self) -> str:
        """The sign-in link."""
        return f"{self.settings.public_url_or_default}/login/link?token={self.result.login_token}"

    def text(self) -> str:
        """The whole banner."""
        opened = ", and opens in your browser now" if self.opens_browser else ""
        return (
            f"\nMakegood is ready in {self.ready_seconds:.1f} s\n\n"
            f"Sign in with this link; it works once{opened}:\n  {self.login_url}\n\n"
            f"{self._secrets()}\n"
            f"  {self._first_call()}\n\n"
            f"{self._addresses()}\n"
            f"{LAST_LINE}"
        )

    def _secrets(self) -> str:
        """The secrets, and the title of the first call."""
        result = self.result
        makes = "makes an incident, which opens after 30 s because no result comes:"
        if result.api_key is None:
            return (
                "API keys are shown once. Make another one, and set it as MAKEGOOD_API_KEY:\n"
                f"  {_key_command(result.project_name)}\n\n"
                f"With that key, this line {makes}"
            )
        return (
            f"API key and signing secret of the project {result.project_name}, shown only now:\n"
            f"  MAKEGOOD_API_KEY={result.api_key}\n"
            f"  MAKEGOOD_SIGNING_SECRET={result.signing_secret}\n\n"
            f"This line {makes}"
        )

    def _first_call(self) -> str:
        """One line, quoted so that every shell reads it in the same way."""
        receipt = f"{self.settings.public_url_or_default}/api/v1/receipt"
        occurred_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        body = (
            f'{{"provider":"stripe","stripe_event_id":"evt_first_{self.run_id}",'
            '"event_type":"invoice.paid","effect_type":"access_unlock",'
            f'"internal_reference":"order-1001","occurred_at":"{occurred_at}",'
            '"timeout_minutes":0.5}'
        )
        return (
            f"curl -sS {shlex.quote(receipt)}"
            f' -H "Authorization: Bearer {self.result.api_key or "$MAKEGOOD_API_KEY"}"'
            f' -H "Idempotency-Key: first-{self.run_id}"'
            f" -H \"Content-Type: application/json\" -d '{body}'"
        )

    def _addresses(self) -> str:
        settings, url, command = self.settings, self.settings.public_url_or_default, own_command()
        temporal = f"http://{LOOPBACK}:{settings.temporal_ui_port}"
        if settings.temporal_address is not None:
            temporal = settings.temporal_ui_url or f"the cluster at {settings.temporal_address}"
        mail = "your mail server (MAKEGOOD_SMTP_URL)" if settings.smtp_url else f"{url}/mailbox"
        rows = {
            "API and console": url,
            "API docs": f"{url}/docs",
            "Temporal UI": temporal,
            "Mail": mail,
            "Logs": f"{settings.data_dir / DIRECTORY_NAME}; `{command} logs -f` follows them",
            "Demo": f"`{command} demo` plays five stories with a demo shop, in this Makegood",
        }
        if settings.egress_allow_test:
            rows["Repair URLs"] = (
                "test projects may use this machine (127.0.0.0/8, ::1), live ones may not"
            )
        return "".join(f"  {name:<16}  {value}\n" for name, value in rows.items())


def _key_command(project_name: str | None) -> str:
    """A command that makes and prints an API key of a test project."""
    if project_name is None:
        return f"{own_command()} project create try --mode test"
    return shlex.join((own_command(), "key", "create", project_name, "--label", "laptop"))


def own_command() -> str:
    """How a shell here calls this `makegood`: by its name if that finds it, else by its path."""
    own, found = Path(sys.executable).with_name("makegood"), shutil.which("makegood")
    if not own.exists() or (found is not None and own.samefile(found)):
        return "makegood"
    return str(own.relative_to(Path.cwd())) if own.is_relative_to(Path.cwd()) else str(own)

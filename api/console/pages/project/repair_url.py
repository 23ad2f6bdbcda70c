"""The form that calls the repair URL of a project with a test. Only for owners."""

from starlette.responses import Response

from api.console.access import PROJECT_OWNER, RouteSpec
from api.console.base import Console, error_message, project_path
from api.console.dependencies import CurrentActor, CurrentViewer
from api.console.sign_in.cookies import Notice, Secret
from domain.errors import Refusal
from operations.repair_url.trial import TriedRepairUrl

# The notice travels in a cookie, which may have 4,096 bytes.
EXCERPT_BYTES = 400


class RepairUrlForms:
    """The test call."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations.repair_trials

    def routes(self) -> tuple[RouteSpec, ...]:
        """The address, with its access rule."""
        return (("POST", "/projects/{project_id}/repair-url/test", self.test, PROJECT_OWNER),)

    async def test(self, viewer: CurrentViewer, actor: CurrentActor, project_id: str) -> Response:
        try:
            tried = await self._operations.test_repair_url(project_id, actor=actor)
        except Refusal as refusal:
            notice = Notice("bad", error_message(refusal))
        else:
            notice = _notice(tried)
        back = f"{project_path(project_id)}#repair-url"
        return self._console.sessions.redirect(back, viewer=viewer, notice=notice)


def _notice(tried: TriedRepairUrl) -> Notice:
    """Status and time in the text, and below it what was sent and answered."""
    said = "" if tried.status is None else f" It answered {tried.status}"
    took = f"{said} after {tried.duration_ms:,} ms." if said else ""
    parts = [Secret("Body sent", tried.body)]
    if tried.answer_excerpt:
        cut = tried.answer_excerpt.encode()[:EXCERPT_BYTES].decode(errors="ignore")
        parts.append(Secret("Answer", cut))
    return Notice("good" if tried.ok else "bad", f"{tried.detail}{took}", tuple(parts))

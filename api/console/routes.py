"""All addresses of the console. Each file of `api.console.pages` lists its own, with an access rule
for each (`api.console.access`).

`api.app` includes this router. It is not part of the OpenAPI document.
"""

from fastapi import APIRouter, Depends

from api.console.access import ANYONE, BY_LINK, check_origin
from api.console.base import Console
from api.console.dependencies import confirm_form, provide
from api.console.error_pages import ConsoleRoute
from api.console.pages.account.dates import DatePages
from api.console.pages.account.passkeys import PasskeyPages
from api.console.pages.account.second_factor import SecondFactorPages
from api.console.pages.account.sessions import AccountPages
from api.console.pages.alerting.destinations import DestinationForms
from api.console.pages.alerting.mail_links import MailLinkPages
from api.console.pages.audit import AuditPages
from api.console.pages.credentials import CredentialPages
from api.console.pages.event.details import EventDetailPages
from api.console.pages.events import EventPages
from api.console.pages.groups import GroupPages
from api.console.pages.home import HomePages
from api.console.pages.incident_list.views import IncidentViewPages
from api.console.pages.incidents import IncidentPages
from api.console.pages.instance.pages import InstancePages
from api.console.pages.mailbox import MailboxPages
from api.console.pages.members import MemberPages
from api.console.pages.oidc import OidcPages
from api.console.pages.overview.pages import OverviewPages
from api.console.pages.project.repair_url import RepairUrlForms
from api.console.pages.project.start import StartPages
from api.console.pages.project.suspension import SuspensionForms
from api.console.pages.projects import ProjectPages
from api.console.pages.repairing.bulk import BulkRepairPages
from api.console.pages.repairing.holds import HoldForms
from api.console.pages.repairing.rules import RuleForms
from api.console.pages.sign_in import SignInPages
from api.console.pages.sources.forms import SourceForms
from api.console.pages.sources.pages import SourcePages
from api.console.pages.triage import TriagePages

PAGES = (
    *(HomePages, SignInPages, SecondFactorPages, OidcPages),
    *(AccountPages, PasskeyPages, DatePages),
    *(IncidentViewPages, IncidentPages, TriagePages, GroupPages),
    *(EventPages, EventDetailPages, ProjectPages, StartPages, CredentialPages, MemberPages),
    *(RepairUrlForms, SuspensionForms),
    *(BulkRepairPages, HoldForms, RuleForms),
    *(SourcePages, SourceForms, AuditPages, MailboxPages, InstancePages),
    *(DestinationForms, MailLinkPages, OverviewPages),
)


def console_router(console: Console) -> APIRouter:
    """The router of all pages and forms of the console."""
    router = APIRouter(
        route_class=ConsoleRoute,
        include_in_schema=False,
        dependencies=[provide(console), Depends(check_origin)],
    )
    for pages in PAGES:
        for method, path, handler, rule in pages(console).routes():
            # The step-up of a sensitive action follows the access rule.
            has_own_proof = rule in (ANYONE, BY_LINK)
            proof = [] if method == "GET" or has_own_proof else [Depends(confirm_form)]
            router.add_api_route(path, handler, methods=[method], dependencies=[rule, *proof])
    return router

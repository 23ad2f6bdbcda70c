"""Composes the operations on projects, events, incidents and the audit log into one value."""

from collections.abc import Callable
from dataclasses import dataclass

from domain.ids import ProjectId, SourceId
from operations.alerts.destinations import DestinationOperations, SendTrial
from operations.alerts.mail_links import MailLinkOperations
from operations.audit import AuditOperations
from operations.audit_writer import AuditWriter
from operations.credentials.api_keys import ApiKeyOperations
from operations.credentials.signing_secrets import SigningSecretOperations
from operations.early_results import EarlyResultOperations
from operations.events import EventOperations
from operations.evidence import EvidenceOperations
from operations.groups.groups import GroupOperations
from operations.incidents import IncidentOperations
from operations.inputs import JudgeRepairUrl
from operations.listing.export import ExportOperations
from operations.listing.saved_views import SavedViewOperations
from operations.onboarding.checklist import ChecklistOperations
from operations.overview.overview import OverviewOperations
from operations.projects import ProjectOperations
from operations.repair_url.trial import CallRepairUrl, RepairTrialOperations
from operations.repairing.bulk_repairs import BulkRepairOperations
from operations.repairing.holds import HoldOperations
from operations.repairing.rules import RuleOperations
from operations.runs import RunOperations
from operations.sources.check import ProviderCheck
from operations.sources.sources import SourceOperations
from operations.triage.actions import TriageOperations
from store.crypto.encryption import Sealer
from store.db.database import Database


def _ignore_change(project_id: ProjectId) -> None:
    del project_id


def _ignore_source(source_id: SourceId) -> None:
    del source_id


@dataclass(frozen=True, slots=True)
class Operations:
    """All operations that are neither ingest nor about people, on an opened store."""

    events: EventOperations
    evidence: EvidenceOperations
    incidents: IncidentOperations
    triage: TriageOperations
    groups: GroupOperations
    runs: RunOperations
    projects: ProjectOperations
    api_keys: ApiKeyOperations
    signing_secrets: SigningSecretOperations
    audit: AuditOperations
    early_results: EarlyResultOperations
    sources: SourceOperations
    destinations: DestinationOperations
    mail_links: MailLinkOperations
    bulk_repairs: BulkRepairOperations
    holds: HoldOperations
    repair_rules: RuleOperations
    exports: ExportOperations
    saved_views: SavedViewOperations
    overview: OverviewOperations
    repair_trials: RepairTrialOperations
    checklists: ChecklistOperations

    @classmethod
    def build(
        cls,
        *,
        database: Database,
        sealer: Sealer,
        judge_repair_url: JudgeRepairUrl,
        on_project_change: Callable[[ProjectId], None] = _ignore_change,
        on_source_change: Callable[[SourceId], None] = _ignore_source,
        provider_check: ProviderCheck | None = None,
        send_trial: SendTrial | None = None,
        call_repair_url: CallRepairUrl | None = None,
    ) -> "Operations":
        """Compose the operations on this store.

        `on_project_change` is called after a commit that changed a project or revoked a key,
        `on_source_change` after one that changed a source. `provider_check` None: the providers'
        own addresses are asked. `send_trial` and `call_repair_url` None: test alerts and test
        calls are answered by a failure.
        """
        writer = AuditWriter(database, sealer)
        incidents = IncidentOperations(database, writer)
        return cls(
            events=EventOperations(database, writer, sealer=sealer),
            evidence=EvidenceOperations(database, writer, sealer=sealer),
            incidents=incidents,
            triage=TriageOperations(database, writer),
            groups=GroupOperations(database, writer),
            runs=RunOperations(database, writer),
            projects=ProjectOperations(
                database,
                writer,
                sealer=sealer,
                judge_repair_url=judge_repair_url,
                on_change=on_project_change,
            ),
            api_keys=ApiKeyOperations(database, writer, sealer=sealer, on_change=on_project_change),
            signing_secrets=SigningSecretOperations(database, writer, sealer=sealer),
            audit=AuditOperations(database, writer, sealer=sealer),
            early_results=EarlyResultOperations(database),
            bulk_repairs=BulkRepairOperations(database, writer),
            holds=HoldOperations(database, writer),
            repair_rules=RuleOperations(database, writer),
            sources=SourceOperations(
                database,
                writer,
                sealer=sealer,
                check=provider_check or ProviderCheck(),
                on_change=on_source_change,
            ),
            destinations=DestinationOperations(
                database,
                writer,
                sealer=sealer,
                judge_url=judge_repair_url,
                send_trial=send_trial,
            ),
            mail_links=MailLinkOperations(database, writer, sealer=sealer),
            exports=ExportOperations(incidents),
            saved_views=SavedViewOperations(database),
            overview=OverviewOperations(database),
            repair_trials=RepairTrialOperations(
                database, writer, sealer=sealer, call=call_repair_url
            ),
            checklists=ChecklistOperations(database),
        )

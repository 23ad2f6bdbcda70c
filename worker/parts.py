"""What a worker is built from, given by the settings or by a test. Holds values only."""

from dataclasses import dataclass

from activities.alerts import Mailer
from activities.callback import CallbackRules, Chance, Transport
from store.database import Database
from store.sealing import Sealer


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker is built from. `now` is the host's clock."""

    database: Database
    sealer: Sealer
    mailer: Mailer
    transport: Transport
    rules: CallbackRules
    chance: Chance
    mail_from: str
    public_url: str
    holds_when_ingest_is_down: bool
    dispatch_rate: int = 40
    reconcile_seconds: float = 5
    owns_namespace: bool = False

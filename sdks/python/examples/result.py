"""Call this in the job after the effect is committed, or with `failed` when the job gives up."""

import os

from makegood_client import Makegood

makegood = Makegood(base_url=os.environ["MAKEGOOD_URL"], api_key=os.environ["MAKEGOOD_API_KEY"])

result = makegood.result(
    {"provider": "stripe", "provider_event_id": "evt_1PqX9", "status": "success"}
)
# Or: {"provider_event_id": …, "status": "failed", "error_code": "seat_limit", "error_message": "No
# seat was free."}
print(result["event_id"], "is", result["state"])

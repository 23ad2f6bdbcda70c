"""The repair endpoint: verify, answer 2xx, apply the effect again, report its result with the
`replay_id`.

Run it with `uvicorn repair_endpoint:app`.
"""

import os
from typing import Any

from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from makegood_client import CallbackVerifier, InvalidCallback, Makegood, RecentNonces

app = FastAPI()
makegood = Makegood(base_url=os.environ["MAKEGOOD_URL"], api_key=os.environ["MAKEGOOD_API_KEY"])
verifier = CallbackVerifier(
    # One secret; during a rotation the old and the new one, separated by a comma. A blank one is
    # refused here.
    secrets=os.environ["MAKEGOOD_SIGNING_SECRET"],
    seen_nonce=RecentNonces().seen,  # with several processes, use a shared store instead
)


@app.post("/makegood/repair", status_code=202)
async def repair(request: Request, background: BackgroundTasks) -> dict[str, bool]:
    try:
        callback = verifier.verify(request.headers, await request.body())
    except InvalidCallback as invalid:
        raise HTTPException(401, invalid.reason) from None
    if callback.get("test"):  # a test call: there is nothing to apply
        return {"accepted": True}
    # in production: enqueue it durably before responding
    background.add_task(apply_and_report, callback)
    return {"accepted": True}


def apply_and_report(callback: dict[str, Any]) -> None:
    outcome: dict[str, Any] = {"status": "success"}
    try:
        # The job and its repairs share the key: a job that died may have applied the effect.
        if not unlock_access(callback["internal_reference"], once_per=callback["effect_key"]):
            outcome["already_applied"] = True
    except Exception as error:  # the incident must get every failure
        outcome = {
            "status": "failed",
            "error_code": type(error).__name__,
            "error_message": str(error),
        }
    makegood.result(
        {"event_id": callback["event_id"], "replay_id": callback["replay_id"], **outcome}
    )


def unlock_access(order: str, *, once_per: str) -> bool:
    """Your own effect.

    Store `once_per` in its transaction. Do nothing and return False when it is there already.
    """
    print("unlocked", order, "for", once_per, flush=True)
    return True

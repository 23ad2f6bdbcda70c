// Call this in the job after the effect is committed, or with `failed` when the job gives up.
import { Makegood } from "makegood-client";

const makegood = new Makegood({ baseUrl: process.env.MAKEGOOD_URL, apiKey: process.env.MAKEGOOD_API_KEY });

const result = await makegood.result({ provider: "stripe", provider_event_id: "evt_1PqX9", status: "success" });
// Or: { provider_event_id: …, status: "failed", error_code: "seat_limit", error_message: "No seat was free." }
console.log(result.event_id, "is", result.state);

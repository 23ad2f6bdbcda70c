// Call this in the webhook handler after the signature is verified and the event is stored.
// Send the receipt first, then enqueue the job: a result must not overtake its receipt.
import { Makegood } from "makegood-client";

const makegood = new Makegood({ baseUrl: process.env.MAKEGOOD_URL, apiKey: process.env.MAKEGOOD_API_KEY });

const receipt = await makegood.receipt({
  provider: "stripe",
  provider_event_id: "evt_1PqX9",
  event_type: "checkout.session.completed",
  effect_type: "access_unlock",
  internal_reference: "order_1001",
  occurred_at: "2026-11-23T10:00:00Z",
});
console.log(receipt.event_id, "must have a result by", receipt.timeout_at);

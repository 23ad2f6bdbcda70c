// Passkeys: the form asks the browser for one, and is sent with its answer. Also offers the browser's time zone.
const toBytes = (text) =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
const toText = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const known = (list) => (list ?? []).map((one) => ({ ...one, id: toBytes(one.id) }));

class Problem extends Error {}

const readOptions = async (form) => {
  if (form.dataset.options) return JSON.parse(form.dataset.options);
  const body = new URLSearchParams({ form_token: form.elements.form_token.value });
  const answer = await fetch(form.dataset.optionsUrl, { method: "POST", body });
  if (answer.status === 429) throw new Problem(`Too many attempts. Try again in ${answer.headers.get("Retry-After")} seconds.`);
  const isOurs = answer.headers.get("Content-Type")?.startsWith("application/json");
  if (!isOurs) throw new Problem("Makegood did not answer as expected. Reload the page and try again.");
  const options = await answer.json();
  if (options.problem) throw new Problem(options.problem);
  return options;
};

const create = async (options) => {
  const user = { ...options.user, id: toBytes(options.user.id) };
  const publicKey = { ...options, user, challenge: toBytes(options.challenge), excludeCredentials: known(options.excludeCredentials) };
  const made = await navigator.credentials.create({ publicKey });
  const { clientDataJSON, attestationObject } = made.response;
  const transports = made.response.getTransports?.() ?? [];
  return [made, { clientDataJSON: toText(clientDataJSON), attestationObject: toText(attestationObject), transports }];
};

const use = async (options) => {
  const publicKey = { ...options, challenge: toBytes(options.challenge), allowCredentials: known(options.allowCredentials) };
  const used = await navigator.credentials.get({ publicKey });
  const { clientDataJSON, authenticatorData, signature, userHandle } = used.response;
  const parts = { clientDataJSON: toText(clientDataJSON), authenticatorData: toText(authenticatorData), signature: toText(signature) };
  return [used, userHandle ? { ...parts, userHandle: toText(userHandle) } : parts];
};

const askBrowser = async (form) => {
  if (location.origin !== form.dataset.origin) throw new Problem(`Passkeys work at ${form.dataset.origin} only. Open the console there.`);
  if (!window.PublicKeyCredential) throw new Problem("This browser does not support passkeys.");
  const options = await readOptions(form);
  const [credential, response] = await (form.dataset.passkey === "create" ? create : use)(options);
  return JSON.stringify({ id: credential.id, rawId: toText(credential.rawId), type: credential.type, response });
};

const textOf = (error) => {
  if (error instanceof Problem) return error.message;
  if (error.name === "InvalidStateError") return "This device already has a passkey for your account.";
  if (error.name === "NotAllowedError") return "No passkey was used: the prompt was cancelled, or it took too long. Try again.";
  return "The browser could not use a passkey. Try again, or use another way.";
};

for (const form of document.querySelectorAll("form[data-passkey]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [button, problem] = [form.querySelector("button"), form.querySelector("[role=alert]")];
    button.disabled = true;
    problem.hidden = true;
    try {
      form.elements.passkey.value = await askBrowser(form);
      form.submit();
    } catch (error) {
      problem.textContent = textOf(error);
      problem.hidden = false;
      button.disabled = false;
    }
  });
}

// Nothing is saved until the person does.
const zones = document.querySelector("select[data-offer-zone]");
if (zones) {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if ([...zones.options].some((option) => option.value === own)) zones.value = own;
}

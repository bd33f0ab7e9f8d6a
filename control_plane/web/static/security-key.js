// Has a security key answer what the server asked, and sends the answer with the form. Nothing else is fetched or kept.
"use strict";

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

async function registered(options) {
  options.challenge = bytes(options.challenge);
  options.user.id = bytes(options.user.id);
  for (const known of options.excludeCredentials || []) known.id = bytes(known.id);
  const made = await navigator.credentials.create({ publicKey: options });
  return answer(made, { attestationObject: text(made.response.attestationObject) });
}

async function presented(options) {
  options.challenge = bytes(options.challenge);
  const shown = await navigator.credentials.get({ publicKey: options });
  return answer(shown, {
    authenticatorData: text(shown.response.authenticatorData),
    signature: text(shown.response.signature),
    userHandle: shown.response.userHandle ? text(shown.response.userHandle) : null,
  });
}

function answer(credential, response) {
  response.clientDataJSON = text(credential.response.clientDataJSON);
  return JSON.stringify({
    id: credential.id, rawId: text(credential.rawId), type: credential.type, response, clientExtensionResults: {},
  });
}

const WHY = {
  InvalidStateError: "This security key is registered already.",
  NotAllowedError: "No security key answered, or it holds nothing for this page.",
};

for (const form of document.querySelectorAll("form[data-present], form[data-register]")) {
  const [button, waits, failed] = ["button", "[role=status]", "[role=alert]"].map((one) => form.querySelector(one));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { present, register } = form.dataset;
    // Browsers refuse a second question while the first is open.
    button.disabled = true;
    failed.textContent = "";
    waits.textContent = "Touch your security key now.";
    try {
      form.elements.key.value = register ? await registered(JSON.parse(register)) : await presented(JSON.parse(present));
      form.submit();
    } catch (error) {
      waits.textContent = "";
      failed.textContent = WHY[error.name] || `The security key did not answer: ${error.name}.`;
      button.disabled = false;
      button.focus();
    }
  });
}

"use strict";

const token = new URLSearchParams(location.hash.slice(1)).get("token");
// Whoever uses this machine next finds no token in its history.
if (token) history.replaceState(null, "", location.pathname);

const byId = (id) => document.getElementById(id);
const forms = { setPassword: byId("set-password"), ask: byId("ask"), confirm: byId("confirm") };

/** Says something, to eyes and to screen readers. */
function say(text) {
  const message = byId("message");
  message.hidden = false;
  message.textContent = text;
  message.focus();
}

/** Shows one form and hides the others. */
function show(form) {
  for (const other of Object.values(forms)) if (other) other.hidden = other !== form;
  form?.querySelector("input, button")?.focus();
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1) + ".";
}

/** Sends JSON when the form is submitted, once at a time. */
function onSubmit(form, path, body, done) {
  form?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      const reply = await fetch("api/v1/auth/" + path, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body()),
      });
      const said = await reply.json();
      if (reply.ok) done();
      else failed(said.error, reply.headers.get("Retry-After"));
    } catch {
      say("The server could not be reached. Check your connection and try again.");
    } finally {
      button.disabled = false;
    }
  });
}

function failed(error, retryAfter) {
  if (retryAfter) return say(`Too many attempts. Try again in ${Math.ceil(Number(retryAfter) / 60)} min.`);
  if (error.code.endsWith("_TOKEN_INVALID")) show(forms.ask);
  say(sentence(error.message));
}

onSubmit(forms.setPassword, "password-reset/confirm", () => ({ token, new_password: byId("password").value }), () => {
  show(null);
  say("Your new password is set, and every sign-in has ended. You can close this page and sign in.");
});
onSubmit(forms.ask, "password-reset/request", () => ({ email: byId("email").value }), () => {
  show(null);
  say("If there is an account with this address, a message with a link is on its way. Look into your mailbox.");
});
onSubmit(forms.confirm, "confirm-email", () => ({ token }), () => {
  show(null);
  say("Thank you. Your address is confirmed; you can close this page.");
});

byId("show")?.addEventListener("change", (event) => {
  byId("password").type = event.target.checked ? "text" : "password";
});

if (forms.confirm && !token) say("This link is not complete. Open the one in the mail again.");
else show(forms.confirm ?? (token ? forms.setPassword : forms.ask));

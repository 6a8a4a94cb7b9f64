// The form for the token. Without this script it is an ordinary form; with it a wrong token is said in words.

import { byId } from "/page/dom.js";
import { showError } from "/page/messages.js";

byId("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const place = byId("login-error");
  showError(place, null);
  try {
    const body = new URLSearchParams(new FormData(event.target));
    const answer = await fetch("/login", { method: "POST", body, headers: { "X-Requested-With": "sdenv" } });
    if (answer.ok) {
      location.reload();
      return;
    }
    showError(place, (await answer.json()).error);
  } catch {
    showError(place, { what: "The server does not answer.", hint: "Try again in a moment." });
  }
  byId("token").select();
});

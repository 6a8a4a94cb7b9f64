// What the page says: errors where they belong, passing notes below, changes to those who listen.

import { byId, h } from "/page/dom.js";

const TOAST_MS = 6000;
const TOAST_WITH_ACTION_MS = 12000;

/** An error in the words of the API, as a box. */
export function errorBox(error, { onDismiss } = {}) {
  const box = h("div", { class: "error", role: "alert" });
  box.append(h("p", { class: "error-what", text: error.what ?? error.message }));
  if (error.why) box.append(h("p", { text: error.why }));
  if (error.hint) box.append(h("p", { class: "hint", text: error.hint }));
  if (onDismiss) {
    box.append(h("button", { type: "button", class: "quiet small", text: "Dismiss", onclick: onDismiss }));
  }
  return box;
}

/** Shows an error in a place of its own until the next one, or until it is dismissed; null empties it. */
export function showError(place, error) {
  place.replaceChildren(...(error ? [errorBox(error, { onDismiss: () => place.replaceChildren() })] : []));
}

/**
 * A passing note.
 *
 * @param {string} text
 * @param {{label: string, run: () => void}} [action] A button in it.
 */
export function toast(text, action) {
  const note = h("div", { class: "toast" }, h("span", { text }));
  const remove = () => note.remove();
  if (action) {
    const run = () => {
      remove();
      action.run();
    };
    note.append(h("button", { type: "button", class: "small", text: action.label, onclick: run }));
  }
  note.append(h("button", { type: "button", class: "quiet small", text: "×", "aria-label": "Dismiss", onclick: remove }));
  byId("toasts").append(note);
  setTimeout(remove, action ? TOAST_WITH_ACTION_MS : TOAST_MS);
}

/** An error that has no place of its own. */
export function toastError(error) {
  if (error.what === undefined && error.name !== "AbortError") throw error; // a mistake of the page: to the console
  toast([error.what, error.why, error.hint].filter(Boolean).join(" "));
}

/** Said aloud to those who listen, and shown to nobody. */
export function announce(text) {
  byId("announcer").textContent = text;
}

// The keyboard. Shortcuts of a single key can be switched off, for those who speak to their computer.

import { byId, h, store, stored } from "/page/dom.js";

const SWITCH = "sdenv.single-keys";

/**
 * @param {{keys: string, does: string, run?: () => void}[]} shortcuts `keys` as shown: "N", "Ctrl Enter";
 *   without `run` it is handled elsewhere, and only listed.
 */
export function startShortcuts(shortcuts) {
  const isOn = byId("single-keys");
  isOn.checked = stored(SWITCH, true);
  isOn.addEventListener("change", () => store(SWITCH, isOn.checked));
  byId("keys").append(
    ...shortcuts.flatMap(({ keys, does }) => [h("dt", {}, ...keys.split(" ").map((key) => h("kbd", { text: key }))), h("dd", { text: does })]),
  );
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      if (!document.querySelector("dialog[open]")) {
        event.preventDefault();
        byId("form").requestSubmit();
      }
      return;
    }
    if (!isOn.checked || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    const found = shortcuts.find(({ keys, run }) => run && keys.toLowerCase() === event.key.toLowerCase());
    if (!found) return;
    event.preventDefault();
    found.run();
  });
}

function isTyping(element) {
  const isText = element.tagName === "INPUT" && !["checkbox", "range", "button", "file"].includes(element.type);
  return isText || ["TEXTAREA", "SELECT"].includes(element.tagName);
}

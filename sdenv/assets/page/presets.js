// Settings under a name: three that follow from the model, and those that a person saves in this browser.

import { byId, store, stored } from "/page/dom.js";
import { toast } from "/page/messages.js";

const SAVED = "sdenv.presets";
const NOT_KEPT = new Set(["prompt", "seed"]);
const USUAL_STEPS = 20;

const BUILT_IN = [
  ["own", "The model's own settings", () => ({})],
  ["draft", "Draft: half the steps", (steps) => ({ steps: Math.max(1, Math.round(steps / 2)) })],
  ["careful", "Careful: twice the steps", (steps, most) => ({ steps: Math.min(most, steps * 2) })],
];

export function startPresets(form) {
  const select = byId("preset");
  const dialog = byId("preset-dialog");
  list("");

  select.addEventListener("change", async () => {
    byId("preset-delete").hidden = !select.value.startsWith("saved:");
    if (!select.value) return;
    const lost = await form.fill({ ...settingsOf(select.value, form), seed: form.read().seed });
    if (lost.length) toast(`Not offered here: ${lost.join(", ")}.`);
  });
  byId("preset-save").addEventListener("click", () => {
    byId("preset-name").value = select.value.startsWith("saved:") ? select.value.slice("saved:".length) : "";
    dialog.returnValue = "";
    dialog.showModal();
  });
  byId("preset-cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    const name = byId("preset-name").value.trim();
    if (dialog.returnValue !== "save" || !name) return;
    const kept = Object.entries(form.read()).filter(([field]) => !NOT_KEPT.has(field));
    store(SAVED, { ...stored(SAVED, {}), [name]: Object.fromEntries(kept) });
    list(`saved:${name}`);
    toast(`Saved as “${name}”.`);
  });
  byId("preset-delete").addEventListener("click", () => {
    const rest = stored(SAVED, {});
    delete rest[select.value.slice("saved:".length)];
    store(SAVED, rest);
    list("");
    select.focus();
  });
}

function settingsOf(value, form) {
  if (value.startsWith("saved:")) return stored(SAVED, {})[value.slice("saved:".length)] ?? {};
  const [, , settings] = BUILT_IN.find(([id]) => id === value);
  const { model } = form.read();
  return { model, ...settings(form.model?.steps ?? USUAL_STEPS, Number(byId("steps").max)) };
}

function list(chosen) {
  const select = byId("preset");
  const own = Object.keys(stored(SAVED, {})).sort();
  const builtIn = BUILT_IN.map(([id, text]) => new Option(text, id));
  select.replaceChildren(new Option("Choose …", ""), ...builtIn, ...own.map((name) => new Option(name, `saved:${name}`)));
  select.value = chosen;
  byId("preset-delete").hidden = !chosen.startsWith("saved:");
}

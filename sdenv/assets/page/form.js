// The prompt and the settings: made from what the backend says it can do, and read back as a request.
//
// A field that the backend does not carry is not shown. A field that it carries and the form has no place for
// (from a picture that was dropped, say) is kept, shown by name, and sent; nothing is dropped in silence.

import { api } from "/page/api.js";
import { byId, debounced, h, setText, store, stored } from "/page/dom.js";
import { OWN, parsed, sizeChoices, sizeHint, value as sizeValue } from "/page/sizes.js";

const DRAFT = "sdenv.draft";
const NUMBERS = ["steps", "guidance_scale", "seed", "count", "strength"];
const CHOICES = ["sampler", "schedule"];
const TEXTS = ["prompt", "negative_prompt"];
const PLACED = new Set([...NUMBERS, ...CHOICES, ...TEXTS, "model", "width", "height", "init_image", "mask"]);
const IMAGE_TO_IMAGE_STRENGTH = 0.75;
const INPAINT_STRENGTH = 1;
const PREVIEWS_A_PICTURE = 10;
const USUAL_STEPS = 20;

/** Tells its listeners: `change` (a person or a script has changed something), `offer` (what is offered has). */
export class Form extends EventTarget {
  capabilities = null;
  #status = null;
  #extras = {};

  constructor() {
    super();
    byId("prompt").value = stored(DRAFT, {}).prompt ?? ""; // at once: whoever types now is not typed over later
    byId("model").addEventListener("change", () => this.#offerModel());
    byId("size").addEventListener("change", () => this.#showOwnSize());
    const keep = debounced(() => this.#keepDraft(), 300);
    addEventListener("pagehide", () => this.#keepDraft());
    byId("form").addEventListener("input", () => {
      keep();
      this.#summarise();
      this.dispatchEvent(new Event("change"));
    });
  }

  /** Fills the form from a server's status, then with what was written before a reload. */
  async offer(status) {
    this.#status = status;
    const models = status.models;
    byId("model").replaceChildren(...models.map((model) => new Option(model.name, model.name)));
    show("model", models.length > 0 && status.capabilities.carries.includes("model"));
    await this.#offerModel();
    await this.fill({ ...stored(DRAFT, {}), prompt: byId("prompt").value });
  }

  /** The model that is chosen; null where the backend names none. */
  get model() {
    const models = this.#status?.models ?? [];
    return models.find((each) => each.name === byId("model").value) ?? models[0] ?? null;
  }

  can(task) {
    return this.capabilities?.tasks.includes(task) ?? false;
  }

  /** The request as it stands, without pictures. What is left open is left out. */
  read() {
    const request = { ...this.#extras };
    for (const name of TEXTS) if (isShown(name) && byId(name).value.trim()) request[name] = byId(name).value.trim();
    for (const name of NUMBERS) {
      const text = byId(name).value.trim();
      if (isShown(name) && text !== "") request[name] = Number(text);
    }
    for (const name of CHOICES) if (isShown(name) && byId(name).value) request[name] = byId(name).value;
    const models = this.#status.models;
    if (isShown("model") && this.model && this.model !== models[0]) request.model = this.model.name;
    return { ...request, ...this.#readSize() };
  }

  /** How often a preview is made: about ten times a picture, and never where nobody wants any. */
  get previewEvery() {
    if (!this.capabilities?.previews || !byId("previews").checked) return 0;
    const steps = Number(byId("steps").value) || this.model?.steps || USUAL_STEPS;
    return Math.max(1, Math.round(steps / PREVIEWS_A_PICTURE));
  }

  /**
   * Puts a request into the form. Prompts that it does not have stay as they are.
   *
   * @param {Object} request As the API has it; pictures are not looked at.
   * @returns {string[]} What could not be kept, each in words.
   */
  async fill(request) {
    const lost = [];
    const models = this.#status.models.map((each) => each.name);
    if (request.model && !models.includes(request.model)) lost.push(`the model ${request.model}`);
    byId("model").value = models.includes(request.model) ? request.model : (models[0] ?? "");
    await this.#offerModel();
    for (const name of TEXTS) if (request[name] !== undefined) byId(name).value = request[name] ?? "";
    for (const name of NUMBERS) byId(name).value = name === "count" && request[name] === 1 ? "" : (request[name] ?? "");
    for (const name of CHOICES) {
      if (!choose(byId(name), request[name] ?? "")) lost.push(`the ${name} ${request[name]}`);
    }
    this.#fillSize(request);
    this.#fillExtras(request, lost);
    this.#keepDraft();
    this.#summarise();
    this.dispatchEvent(new Event("change"));
    return lost;
  }

  /** The placeholder of the strength depends on whether there is a mask. */
  showStrength(hasMask) {
    byId("strength").placeholder = hasMask ? INPAINT_STRENGTH : IMAGE_TO_IMAGE_STRENGTH;
  }

  async #offerModel() {
    const model = this.model;
    try {
      this.capabilities = await api.capabilities(model?.name);
    } catch {
      this.capabilities ??= this.#status.capabilities; // the server is away: what was known stays
    }
    const { carries, samplers, schedules, size, max_count } = this.capabilities;
    for (const name of [...NUMBERS, ...TEXTS, ...CHOICES, "init_image"]) show(name, carries.includes(name));
    show("size", carries.includes("width") && carries.includes("height"));
    show("init_image", carries.includes("init_image") && this.can("image-to-image"));
    show("previews", this.capabilities.previews);
    setText(byId("model-hint"), model?.summary ?? "");
    limit("steps", this.#status.limits.steps, model?.steps);
    limit("count", Math.min(max_count, this.#status.limits.count), 1);
    limit("guidance_scale", 100, model?.guidance_scale);
    offerNames("sampler", samplers, model?.sampler ? `Auto, ${model.sampler}` : "Auto");
    offerNames("schedule", schedules, "Auto");
    this.#offerSizes(size, model?.default_size);
    this.#summarise();
    this.dispatchEvent(new Event("offer"));
  }

  #offerSizes(rule, usual) {
    const before = byId("size").value;
    byId("size").replaceChildren(...sizeChoices(rule, usual).map(([value, text]) => new Option(text, value)));
    choose(byId("size"), before);
    for (const side of ["width", "height"]) {
      Object.assign(byId(side), { min: rule.min_px, max: rule.max_px, step: rule.multiple_px });
      byId(side).placeholder = usual?.[side === "width" ? 0 : 1] ?? "";
    }
    setText(byId("size-hint"), sizeHint(rule));
    this.#showOwnSize();
  }

  #showOwnSize() {
    const isOwn = byId("size").value === OWN;
    byId("own-size").hidden = !isOwn;
    byId("size-hint").hidden = !isOwn;
  }

  #readSize() {
    const choice = byId("size").value;
    if (!isShown("size") || !choice) return {};
    if (choice !== OWN) {
      const [width, height] = parsed(choice);
      return { width, height };
    }
    const sides = ["width", "height"].filter((side) => byId(side).value !== "");
    return Object.fromEntries(sides.map((side) => [side, Number(byId(side).value)]));
  }

  #fillSize({ width, height }) {
    const usual = this.model?.default_size ?? [];
    const isUsual = !width || (width === usual[0] && height === usual[1]);
    const choice = isUsual ? "" : sizeValue(width, height);
    if (!choose(byId("size"), choice)) {
      if (![...byId("size").options].some((each) => each.value === OWN)) {
        byId("size").append(new Option("Other …", OWN)); // not one of the model's: the server says so
      }
      byId("size").value = OWN;
      byId("width").value = width;
      byId("height").value = height ?? width;
    }
    this.#showOwnSize();
  }

  /** Fields that the form has no place for: kept where the backend carries them, named where it does not. */
  #fillExtras(request, lost) {
    this.#extras = {};
    for (const [name, given] of Object.entries(request)) {
      const isEmpty = given === null || given === "" || Object.keys(Object(given)).length === 0 && typeof given === "object";
      if (PLACED.has(name) || isEmpty || name === "batch_size") continue;
      if (this.capabilities.carries.includes(name)) this.#extras[name] = given;
      else lost.push(name.replaceAll("_", " "));
    }
    this.#showExtras();
  }

  #showExtras() {
    const chips = Object.keys(this.#extras).map((name) => {
      const remove = () => {
        delete this.#extras[name];
        this.#showExtras();
      };
      const label = `Remove ${name.replaceAll("_", " ")}`;
      return h("span", { class: "chip" }, name.replaceAll("_", " "),
        h("button", { type: "button", class: "quiet", "aria-label": label, text: "×", onclick: remove }));
    });
    byId("extras").hidden = chips.length === 0;
    byId("extras").replaceChildren(...(chips.length ? [h("span", { text: "Also set:" }), ...chips] : []));
  }

  #summarise() {
    const { model, width, height, steps, seed, count, sampler } = this.#status ? this.read() : {};
    const parts = [model, width && `${width} × ${height}`, steps && `${steps} steps`, sampler,
      seed !== undefined && `seed ${seed}`, count > 1 && `${count} pictures`];
    setText(byId("settings-summary"), parts.filter(Boolean).join(" · "));
  }

  #keepDraft() {
    if (this.#status) store(DRAFT, this.read());
  }
}

function wrapper(name) {
  return document.querySelector(`[data-field="${name}"]`) ?? byId(name);
}

function show(name, isShown) {
  wrapper(name).hidden = !isShown;
}

function isShown(name) {
  return !wrapper(name).hidden;
}

function limit(name, most, usual) {
  byId(name).max = most;
  byId(name).placeholder = usual ?? "auto";
}

/** A list of names, or a free text where any name is passed on. */
function offerNames(name, names, nothing) {
  const before = byId(name).value;
  if (names === null) {
    if (byId(name).tagName === "SELECT") byId(name).replaceWith(h("input", { id: name, name, placeholder: nothing, autocomplete: "off" }));
  } else {
    if (byId(name).tagName !== "SELECT") byId(name).replaceWith(h("select", { id: name, name }));
    byId(name).replaceChildren(new Option(nothing, ""), ...names.map((each) => new Option(each, each)));
  }
  choose(byId(name), before);
}

/** Sets a select or input; whether it has the value. A select without it falls back to its first choice. */
function choose(element, value) {
  element.value = value;
  if (element.value === String(value)) return true;
  element.selectedIndex = 0;
  return false;
}

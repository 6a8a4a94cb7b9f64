// One picture, large: how it was made, and what to do with it.

import { api, pictureUrl } from "/page/api.js";
import { byId, h, setText } from "/page/dom.js";
import { toast, toastError } from "/page/messages.js";
import { bytes, duration, moment, promptOf } from "/page/wording.js";

const SURE_MS = 4000;
const LARGEST_SCALE = 2; // a small picture is not blown up until it is a blur

/** Tells its listeners `removed` (detail: the job's id). */
export class Viewer extends EventTarget {
  #job = null;
  #index = 0;
  #opener = null; // the tile that it was opened from; its neighbours are the next pictures

  constructor(intake, startPicture) {
    super();
    this.intake = intake;
    this.startPicture = startPicture;
    this.dialog = byId("viewer");
    byId("viewer-close").addEventListener("click", () => this.dialog.close());
    byId("viewer-previous").addEventListener("click", () => this.step(-1));
    byId("viewer-next").addEventListener("click", () => this.step(1));
    byId("viewer-reuse").addEventListener("click", () => this.reuse(this.#job, this.#index));
    byId("viewer-start").addEventListener("click", () => this.#startFromIt());
    byId("viewer-delete").addEventListener("click", ({ currentTarget }) => this.#delete(currentTarget));
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
    this.dialog.addEventListener("close", () => this.#opener?.focus());
  }

  /** Shows a picture; `opener` is the tile that was pressed. */
  async open(id, index, opener) {
    try {
      this.#job = await api.job(id);
    } catch (error) {
      toastError(error);
      return;
    }
    this.#index = index;
    this.#opener = opener;
    this.#draw();
    if (!this.dialog.open) this.dialog.showModal();
  }

  /** The picture before or after in the list that it was opened from. */
  step(by) {
    const tiles = this.#tiles();
    tiles[tiles.indexOf(this.#opener) + by]?.click();
  }

  /** Fills the form with what made this picture, pictures that it started from included. */
  async reuse(job, index) {
    try {
      const asked = await api.requestOf(job.id);
      const seed = job.pictures.find((each) => each.index === index)?.seed;
      this.#leave();
      await this.intake.use({ ...asked, ...plain(job.resolved), ...(seed === undefined ? {} : { seed }), count: 1 });
      toast("Its settings are in the form.");
    } catch (error) {
      toastError(error);
    }
  }

  /** Closes it for another place on the page, which then has the focus. */
  #leave() {
    this.#opener = null;
    this.dialog.close();
  }

  #tiles() {
    return [...(this.#opener?.closest("#results, #history-list")?.querySelectorAll(".tile") ?? [])];
  }

  #draw() {
    const [job, index] = [this.#job, this.#index];
    const made = job.pictures.find((each) => each.index === index);
    const image = byId("viewer-image");
    image.src = pictureUrl(job.id, index);
    image.alt = promptOf(job);
    image.width = made?.width ?? 512;
    image.height = made?.height ?? 512;
    image.style.maxWidth = `${image.width * LARGEST_SCALE}px`;
    setText(byId("viewer-prompt"), promptOf(job));
    byId("viewer-facts").replaceChildren(...factsOf(job, made).flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: value })]));
    byId("viewer-notices").replaceChildren(...job.notices.map(({ message }) => h("p", { class: "hint", text: message })));
    byId("viewer-download").href = pictureUrl(job.id, index);
    byId("viewer-jpeg").href = pictureUrl(job.id, index, { format: "jpeg" });
    byId("viewer-webp").href = pictureUrl(job.id, index, { format: "webp" });
    byId("viewer-bare").href = pictureUrl(job.id, index, { bare: true });
    byId("viewer-start").hidden = !this.intake.form.can("image-to-image");
    byId("viewer-delete").disabled = !["done", "failed", "cancelled"].includes(job.state);
    setText(byId("viewer-delete"), "Delete job");
    const tiles = this.#tiles();
    const at = tiles.indexOf(this.#opener);
    byId("viewer-previous").hidden = at <= 0;
    byId("viewer-next").hidden = at < 0 || at === tiles.length - 1;
  }

  async #startFromIt() {
    try {
      const answer = await fetch(pictureUrl(this.#job.id, this.#index));
      this.#leave();
      location.hash = "#create";
      await this.startPicture.take(await answer.blob());
      byId("mask").focus();
    } catch (error) {
      toastError(error);
    }
  }

  /** Asks once more before it deletes: the job goes with all its pictures. */
  async #delete(button) {
    if (!button.dataset.sure) {
      button.dataset.sure = "yes";
      setText(button, this.#job.pictures.length > 1 ? `Delete all ${this.#job.pictures.length}?` : "Really delete?");
      setTimeout(() => {
        delete button.dataset.sure;
        setText(button, "Delete job");
      }, SURE_MS);
      return;
    }
    delete button.dataset.sure;
    try {
      await api.remove(this.#job.id);
      this.dialog.close();
      this.dispatchEvent(new CustomEvent("removed", { detail: this.#job.id }));
      toast("Deleted.");
    } catch (error) {
      toastError(error);
    }
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const act = {
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      u: () => byId("viewer-reuse").click(),
      d: () => byId("viewer-download").click(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }
}

/** What was really done, without pictures: of those it has hashes only, and the request has them. */
function plain(resolved) {
  const { init_image, mask, controls, references, ...rest } = resolved ?? {};
  return rest;
}

function factsOf(job, made) {
  const done = { ...job.request, ...job.resolved };
  const size = made ? `${made.width} × ${made.height}` : null;
  return [
    ["Not in it", done.negative_prompt],
    ["Model", done.model],
    ["Size", size],
    ["Steps", done.steps],
    ["Guidance", done.guidance_scale],
    ["Seed", made?.seed],
    ["Sampler", done.sampler],
    ["Schedule", done.schedule],
    ["Strength", done.strength],
    ["Started from", done.mask ? "a picture, with a mask" : done.init_image ? "a picture" : null],
    ["Took", job.seconds === null ? null : duration(job.seconds)],
    ["When", moment(job.created_at)],
    ["Asked for by", [job.owner, job.dialect === "native" ? "" : job.dialect].filter(Boolean).join(", ")],
    ["File", made ? bytes(made.size_bytes) : null],
  ].filter(([, value]) => value !== null && value !== undefined && value !== "");
}

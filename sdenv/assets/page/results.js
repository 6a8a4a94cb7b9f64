// The newest pictures, as they come.

import { api } from "/page/api.js";
import { byId, h } from "/page/dom.js";
import { showError, toastError } from "/page/messages.js";
import { tile } from "/page/tiles.js";

const SHOWN_JOBS = 24;
const EXAMPLES = {
  emoji: ["a pizza, 3d", "a cat, flat", "a rocket, 3d"],
  "": ["a lighthouse at dawn, watercolour", "a cat reading a newspaper", "a city of glass under two moons"],
};

export class Results {
  constructor(jobs, form, viewer, intake) {
    this.viewer = viewer;
    this.intake = intake;
    this.grid = byId("results");
    jobs.addEventListener("picture", ({ detail: { job, index } }) => this.#add(job.record, index));
    jobs.addEventListener("ended", ({ detail: job }) => this.#end(job.record));
    viewer.addEventListener("removed", ({ detail: id }) => this.#remove(id));
    form.addEventListener("offer", () => this.#offerExamples(form));
  }

  /** Those that are there already. */
  async load() {
    try {
      const { jobs } = await api.find({ states: ["done"], limit: SHOWN_JOBS });
      for (const job of jobs.reverse()) for (const { index } of job.pictures) this.#add(job, index);
    } catch (error) {
      toastError(error);
    }
    this.grid.setAttribute("aria-busy", "false");
    this.#showEmpty();
  }

  #add(job, index) {
    if (this.grid.querySelector(`[data-job="${job.id}"][data-index="${index}"]`)) return;
    this.grid.prepend(tile(job, index, ({ currentTarget }) => this.viewer.open(job.id, index, currentTarget)));
    this.#showEmpty();
  }

  #end(job) {
    for (const { index } of job.pictures) this.#add(job, index);
    if (job.state !== "failed" || job.pictures.length) return;
    const place = h("div", { class: "failed-note" });
    showError(place, job.error);
    place.prepend(h("p", { class: "ended-prompt", text: job.request.prompt }));
    this.grid.before(place);
  }

  #remove(id) {
    for (const each of this.grid.querySelectorAll(`[data-job="${id}"]`)) each.remove();
    this.#showEmpty();
  }

  #showEmpty() {
    byId("results-empty").hidden = this.grid.childElementCount > 0 || this.grid.getAttribute("aria-busy") === "true";
  }

  #offerExamples(form) {
    const prompts = EXAMPLES[form.model?.family] ?? EXAMPLES[""];
    const use = (prompt) => {
      byId("prompt").value = prompt;
      byId("prompt").dispatchEvent(new Event("input", { bubbles: true }));
      byId("prompt").focus();
    };
    byId("examples").replaceChildren(
      ...prompts.map((prompt) => h("button", { type: "button", class: "chip", text: prompt, onclick: () => use(prompt) })),
    );
  }
}

// What waits and what runs: one card for each job, changed in place, at most once a frame.

import { byId, h, setText } from "/page/dom.js";
import { announce, toastError } from "/page/messages.js";
import { duration, pictures, place, promptOf } from "/page/wording.js";

const PHASES = {
  loading: "Loading the model",
  encoding: "Reading the prompt",
  denoising: "Drawing",
  decoding: "Finishing",
};

export class Queue {
  #cards = new Map(); // job id -> card
  #frame = 0;

  constructor(jobs, title) {
    this.jobs = jobs;
    this.title = title;
    jobs.addEventListener("change", () => this.#soon());
    jobs.addEventListener("ended", ({ detail: job }) => {
      this.#soon();
      announce(`${{ done: "Done", failed: "Failed", cancelled: "Cancelled" }[job.record.state]}: ${promptOf(job.record)}`);
    });
    document.addEventListener("visibilitychange", () => this.#soon());
  }

  #soon() {
    if (document.hidden) this.#draw(); // no frames come; the title still tells
    else this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    const active = [...this.jobs.active.values()];
    const list = byId("queue");
    for (const [id, card] of this.#cards) {
      if (this.jobs.active.has(id)) continue;
      moveFocus(card.element, list);
      card.element.remove();
      this.#cards.delete(id);
    }
    active.forEach((job, at) => {
      if (!this.#cards.has(job.id)) this.#cards.set(job.id, new Card(job, this.jobs));
      const card = this.#cards.get(job.id);
      card.draw(job);
      if (list.children[at] !== card.element) list.insertBefore(card.element, list.children[at] ?? null);
    });
    byId("queue-section").hidden = active.length === 0;
    setText(byId("queue-count"), active.length > 1 ? `${active.length}` : "");
    this.title(active);
  }
}

class Card {
  #shown = null; // what the image shows; reading it back from `src` would cost as much as showing it

  constructor(job, jobs) {
    this.image = h("img", { alt: "", decoding: "async", hidden: true });
    this.prompt = h("p", { class: "card-prompt", text: promptOf(job.record) });
    this.facts = h("p", { class: "card-facts" });
    this.bar = h("progress", { max: "1", "aria-label": `Progress of ${promptOf(job.record)}` });
    this.cancel = h("button", { type: "button", class: "small", text: "Cancel", "data-cancel": job.id,
      "aria-label": `Cancel ${promptOf(job.record)}`,
      onclick: () => jobs.cancel(job.id).catch(toastError) });
    this.element = h("li", { class: "card", "data-job": job.id },
      h("div", { class: "card-picture", "aria-hidden": "true" }, this.image),
      h("div", { class: "card-text" }, this.prompt, this.bar, this.facts),
      this.cancel);
  }

  draw(job) {
    const isRunning = job.record.state === "running";
    this.element.classList.toggle("is-running", isRunning);
    this.#showPreview(job.preview);
    this.bar.hidden = !isRunning;
    if (job.currentStep === null && job.fraction === 0) this.bar.removeAttribute("value"); // under way, nothing to count yet
    else if (this.bar.value !== job.fraction) this.bar.value = job.fraction;
    setText(this.facts, factsOf(job));
    this.cancel.ariaDisabled = job.isCancelling; // not `disabled`: the focus stays
    setText(this.cancel, job.isCancelling ? "Cancelling …" : "Cancel");
  }

  #showPreview(preview) {
    if (preview === this.#shown) return;
    this.#shown = preview;
    this.image.hidden = !preview;
    if (preview) this.image.src = preview;
  }
}

function factsOf(job) {
  const { record } = job;
  const owner = record.owner && `by ${record.owner}`;
  const tries = record.attempt > 1 && `try ${record.attempt}`;
  const many = job.count > 1 && pictures(job.count);
  if (record.state !== "running") return [place(record.position), many, owner, tries].filter(Boolean).join(" · ");
  const [step, total] = job.currentStep ?? [];
  const left = job.secondsLeft;
  const doing = total ? `Step ${step} of ${total}` : (PHASES[record.phase] ?? "Starting");
  const which = job.count > 1 && `${job.finished.length} of ${job.count} done`;
  return [doing, which, left !== null && left >= 1 && `about ${duration(left)} left`, owner, tries].filter(Boolean).join(" · ");
}

/** Where the focus goes when the card that had it goes away: to the next one's button, else to the prompt. */
function moveFocus(element, list) {
  if (!element.contains(document.activeElement)) return;
  const neighbour = element.nextElementSibling ?? element.previousElementSibling;
  (neighbour && list.contains(neighbour) ? neighbour.querySelector("button") : byId("prompt")).focus();
}

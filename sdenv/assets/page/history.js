// Everything that was made here, by day, newest first; searched by the server, read page by page.

import { api } from "/page/api.js";
import { byId, debounced, h, setText } from "/page/dom.js";
import { showError } from "/page/messages.js";
import { endedCard, tile } from "/page/tiles.js";
import { day } from "/page/wording.js";

const ENDED = ["done", "failed", "cancelled"];
const PAGE = 30;

export class History {
  #next = null;
  #asking = null;
  #isStale = true;

  constructor(jobs, viewer) {
    this.viewer = viewer;
    this.list = byId("history-list");
    const search = debounced(() => this.#search(), 250);
    byId("search-text").addEventListener("input", search);
    byId("search-state").addEventListener("change", () => this.#search());
    byId("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#search();
    });
    byId("older").addEventListener("click", () => this.#load(this.#next));
    jobs.addEventListener("ended", () => this.#outdate());
    viewer.addEventListener("removed", ({ detail: id }) => this.#remove(id));
  }

  /** Is called when the view opens. */
  show() {
    if (this.#isStale) this.#search();
  }

  #outdate() {
    this.#isStale = true;
    if (!byId("view-history").hidden && scrollY < 100 && !this.#next) this.#search();
  }

  #search() {
    this.#isStale = false;
    return this.#load(null);
  }

  async #load(before) {
    this.#asking?.abort();
    this.#asking = new AbortController();
    this.list.setAttribute("aria-busy", "true");
    const state = byId("search-state").value;
    const wanted = { states: state ? [state] : ENDED, text: byId("search-text").value.trim(), before, limit: PAGE };
    try {
      const { jobs, next } = await api.find(wanted, this.#asking.signal);
      if (!before) this.list.replaceChildren();
      for (const job of jobs) this.#append(job);
      this.#next = next;
      byId("older").hidden = next === null;
      this.#showEmpty(wanted);
    } catch (error) {
      if (error.name === "AbortError") return; // a newer search is under way
      showError(this.list, error);
    }
    this.list.setAttribute("aria-busy", "false");
  }

  #append(job) {
    const name = day(job.created_at);
    let section = this.list.lastElementChild;
    if (section?.dataset.day !== name) {
      section = h("section", { "data-day": name, "aria-label": name }, h("h2", { text: name }), h("div", { class: "grid" }));
      this.list.append(section);
    }
    const reuse = () => this.viewer.reuse(job, 0);
    const cards = job.pictures.map(({ index }) => tile(job, index, ({ currentTarget }) => this.viewer.open(job.id, index, currentTarget)));
    section.lastElementChild.append(...(cards.length ? cards : [endedCard(job, { onReuse: reuse })]));
  }

  #remove(id) {
    for (const each of this.list.querySelectorAll(`[data-job="${id}"]`)) each.remove();
    for (const section of this.list.children) if (!section.querySelector("[data-job]")) section.remove();
    this.#showEmpty({ text: "" });
  }

  #showEmpty({ text }) {
    const isEmpty = this.list.childElementCount === 0;
    byId("history-empty").hidden = !isEmpty;
    if (isEmpty) setText(byId("history-empty-text"), text || byId("search-state").value ? "Nothing was found." : "Nothing was made here yet.");
  }
}

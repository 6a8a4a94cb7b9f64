// A picture, small: a button that opens it. The same in the results and in the history.

import { pictureUrl } from "/page/api.js";
import { h } from "/page/dom.js";
import { promptOf } from "/page/wording.js";

const TILE_PX = 400; // longer side of what is loaded: sharp on a dense screen, small over a slow line

/**
 * @param {Object} job The job's record.
 * @param {number} index Which of its pictures.
 * @param {() => void} open Shows it large.
 */
export function tile(job, index, open) {
  const made = job.pictures.find((each) => each.index === index);
  const image = h("img", {
    src: pictureUrl(job.id, index, { format: "webp", maxSide: TILE_PX, bare: true }),
    alt: "",
    loading: "lazy",
    decoding: "async",
    width: made?.width ?? 256,
    height: made?.height ?? 256,
    onerror: ({ target }) => target.remove(), // removed on the server; the tile says so when it is pressed
  });
  const label = `${promptOf(job)}, picture ${index + 1}${made ? `, seed ${made.seed}` : ""}`;
  return h("button", { type: "button", class: "tile", "aria-label": label, title: promptOf(job), "data-job": job.id,
    "data-index": index, onclick: open }, image);
}

/** A job without pictures: what became of it. */
export function endedCard(job, { onReuse }) {
  const isCancelled = job.state === "cancelled";
  const card = h("div", { class: `ended ${job.state}`, "data-job": job.id },
    h("p", { class: "ended-state", text: isCancelled ? "Cancelled" : "Failed" }),
    h("p", { class: "ended-prompt", text: promptOf(job) }));
  if (!isCancelled && job.error) {
    card.append(...[job.error.what, job.error.why, job.error.hint].filter(Boolean).map((text) => h("p", { class: "hint", text })));
  }
  card.append(h("button", { type: "button", class: "small", text: "Use these settings", onclick: onReuse }));
  return card;
}

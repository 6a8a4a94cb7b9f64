// A job's events, over any number of connections: each begins after the last event that came.

import { eventsUrl } from "/page/api.js";

const TYPES = [
  "job-queued", "job-started", "job-requeued", "job-ended", "phase-started", "request-resolved", "step-done",
  "preview-ready", "bytes-moved", "picture-ready", "measured", "notice",
];
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 5000;

export class JobStream {
  #source = null;
  #timer = 0;
  #pause = FIRST_PAUSE_MS;
  #last = "";

  /**
   * @param {string} jobId
   * @param {(record: Object) => void} onRecord Is called for each event, in order, once.
   */
  constructor(jobId, onRecord) {
    this.jobId = jobId;
    this.onRecord = onRecord;
  }

  get isOpen() {
    return this.#source !== null || this.#timer !== 0;
  }

  open() {
    if (this.#source) return;
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#source = new EventSource(eventsUrl(this.jobId, this.#last));
    for (const type of TYPES) this.#source.addEventListener(type, (event) => this.#take(event));
    this.#source.addEventListener("error", () => this.#again());
  }

  close() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#source?.close();
    this.#source = null;
  }

  #take(event) {
    this.#pause = FIRST_PAUSE_MS;
    this.#last = event.lastEventId;
    const record = JSON.parse(event.data);
    if (record.type === "job-ended") this.close();
    this.onRecord(record);
  }

  // Not left to the browser: it gives up for ever when a server that is starting answers 503.
  #again() {
    this.close();
    this.#timer = setTimeout(() => this.open(), this.#pause);
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
  }
}

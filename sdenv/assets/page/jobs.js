// The jobs that wait or run: a list that is asked for again and again, and event streams for those that run.
//
// The list is the truth; streams make it live. A page that was asleep, reloaded or cut off asks for the list,
// opens its streams where they were, and is where it would have been.

import { api, ApiError } from "/page/api.js";
import { LiveJob } from "/page/live_job.js";
import { JobStream } from "/page/streams.js";

const STREAMS = 5; // browsers open six connections to a server, for all tabs together; one must be left
const BUSY_PAUSE_MS = 1000;
const IDLE_PAUSE_MS = 4000;
const HIDDEN_PAUSE_MS = 15000;

/**
 * Tells its listeners: `change` (a job looks different), `picture` (detail: {job, index}), `ended` (detail: job),
 * `connection` (detail: whether the server answers).
 */
export class Jobs extends EventTarget {
  active = new Map(); // id -> LiveJob, in the order in which they run
  #streams = new Map();
  #timer = 0;
  #isAnswered = null;
  #asking = null;

  start() {
    document.addEventListener("visibilitychange", () => this.#wake());
    addEventListener("online", () => this.#wake());
    addEventListener("pageshow", (event) => event.persisted && this.#wake());
    return this.refresh();
  }

  /** A job that was just accepted. */
  add(record) {
    this.#take(record);
    this.#settle();
    this.refresh();
  }

  async cancel(id) {
    const job = this.active.get(id);
    if (job) {
      job.isCancelling = true;
      this.#tell("change", job);
    }
    this.#finishIfEnded(await api.cancel(id));
    return this.refresh();
  }

  /** Asks for the list now. */
  refresh() {
    this.#asking ??= this.#ask().finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #ask() {
    clearTimeout(this.#timer);
    const known = [...this.active.keys()];
    try {
      const { jobs } = await api.find({ states: ["queued", "running"], limit: 200 });
      jobs.sort(inOrder).forEach((record) => this.#take(record));
      const listed = new Set(jobs.map((record) => record.id));
      for (const id of known.filter((each) => !listed.has(each))) await this.#lookAfter(id);
      this.active = new Map([...this.active].sort(([, a], [, b]) => inOrder(a.record, b.record)));
      this.#answered(true);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.isOffline || error.status >= 500) this.#answered(false);
    }
    this.#settle();
    this.#timer = setTimeout(() => this.refresh(), this.#pause());
  }

  /** A job that is no longer listed has ended, or was removed. */
  async #lookAfter(id) {
    if (!this.active.has(id)) return;
    try {
      this.#finishIfEnded(await api.job(id));
    } catch (error) {
      if (error.status !== 404) throw error;
      this.active.delete(id);
    }
  }

  #take(record) {
    const job = this.active.get(record.id);
    if (job) job.update(record);
    else this.active.set(record.id, new LiveJob(record));
  }

  #finishIfEnded(record) {
    const job = this.active.get(record.id);
    if (!job) return;
    job.update(record);
    if (!job.hasEnded) return;
    this.active.delete(record.id);
    this.#tell("ended", job);
  }

  async #on(job, event) {
    const isPicture = job.take(event);
    if (isPicture) this.#tell("picture", { job, index: event.index });
    this.#tell("change", job);
    if (event.type === "job-started") this.refresh(); // the others have moved up
    if (event.type !== "job-ended") return;
    try {
      this.#finishIfEnded(await api.job(job.id));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error; // the next list tells
    }
    this.refresh();
  }

  /** Streams for the jobs that run, and only while somebody looks. */
  #settle() {
    const running = [...this.active.values()].filter((job) => job.record.state === "running");
    const wanted = document.hidden ? [] : running.slice(0, STREAMS);
    const ids = new Set(wanted.map((job) => job.id));
    for (const [id, stream] of this.#streams) {
      if (ids.has(id)) continue;
      stream.close();
      if (!this.active.has(id)) this.#streams.delete(id); // of a job that goes on, it knows where it was
    }
    for (const job of wanted) {
      if (!this.#streams.has(job.id)) {
        this.#streams.set(job.id, new JobStream(job.id, (event) => this.#on(job, event)));
      }
      const stream = this.#streams.get(job.id);
      if (!stream.isOpen) stream.open();
    }
    this.#tell("change", null);
  }

  /** After a sleep a connection may look open and be dead: all are opened anew. */
  #wake() {
    for (const stream of this.#streams.values()) stream.close();
    if (document.hidden) return;
    this.#settle();
    this.refresh();
  }

  #pause() {
    if (document.hidden) return HIDDEN_PAUSE_MS;
    return this.active.size || !this.#isAnswered ? BUSY_PAUSE_MS : IDLE_PAUSE_MS;
  }

  #answered(isAnswered) {
    if (this.#isAnswered === isAnswered) return;
    this.#isAnswered = isAnswered;
    this.#tell("connection", isAnswered);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** Running ones first, then as they will run. */
function inOrder(a, b) {
  return (a.position ?? -1) - (b.position ?? -1) || a.created_at - b.created_at;
}

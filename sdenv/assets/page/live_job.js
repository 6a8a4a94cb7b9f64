// A job as it is known here: the server's record, and what its events have added since.

const TIMED_STEPS = 12;
const REPLAYED_MS = 10; // steps that come faster than this are those of a replay, and say nothing about the pace

export class LiveJob {
  steps = new Map(); // index of the picture -> [step, total]
  preview = null; // data URL of the newest preview
  isCancelling = false;
  #finished = new Set();
  #times = []; // when the newest steps came, in ms

  constructor(record) {
    this.record = record;
    this.#takeFinished();
  }

  get id() {
    return this.record.id;
  }

  get hasEnded() {
    return ["done", "failed", "cancelled"].includes(this.record.state);
  }

  get count() {
    return this.record.resolved?.count ?? this.record.request.count ?? 1;
  }

  /** A record from the server; one that was on its way while events overtook it is left aside. */
  update(record) {
    if (record.attempt < this.record.attempt) return;
    if (record.attempt > this.record.attempt) this.#restart();
    this.record = record;
    this.#takeFinished();
  }

  /** One event; says whether a picture has come with it. */
  take(event) {
    switch (event.type) {
      case "job-started":
        this.#restart();
        this.record = { ...this.record, state: "running", position: null, attempt: event.attempt };
        break;
      case "job-requeued":
        this.#restart();
        this.record = { ...this.record, state: "queued" };
        break;
      case "job-ended":
        this.record = { ...this.record, state: event.state, error: event.error };
        break;
      case "phase-started":
        this.record = { ...this.record, phase: event.phase };
        break;
      case "request-resolved":
        this.record = { ...this.record, resolved: event.resolved };
        break;
      case "step-done":
        this.#step(event);
        break;
      case "preview-ready":
        if (event.picture) this.preview = `data:${event.media_type};base64,${event.picture}`;
        break;
      case "notice":
        this.record = { ...this.record, notices: [...this.record.notices, { code: event.code, message: event.message }] };
        break;
      case "picture-ready":
        this.#finished.add(event.index);
        return true;
    }
    return false;
  }

  /** Indexes of the pictures that are finished, in order. */
  get finished() {
    return [...this.#finished].sort((a, b) => a - b);
  }

  /** The finished share of all steps of all pictures, 0 to 1. */
  get fraction() {
    let done = this.#finished.size;
    for (const [index, [step, total]] of this.steps) if (!this.#finished.has(index)) done += step / total;
    return Math.min(1, Math.max(done / this.count, this.steps.size ? 0 : this.record.fraction));
  }

  /** [step, total] of the picture that is being made; null before its first step. */
  get currentStep() {
    const unfinished = [...this.steps].filter(([index]) => !this.#finished.has(index));
    return (unfinished[0] ?? [...this.steps].at(-1))?.[1] ?? null;
  }

  /** Seconds until the end at the pace of the newest steps; null while there is no pace. */
  get secondsLeft() {
    const [step, total] = this.currentStep ?? [0, 0];
    const pace = this.#pace();
    if (!pace || !total) return null;
    const unfinished = this.count - this.#finished.size;
    return pace * Math.max(0, unfinished * total - step);
  }

  #pace() {
    const times = this.#times;
    return times.length > 2 ? (times.at(-1) - times[0]) / 1000 / (times.length - 1) : null;
  }

  #step({ index, step, total }) {
    this.steps.set(index, [step, total]);
    const now = performance.now();
    if (now - this.#times.at(-1) < REPLAYED_MS) this.#times = [];
    this.#times.push(now);
    if (this.#times.length > TIMED_STEPS) this.#times.shift();
  }

  #takeFinished() {
    for (const picture of this.record.pictures) this.#finished.add(picture.index);
  }

  #restart() {
    this.steps.clear();
    this.#times = [];
    this.preview = null;
  }
}

// sdenv's own API, as `/docs` lists it. The page asks for nothing that a script could not.

export const PREFIX = "/sdenv/v1";

const NO_ANSWER = {
  code: "connection-failed",
  kind: "unavailable",
  repeats: false,
  what: "The server does not answer.",
  why: "It is starting again, or the network is away.",
  hint: "Jobs that it has accepted are not lost. This page goes on by itself when it is back.",
};

/** An error in the words of the API: what happened, why, what to do. */
export class ApiError extends Error {
  constructor(fault, status = 0) {
    super(fault.what);
    this.code = fault.code;
    this.what = fault.what;
    this.why = fault.why ?? "";
    this.hint = fault.hint ?? "";
    this.status = status;
  }

  /** Nobody answered, so the same may be asked again. */
  get isOffline() {
    return this.status === 0;
  }
}

async function ask(method, path, { headers = {}, ...options } = {}) {
  let answer;
  try {
    // The header tells the server that a script asks: a refusal must not open the browser's password window.
    answer = await fetch(path, { method, headers: { "X-Requested-With": "sdenv", ...headers }, ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(NO_ANSWER);
  }
  if (answer.status === 401) dispatchEvent(new Event("sdenv-logged-out"));
  if (answer.ok) return answer;
  throw new ApiError(await faultOf(answer), answer.status);
}

async function faultOf(answer) {
  try {
    return (await answer.json()).error;
  } catch {
    return { code: "peer-broke-protocol", what: `The server answered ${answer.status}, and did not say why.` };
  }
}

const askJson = async (...given) => (await ask(...given)).json();
const jobPath = (id) => `${PREFIX}/jobs/${id}`;

export const api = {
  status: () => askJson("GET", `${PREFIX}/status`),

  capabilities: async (model) => {
    const query = model ? `?${new URLSearchParams({ model })}` : "";
    return (await askJson("GET", `${PREFIX}/capabilities${query}`)).capabilities;
  },

  /** Queues a request. With the same key it can be repeated safely when the answer was lost. */
  submit: (submission, key) =>
    askJson("POST", `${PREFIX}/jobs`, {
      body: JSON.stringify(submission),
      headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    }),

  job: (id) => askJson("GET", jobPath(id)),
  requestOf: (id) => askJson("GET", `${jobPath(id)}/request`),
  cancel: (id) => askJson("POST", `${jobPath(id)}/cancel`),
  remove: (id) => ask("DELETE", jobPath(id)),

  /** Jobs, newest first: `{jobs, next}`. */
  find: ({ states = [], text = "", before = null, limit = 24 } = {}, signal) => {
    const query = new URLSearchParams(states.map((state) => ["state", state]));
    query.set("limit", limit);
    if (text) query.set("text", text);
    if (before) query.set("before", before);
    return askJson("GET", `${PREFIX}/jobs?${query}`, { signal });
  },

  /** How a picture was made, as its file says. */
  metadata: (file) => askJson("POST", `${PREFIX}/metadata`, { body: file }),
};

/** Where a finished picture lies; small ones for tiles, without the settings inside. */
export function pictureUrl(id, index, { format, maxSide, bare = false } = {}) {
  const query = new URLSearchParams();
  if (format) query.set("format", format);
  if (maxSide) query.set("max_side_px", maxSide);
  if (bare) query.set("metadata", "false");
  return `${jobPath(id)}/pictures/${index}${query.size ? `?${query}` : ""}`;
}

export function eventsUrl(id, after) {
  return `${jobPath(id)}/events?${new URLSearchParams({ previews: "true", ...(after ? { after } : {}) })}`;
}

/** A key for one submission. `crypto.randomUUID` is missing where the page comes without TLS. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

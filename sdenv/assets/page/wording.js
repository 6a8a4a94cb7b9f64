// Numbers, times and states as a person reads them.

const MINUTE_S = 60;
const HOUR_S = 3600;

/** "8 s", "1 min 20 s", "2 h 5 min". */
export function duration(seconds) {
  if (seconds < 9.95) return `${Math.max(0.1, seconds).toFixed(1)} s`;
  if (seconds < MINUTE_S) return `${Math.round(seconds)} s`;
  if (seconds < HOUR_S) return `${Math.floor(seconds / MINUTE_S)} min ${Math.round(seconds % MINUTE_S)} s`;
  return `${Math.floor(seconds / HOUR_S)} h ${Math.round((seconds % HOUR_S) / MINUTE_S)} min`;
}

/** The day of a time in seconds since 1970: "Today", "Yesterday", or its date. */
export function day(time) {
  const date = new Date(time * 1000);
  const midnight = new Date();
  midnight.setHours(0, 0, 0, 0);
  const daysAgo = Math.ceil((midnight - date) / 86_400_000);
  if (daysAgo <= 0) return "Today";
  if (daysAgo === 1) return "Yesterday";
  const isThisYear = date.getFullYear() === midnight.getFullYear();
  return date.toLocaleDateString("en-GB", { day: "numeric", month: "long", ...(isThisYear ? {} : { year: "numeric" }) });
}

/** Date and time of day. */
export function moment(time) {
  return new Date(time * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

/** What stands before a job that waits. */
export function place(position) {
  if (position === null || position === undefined) return "Waiting";
  if (position === 0) return "Next";
  return position === 1 ? "1 before it" : `${position} before it`;
}

/** "1 picture", "4 pictures". */
export function pictures(count) {
  return count === 1 ? "1 picture" : `${count} pictures`;
}

/** A file's size. */
export function bytes(count) {
  return count < 1e6 ? `${Math.max(1, Math.round(count / 1e3))} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

/** A job's prompt, or what stands for an empty one. */
export function promptOf(job) {
  return job.request.prompt || "(no prompt)";
}

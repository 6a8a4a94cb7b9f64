// From the form to the queue.

import { api, ApiError, newKey } from "/page/api.js";
import { byId } from "/page/dom.js";
import { announce, showError } from "/page/messages.js";
import { place } from "/page/wording.js";

const TRIES = 6; // about ten seconds: a server that starts again is back by then
const PAUSE_MS = 1500;

export function startSubmitting(form, startPicture, jobs) {
  let isSending = false;
  byId("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isSending) return;
    isSending = true;
    byId("make").setAttribute("aria-disabled", "true"); // not `disabled`: the focus stays
    showError(byId("form-error"), null);
    try {
      const request = { ...form.read(), ...(await startPicture.read()) };
      if (!request.init_image) delete request.strength;
      const job = await sent({ request, preview_every: form.previewEvery });
      announce(`Accepted. ${place(job.position)}.`);
      jobs.add(job);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      showError(byId("form-error"), error);
      byId("form-error").scrollIntoView({ block: "nearest" });
    } finally {
      isSending = false;
      byId("make").removeAttribute("aria-disabled");
    }
  });
}

/** The job, even when the server goes away in between: the key makes it one job however often it is asked. */
async function sent(submission) {
  const key = newKey();
  for (let left = TRIES; ; left -= 1) {
    try {
      return await api.submit(submission, key);
    } catch (error) {
      if (!error.isOffline || left <= 1) throw error;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}

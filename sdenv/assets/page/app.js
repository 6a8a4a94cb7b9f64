// Where the page begins: its parts are made, and told of each other.

import { api, ApiError } from "/page/api.js";
import { byId, setText } from "/page/dom.js";
import { Form } from "/page/form.js";
import { History } from "/page/history.js";
import { Intake } from "/page/intake.js";
import { Jobs } from "/page/jobs.js";
import { toastError } from "/page/messages.js";
import { startPresets } from "/page/presets.js";
import { Queue } from "/page/queue.js";
import { Results } from "/page/results.js";
import { startShortcuts } from "/page/shortcuts.js";
import { StartPicture } from "/page/start_picture.js";
import { startSubmitting } from "/page/submit.js";
import { Viewer } from "/page/viewer.js";

const RETRY_MS = 1500;
let serverName = "";

const form = new Form();
const startPicture = new StartPicture(form);
const intake = new Intake(form, startPicture);
const viewer = new Viewer(intake, startPicture);
const jobs = new Jobs();
new Queue(jobs, showTitle);
const results = new Results(jobs, form, viewer, intake);
const history = new History(jobs, viewer);

// A view is a section, a link in the header and a row here.
const VIEWS = { create: () => {}, history: () => history.show() };

startPresets(form);
startSubmitting(form, startPicture, jobs);
startShortcuts([
  { keys: "Ctrl Enter", does: "Make the picture" },
  { keys: "N", does: "Write a new prompt", run: writePrompt },
  { keys: "H", does: "Show the history", run: () => (location.hash = "#history") },
  { keys: "C", does: "Show what is being made", run: () => (location.hash = "#create") },
  { keys: "/", does: "Search the history", run: searchHistory },
  { keys: "X", does: "Cancel what runs", run: cancelFirst },
  { keys: "T", does: "Light or dark", run: () => window.sdenvToggleTheme() },
  { keys: "?", does: "This help", run: () => byId("help-dialog").showModal() },
  { keys: "← →", does: "In a picture: the one before, the one after" },
  { keys: "U", does: "In a picture: use its settings" },
  { keys: "D", does: "In a picture: download it" },
  { keys: "Esc", does: "Close" },
]);

byId("theme").addEventListener("click", () => window.sdenvToggleTheme());
byId("help").addEventListener("click", () => byId("help-dialog").showModal());
addEventListener("hashchange", showView);
addEventListener("sdenv-logged-out", () => location.reload()); // the server then shows the form for the token
jobs.addEventListener("connection", ({ detail: isAnswered }) => showConnection(isAnswered));

showView();
start();

async function start() {
  if (matchMedia("(max-width: 50rem)").matches) byId("settings").open = false;
  for (;;) {
    try {
      const status = await api.status();
      await form.offer(status);
      byId("logout").hidden = !status.needs_token;
      serverName = [status.name, status.models[0]?.name].filter(Boolean).join(" · ");
      break;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      showConnection(false);
      if (!error.isOffline && error.status < 500) return toastError(error);
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
  showConnection(true);
  document.body.dataset.ready = "yes";
  await Promise.all([results.load(), jobs.start()]);
}

function showConnection(isAnswered) {
  byId("server").classList.toggle("is-away", !isAnswered);
  setText(byId("server-text"), isAnswered ? serverName : "The server does not answer; trying again …");
}

function showView() {
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "create";
  for (const each of Object.keys(VIEWS)) byId(`view-${each}`).hidden = each !== name;
  for (const link of document.querySelectorAll("[data-view-link]")) {
    if (link.dataset.viewLink === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  VIEWS[name]();
}

function showTitle(active) {
  const running = active.find((job) => job.record.state === "running");
  document.title = running ? `${Math.floor(running.fraction * 100)} % · sdenv` : active.length ? `${active.length} waiting · sdenv` : "sdenv";
}

function writePrompt() {
  location.hash = "#create";
  showView();
  byId("prompt").focus();
  byId("prompt").select();
}

function searchHistory() {
  location.hash = "#history";
  showView();
  byId("search-text").focus();
}

function cancelFirst() {
  document.querySelector("[data-cancel]")?.click();
}

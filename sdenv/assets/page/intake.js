// Pictures that come from outside: dropped, pasted or chosen. One that says how it was made fills the form;
// any other is what the next picture starts from, unless the person has said what it is for.

import { api } from "/page/api.js";
import { byId } from "/page/dom.js";
import { toast, toastError } from "/page/messages.js";
import { blobOf } from "/page/start_picture.js";

export class Intake {
  constructor(form, startPicture) {
    this.form = form;
    this.startPicture = startPicture;
    this.#startDropping();
    document.addEventListener("paste", (event) => {
      const file = pictureIn(event.clipboardData);
      if (!file) return;
      event.preventDefault();
      this.take(file);
    });
    byId("read-settings").addEventListener("click", () => byId("settings-file").click());
    byId("settings-file").addEventListener("change", ({ target }) => {
      if (target.files[0]) this.take(target.files[0], "settings");
      target.value = "";
    });
  }

  /** Takes a file for a purpose: `settings`, `start`, or whichever it is good for. */
  async take(file, purpose = "either") {
    try {
      if (purpose === "start") await this.startPicture.take(file);
      else await this.#takeSettings(file, purpose);
    } catch (error) {
      toastError(error);
    }
  }

  async #takeSettings(file, purpose) {
    let found;
    try {
      found = await api.metadata(file);
    } catch (error) {
      if (error.code !== "bad-metadata" || purpose === "settings" || !this.form.can("image-to-image")) throw error;
      await this.startPicture.take(file);
      toast("The picture does not say how it was made: the next one starts from it.");
      return;
    }
    await this.use(settingsOf(found), notesOn(found));
    if (this.form.can("image-to-image")) {
      toast("Its settings are in the form.", { label: "Start from it", run: () => this.take(file, "start") });
    } else toast("Its settings are in the form.");
  }

  /** Puts a request into the form, pictures included, and says what could not be kept. */
  async use({ init_image, mask, ...settings }, notes = []) {
    this.startPicture.remove();
    const lost = await this.form.fill(settings);
    if (init_image) {
      await this.startPicture.take(blobOf(init_image), mask ? blobOf(mask) : null);
      byId("strength").value = settings.strength ?? "";
    }
    location.hash = "#create";
    const offered = lost.length ? [`Not offered here: ${lost.join(", ")}.`] : [];
    for (const note of [...notes, ...offered]) toast(note);
    byId("prompt").focus();
  }

  #startDropping() {
    const drop = byId("drop");
    let depth = 0; // enter and leave come for every element that is crossed
    const hide = () => {
      depth = 0;
      drop.hidden = true;
    };
    addEventListener("dragenter", (event) => {
      if (!hasFiles(event)) return;
      depth += 1;
      drop.hidden = false;
      drop.querySelector("[data-purpose=start]").hidden = !this.form.can("image-to-image");
    });
    addEventListener("dragleave", (event) => hasFiles(event) && --depth <= 0 && hide());
    addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      const over = event.target.closest?.("[data-purpose]");
      for (const zone of drop.children) zone.classList.toggle("is-over", zone === over);
    });
    addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      hide();
      const file = pictureIn(event.dataTransfer);
      const inStart = event.target.closest?.("#start") && "start";
      if (file) this.take(file, event.target.closest?.("[data-purpose]")?.dataset.purpose ?? inStart ?? "either");
      else toast("That is not a picture.");
    });
  }
}

function hasFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

function pictureIn(transfer) {
  return [...(transfer?.files ?? [])].find((file) => file.type.startsWith("image/")) ?? null;
}

/** The request for this one picture: its own seed, and only one. */
function settingsOf({ request, seed }) {
  return { ...request, ...(seed === null ? {} : { seed }), count: 1 };
}

function notesOn({ missing }) {
  if (!missing.length) return [];
  const names = missing.map(({ field }) => field.replaceAll("_", " ")).join(", ");
  return [`Not inside the picture: ${names}. Give it again for the same result.`];
}

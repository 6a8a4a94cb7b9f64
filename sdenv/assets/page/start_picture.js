// The picture that the next one starts from, and the mask over it.

import { byId, setText } from "/page/dom.js";
import { Mask, strokeOfMask } from "/page/mask.js";
import { toast, toastError } from "/page/messages.js";

const SENT_AS_THEY_ARE = ["image/png", "image/jpeg", "image/webp"]; // what the API reads; others are made PNG

export class StartPicture extends EventTarget {
  #blob = null;
  #url = null;
  #mask = new Mask(byId("mask"), byId("brush-ring"));

  constructor(form) {
    super();
    this.form = form;
    byId("start-choose").addEventListener("click", () => byId("start-file").click());
    byId("start-file").addEventListener("change", ({ target }) => {
      if (target.files[0]) this.take(target.files[0]).catch(toastError);
      target.value = "";
    });
    byId("start-remove").addEventListener("click", () => {
      this.remove();
      byId("start-choose").focus();
    });
    this.#startTools();
    form.addEventListener("offer", () => this.#show());
    this.#show();
  }

  get isThere() {
    return this.#blob !== null;
  }

  /**
   * Starts from a picture.
   *
   * @param {Blob} file Anything that the browser can show.
   * @param {Blob} [mask] That of an earlier request.
   */
  async take(file, mask = null) {
    if (!this.form.can("image-to-image")) {
      toast("What makes the pictures here cannot start from one.");
      return;
    }
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      toast("This browser cannot read that file as a picture. Give a PNG, JPEG or WebP file.");
      return;
    }
    this.#blob = SENT_AS_THEY_ARE.includes(file.type) ? file : await asPng(bitmap);
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = URL.createObjectURL(this.#blob);
    byId("start-image").src = this.#url;
    this.#mask.reset(bitmap.width, bitmap.height, mask && (await strokeOfMask(mask)));
    byId("start").open = true;
    this.#show();
  }

  remove() {
    this.#blob = null;
    byId("start-image").removeAttribute("src");
    this.#mask.reset(1, 1);
    byId("strength").value = "";
    this.#show();
  }

  /** The fields of the request. */
  async read() {
    if (!this.#blob) return {};
    const request = { init_image: await imageData(this.#blob) };
    if (this.form.can("inpaint") && !this.#mask.isEmpty) request.mask = await imageData(await this.#mask.toBlob());
    return request;
  }

  #startTools() {
    const mask = this.#mask;
    const sizeBrush = () => (mask.brush = Number(byId("brush").value) / 100);
    byId("brush").addEventListener("input", sizeBrush);
    sizeBrush();
    byId("mask-erase").addEventListener("click", () => {
      mask.isErasing = !mask.isErasing;
      byId("mask-erase").setAttribute("aria-pressed", mask.isErasing);
    });
    byId("mask-undo").addEventListener("click", () => mask.undo());
    byId("mask-clear").addEventListener("click", () => mask.clear());
    byId("mask-invert").addEventListener("click", () => mask.invert());
    mask.addEventListener("change", () => this.#show());
  }

  #show() {
    const isPainted = this.isThere && this.#mask.canUndo;
    byId("start-empty").hidden = this.isThere;
    byId("start-chosen").hidden = !this.isThere;
    byId("mask-tools").hidden = !this.form.can("inpaint");
    byId("mask").hidden = !this.form.can("inpaint");
    byId("mask-undo").disabled = !isPainted;
    byId("mask-clear").disabled = !isPainted;
    this.form.showStrength(isPainted);
    setText(byId("start-summary"), this.isThere ? (isPainted ? "with a mask" : "chosen") : "");
    this.dispatchEvent(new Event("change"));
  }
}

async function asPng(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

/** A file as the API takes it: its type and its bytes as base64. */
async function imageData(blob) {
  const url = await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
  return { media_type: blob.type, data: url.slice(url.indexOf(",") + 1) };
}

/** A picture as the API gives it, as a file. */
export function blobOf({ media_type, data }) {
  const standard = data.replaceAll("-", "+").replaceAll("_", "/"); // the API's base64 is that of URLs
  const bytes = Uint8Array.from(atob(standard), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: media_type });
}

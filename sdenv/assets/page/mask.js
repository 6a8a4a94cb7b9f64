// The mask brush: strokes over a picture. What is painted is white in the mask, and made anew.
//
// The strokes are kept and drawn again for every undo: a list of points is small, pictures of them are not.

const COLOUR = "#12a39a";
const KEY_STEP = 0.02; // of the longer side, for one press of an arrow key

/** Tells its listeners `change` after every stroke. */
export class Mask extends EventTarget {
  isErasing = false;
  brush = 0.1; // diameter, as a share of the shorter side
  #canvas;
  #ring;
  #strokes = [];
  #current = null;
  #cursor = null; // where the keyboard is, in pixels of the picture

  constructor(canvas, ring) {
    super();
    this.#canvas = canvas;
    this.#ring = ring;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", () => this.#up());
    canvas.addEventListener("pointercancel", () => this.#up());
    canvas.addEventListener("pointerleave", () => (ring.hidden = true));
    canvas.addEventListener("blur", () => (ring.hidden = true));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    ring.hidden = true;
  }

  /** Begins anew on a picture of this size, on the mask of an earlier request where one is given. */
  reset(width, height, base = null) {
    Object.assign(this.#canvas, { width, height });
    this.#strokes = base ? [{ base }] : [];
    this.#cursor = { x: width / 2, y: height / 2 };
    this.#redraw();
  }

  get canUndo() {
    return this.#strokes.length > 0;
  }

  /** Whether anything at all is painted. */
  get isEmpty() {
    if (!this.canUndo) return true;
    const side = 256; // enough to see the smallest brush
    const small = new OffscreenCanvas(side, side).getContext("2d");
    small.drawImage(this.#canvas, 0, 0, side, side);
    return !small.getImageData(0, 0, side, side).data.some((value, index) => index % 4 === 3 && value > 0);
  }

  undo() {
    this.#strokes.pop();
    this.#redraw();
  }

  clear() {
    this.#strokes = [];
    this.#redraw();
  }

  invert() {
    this.#strokes.push({ inverts: true });
    this.#redraw();
  }

  /** White where it is painted, black elsewhere, of the picture's size: a PNG. */
  async toBlob() {
    const { width, height } = this.#canvas;
    const white = new OffscreenCanvas(width, height).getContext("2d");
    white.drawImage(this.#canvas, 0, 0);
    white.globalCompositeOperation = "source-in";
    white.fillStyle = "#fff";
    white.fillRect(0, 0, width, height);
    const whole = new OffscreenCanvas(width, height);
    const context = whole.getContext("2d");
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.drawImage(white.canvas, 0, 0);
    return whole.convertToBlob({ type: "image/png" });
  }

  #down(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.#canvas.focus({ preventScroll: true });
    this.#canvas.setPointerCapture(event.pointerId);
    this.#begin(this.#point(event));
  }

  #move(event) {
    const point = this.#point(event);
    this.#showRing(point);
    if (!this.#current) return;
    const points = event.getCoalescedEvents?.().map((each) => this.#point(each)) ?? [];
    for (const each of points.length ? points : [point]) {
      this.#current.points.push(each);
      drawSegment(this.#context, this.#current, this.#current.points.length - 1);
    }
  }

  #up() {
    if (!this.#current) return;
    this.#current = null;
    this.dispatchEvent(new Event("change"));
  }

  #begin(point) {
    this.#current = { points: [point], size: this.#size, erases: this.isErasing };
    this.#strokes.push(this.#current);
    drawSegment(this.#context, this.#current, 0);
  }

  #key(event) {
    const { width, height } = this.#canvas;
    const step = Math.max(width, height) * KEY_STEP;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moves[event.key]) {
      const [dx, dy] = moves[event.key];
      this.#cursor = {
        x: Math.min(width, Math.max(0, this.#cursor.x + dx)),
        y: Math.min(height, Math.max(0, this.#cursor.y + dy)),
      };
    } else if (event.key === " ") {
      this.#begin(this.#cursor);
      this.#up();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.undo();
    } else return;
    event.preventDefault();
    event.stopPropagation();
    this.#showRing(this.#cursor);
  }

  get #context() {
    return this.#canvas.getContext("2d");
  }

  get #size() {
    return Math.max(2, this.brush * Math.min(this.#canvas.width, this.#canvas.height));
  }

  #point(event) {
    const box = this.#canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * this.#canvas.width,
      y: ((event.clientY - box.top) / box.height) * this.#canvas.height,
    };
  }

  #showRing({ x, y }) {
    const scale = this.#canvas.clientWidth / this.#canvas.width;
    const size = this.#size * scale;
    this.#ring.hidden = false;
    this.#ring.style.width = `${size}px`;
    this.#ring.style.height = `${size}px`;
    this.#ring.style.translate = `${x * scale - size / 2}px ${y * scale - size / 2}px`;
  }

  #redraw() {
    const context = this.#context;
    context.globalCompositeOperation = "source-over";
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    for (const stroke of this.#strokes) drawStroke(context, stroke);
    this.dispatchEvent(new Event("change"));
  }
}

function drawStroke(context, stroke) {
  const { width, height } = context.canvas;
  if (stroke.base) {
    context.drawImage(stroke.base, 0, 0, width, height);
  } else if (stroke.inverts) {
    context.globalCompositeOperation = "xor"; // with a full rectangle: what was open is painted, and the reverse
    context.fillStyle = COLOUR;
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "source-over";
  } else {
    stroke.points.forEach((_, index) => drawSegment(context, stroke, index));
  }
}

function drawSegment(context, { points, size, erases }, index) {
  const from = points[Math.max(0, index - 1)];
  context.globalCompositeOperation = erases ? "destination-out" : "source-over";
  context.strokeStyle = COLOUR;
  context.lineWidth = size;
  context.lineCap = "round";
  context.beginPath();
  context.moveTo(from.x, from.y);
  context.lineTo(points[index].x, points[index].y);
  context.stroke();
  context.globalCompositeOperation = "source-over";
}

/** The mask of an earlier request as a first stroke: its white painted, its black open. */
export async function strokeOfMask(blob) {
  const bitmap = await createImageBitmap(blob);
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const colour = [1, 3, 5].map((at) => parseInt(COLOUR.slice(at, at + 2), 16));
  for (let at = 0; at < pixels.data.length; at += 4) {
    pixels.data[at + 3] = pixels.data[at];
    pixels.data.set(colour, at);
  }
  context.putImageData(pixels, 0, 0);
  return context.canvas;
}

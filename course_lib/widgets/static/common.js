// What all explorers share. Python joins this file with one explorer's own file into
// a single ES module: nothing to bundle, nothing to download.

/** A DOM element; attributes that start with "on" are listeners, null is left out. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element. */
function shape(tag, attributes, text = "") {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

/** A plain box of a class, with what lies in it. */
const div = (name, ...parts) => element("div", { class: name }, ...parts);
const clip = (value, low, high) => Math.max(low, Math.min(high, value));
const ARROWS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** The card of an explorer: title, hint, body, and a line that is read aloud. */
function card(title, hint) {
  const status = element("div", { class: "iw-status", role: "status" });
  const body = element("div", { class: "iw-body" });
  const root = element(
    "section",
    { class: "iw-card", "aria-label": title, "data-state": "ready", "data-seq": "0" },
    element(
      "header",
      { class: "iw-head" },
      element("div", { class: "iw-title" }, title),
      element("div", { class: "iw-hint" }, hint),
    ),
    body,
    status,
  );
  const say = (text, tone = "") => {
    status.className = `iw-status ${tone}`;
    status.textContent = text;
  };
  keepKeys(root);
  return { root, body, say };
}

// The notebook has one-letter commands (x cuts the cell): none may fire from here.
function keepKeys(root) {
  root.addEventListener("keydown", (event) => {
    const command = event.ctrlKey || event.metaKey || event.altKey;
    const runsCell = event.key === "Enter" && event.shiftKey;
    if (!command && !runsCell && event.key !== "Escape") event.stopPropagation();
  });
}

/** A row of native radio buttons; `show(value)` ticks one without an event. */
function choice(name, options, onPick) {
  const inputs = new Map();
  const row = element("div", { role: "radiogroup", "aria-label": name });
  const group = `${name}-${Math.random()}`;
  for (const { value, label, testid } of options) {
    const input = element("input", {
      type: "radio",
      name: group,
      value,
      "data-testid": testid,
      onchange: () => onPick(value),
    });
    inputs.set(value, input);
    row.append(element("label", {}, input, label));
  }
  const show = (value) =>
    inputs.forEach((input, key) => (input.checked = key === value));
  return { row, show };
}

/** Sliders by name; `spoken(control, value)` is what one says beside itself. */
class Sliders {
  constructor(onMove, spoken) {
    this.onMove = onMove;
    this.spoken = spoken;
    this.parts = new Map();
    this.box = element("div", { class: "iw-sliders" });
  }

  list(controls) {
    this.parts.clear();
    for (const control of controls) {
      const input = element("input", {
        type: "range",
        class: "iw-range",
        min: control.low,
        max: control.high,
        step: control.step,
        "data-testid": control.name,
        oninput: () => {
          this.tell(control.name);
          this.onMove(control.name);
        },
      });
      const value = element("output", { class: "iw-value" });
      this.parts.set(control.name, { control, input, value });
    }
    this.box.replaceChildren(
      ...[...this.parts.values()].map(({ control, input, value }) =>
        element("label", { class: "iw-slider" }, control.label, input, value),
      ),
    );
  }

  tell(name, value = Number(this.parts.get(name).input.value)) {
    const { control, input, value: output } = this.parts.get(name);
    const text = this.spoken(control, value);
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
  }

  show(values) {
    for (const [name, { input }] of this.parts) {
      input.value = String(values[name]);
      this.tell(name, values[name]); // which may lie beyond the slider's ends
    }
  }

  get values() {
    const entries = [...this.parts].map(([name, { input }]) => [name, +input.value]);
    return Object.fromEntries(entries);
  }
}

/** Rows of a name and a text, and how a test finds the text. */
function showFacts(list, rows) {
  list.replaceChildren(
    ...rows.flatMap(([name, text]) => [
      element("dt", {}, name),
      element("dd", { "data-testid": `fact-${name.replaceAll(" ", "-")}` }, text),
    ]),
  );
}

/** Where a pointer is, in pixels of the picture that a canvas shows. */
function pointOf(event, canvas, width, height) {
  const place = canvas.getBoundingClientRect();
  const x = ((event.clientX - place.left) / place.width) * width;
  return [x, ((event.clientY - place.top) / place.height) * height];
}

const bytesOf = (view) =>
  view
    ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength)
    : new Uint8Array();

/** A canvas of the picture's own size from interleaved RGB bytes. */
function rgbCanvas(view, width, height) {
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  const rgb = bytesOf(view);
  for (let from = 0, to = 0; to < picture.data.length; from += 3, to += 4) {
    picture.data[to] = rgb[from];
    picture.data[to + 1] = rgb[from + 1];
    picture.data[to + 2] = rgb[from + 2];
    picture.data[to + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** Keep a canvas as sharp as the screen; calls `redraw` after each change of size. */
function keepSharp(canvas, redraw) {
  const fit = () => {
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    const { width, height } = canvas.getBoundingClientRect();
    const size = [Math.round(width * ratio), Math.round(height * ratio)];
    if (!size[0] || (canvas.width === size[0] && canvas.height === size[1])) return;
    [canvas.width, canvas.height] = size;
    redraw();
  };
  const observer = new ResizeObserver(fit);
  observer.observe(canvas);
  return () => observer.disconnect();
}

/** Calls `draw` once before the next frame, however often it is asked to. */
function oncePerFrame(draw) {
  let waiting = 0;
  const ask = () => {
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      draw();
    });
  };
  ask.stop = () => cancelAnimationFrame(waiting);
  return ask;
}

const holeLook = {
  glass: "rgba(22, 26, 38, 0.7)",
  stripe: "rgba(255, 255, 255, 0.42)",
};
const rimColour = "#ffb454";

/** Draw a hole (one byte a pixel, 1 = missing) as dark glass, hatched and rimmed. */
function drawHole(context, hole, width, height) {
  const { canvas } = context;
  const layer = element("canvas", { width: canvas.width, height: canvas.height });
  const pen = layer.getContext("2d");
  pen.imageSmoothingEnabled = false;
  pen.drawImage(alphaCanvas(hole, width, height), 0, 0, layer.width, layer.height);
  pen.globalCompositeOperation = "source-in";
  pen.fillStyle = holeLook.glass;
  pen.fillRect(0, 0, layer.width, layer.height);
  pen.globalCompositeOperation = "source-atop";
  hatch(pen);
  pen.globalCompositeOperation = "source-over";
  drawRim(pen, hole, width, height);
  context.drawImage(layer, 0, 0);
}

function alphaCanvas(hole, width, height) {
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let i = 0; i < hole.length; i++) picture.data[4 * i + 3] = hole[i] ? 255 : 0;
  context.putImageData(picture, 0, 0);
  return canvas;
}

function hatch(pen) {
  const { width, height } = pen.canvas;
  const gap = width / 44;
  pen.strokeStyle = holeLook.stripe;
  pen.lineWidth = width / 360;
  pen.beginPath();
  for (let x = -height; x < width; x += gap) {
    pen.moveTo(x, height);
    pen.lineTo(x + height, 0);
  }
  pen.stroke();
}

// The edges between a missing and a known pixel.
function drawRim(pen, hole, width, height) {
  const [sx, sy] = [pen.canvas.width / width, pen.canvas.height / height];
  pen.strokeStyle = rimColour;
  pen.lineWidth = Math.max(1, pen.canvas.width / 260);
  pen.beginPath();
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = hole[y * width + x];
      if (x + 1 < width && here !== hole[y * width + x + 1]) {
        pen.moveTo((x + 1) * sx, y * sy);
        pen.lineTo((x + 1) * sx, (y + 1) * sy);
      }
      if (y + 1 < height && here !== hole[(y + 1) * width + x]) {
        pen.moveTo(x * sx, (y + 1) * sy);
        pen.lineTo((x + 1) * sx, (y + 1) * sy);
      }
    }
  }
  pen.stroke();
}

function drawTicks(pen, x, y, radius, line) {
  for (const [dx, dy] of Object.values(ARROWS)) {
    const [near, far] = [radius + 3 * line, radius + 8 * line];
    pen.moveTo(x + dx * near, y + dy * near);
    pen.lineTo(x + dx * far, y + dy * far);
  }
}

/** Mark the pixel that is asked about: a yellow ring with four ticks. */
function drawQuery(pen, row, column, width) {
  const [scale, line] = [pen.canvas.width / width, pen.canvas.width / 360];
  const [x, y, radius] = [(column + 0.5) * scale, (row + 0.5) * scale, 5 * line];
  for (const [ink, thick] of [
    ["rgba(10, 12, 20, 0.85)", 4],
    ["#ffd84d", 2],
  ]) {
    pen.strokeStyle = ink;
    pen.lineWidth = thick * line;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    drawTicks(pen, x, y, radius - line, line);
    pen.stroke();
  }
}

/** A canvas from one RGBA colour a pixel: `colour(i)` gives it or null for clear. */
function paintedCanvas(width, height, colour) {
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const rgba = colour(i);
    if (rgba) picture.data.set(rgba, 4 * i);
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** The photo pale and dark, as the ground for something more important. */
function dimmedCanvas(view, width, height) {
  const rgb = bytesOf(view);
  return paintedCanvas(width, height, (i) => {
    const [r, g, b] = rgb.subarray(3 * i, 3 * i + 3);
    const grey = 0.3 * r + 0.59 * g + 0.11 * b;
    return [...[r, g, b].map((c) => 0.5 * (0.4 * c + 0.6 * grey) + 14), 255];
  });
}

/** A photo that asks about its pixels: press, drag, or move by the arrow keys. */
class PixelCanvas {
  constructor({ testid, label, onAsk }) {
    this.onAsk = onAsk; // (row, column), or nulls for the deepest pixel of the hole
    this.held = null; // the id of the pointer that asks now
    this.canvas = element("canvas", {
      class: "iw-canvas iw-field-view",
      tabindex: "0",
      role: "application",
      "aria-label": label,
      "data-testid": testid,
    });
    this.draw = oncePerFrame(() => this.drawNow());
    this.canvas.addEventListener("keydown", (event) => this.keyDown(event));
    this.listen();
  }

  /** Everything on show: `width`, `height`, `row`, `column`, and `paint(pen)`. */
  show(state) {
    Object.assign(this, state);
    this.canvas.style.aspectRatio = `${this.width} / ${this.height}`;
    this.draw();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.held !== null) return;
      this.grab(event);
      this.held = event.pointerId;
      this.askAt(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.held === event.pointerId) this.askAt(event);
    });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, () => (this.held = null));
    }
  }

  grab(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
  }

  point(event) {
    return pointOf(event, this.canvas, this.width, this.height);
  }

  askAt(event) {
    const [x, y] = this.point(event);
    this.ask(Math.floor(y), Math.floor(x));
  }

  ask(row, column) {
    const place = [clip(row, 0, this.height - 1), clip(column, 0, this.width - 1)];
    if (place[0] === this.row && place[1] === this.column) return;
    [this.row, this.column] = place;
    this.draw();
    this.onAsk(...place);
  }

  keyDown(event) {
    const step = ARROWS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!step && event.key !== "Home") return;
    event.preventDefault();
    if (step) this.step(step, event.shiftKey);
    else this.onAsk(null, null);
  }

  step([across, down], far) {
    const by = far ? 8 : 1;
    this.ask(this.row + by * down, this.column + by * across);
  }

  drawNow() {
    if (!this.paint || !this.canvas.width) return;
    const pen = this.canvas.getContext("2d");
    this.paint(pen);
    drawQuery(pen, this.row, this.column, this.width);
  }
}

/** Draw a picture over a whole canvas; `sharp` keeps its pixels square. */
function drawWhole(pen, picture, sharp = false) {
  pen.imageSmoothingEnabled = !sharp;
  pen.drawImage(picture, 0, 0, pen.canvas.width, pen.canvas.height);
}

/** One row of a field as an SVG chart: a bar a pixel, and where the asked one is. */
class RowChart {
  constructor(size, testid) {
    this.size = size; // width, height, left, right, top, base
    this.svg = shape("svg", {
      class: "iw-chart",
      viewBox: `0 0 ${size.width} ${size.height}`,
      role: "img",
      "data-testid": testid,
    });
  }

  /** Show the columns from `first` to before `last`. */
  zoom(first, last) {
    const { width, left, right } = this.size;
    Object.assign(this, { first, last, step: (width - left - right) / (last - first) });
  }

  x = (column) => this.size.left + (column - this.first) * this.step;
  y = (value) => this.size.base - value * (this.size.base - this.size.top);

  /** Lines across at `[value, text]`, and numbers of columns below. */
  axes(levels) {
    const { left, right, width, base } = this.size;
    const lines = levels.flatMap(([value, text]) => [
      shape("path", { class: "grid", d: `M${left} ${this.y(value)}H${width - right}` }),
      shape("text", { class: "scale", x: left - 6, y: this.y(value) + 3.5 }, text),
    ]);
    const columns = [0, 0.25, 0.5, 0.75, 1].map((share) => {
      const column = Math.round(this.first + share * (this.last - this.first - 1));
      return shape("text", { x: this.x(column + 0.5), y: base + 14 }, column);
    });
    const middle = { x: (left + width) / 2, y: base + 29 };
    return [...lines, ...columns, shape("text", middle, "column of the photo")];
  }

  bar(column, value, name, fill = "") {
    const place = { x: this.x(column), y: this.y(value) };
    const extent = { width: this.step, height: this.y(0) - this.y(value) };
    return shape("rect", { class: name, fill, ...place, ...extent });
  }

  /** A bar for each column on show, made by `make(column)`. */
  bars(make) {
    return Array.from({ length: this.last - this.first }, (_, n) => make(this.first + n));
  }

  marker(column) {
    const x = this.x(column + 0.5);
    const made = shape("g", { class: "marker" });
    made.append(
      shape("path", { class: "stem", d: `M${x} 16V${this.size.base}` }),
      shape("path", { class: "head", d: `M${x - 6} 4h12l-6 11z` }),
    );
    return made;
  }
}

/** `make(view, …)`, made again only when the bytes of a trait are others. */
function kept(make) {
  let [last, made] = [null, null];
  return (view, ...rest) => {
    if (view !== last) [last, made] = [view, make(view, ...rest)];
    return made;
  };
}

/** Float32 values of a binary trait, copied so that they are aligned. */
const floatsOf = (view) => new Float32Array(bytesOf(view).slice().buffer);

/**
 * Asks Python, one request at a time. `ask(kind, build)`: while a request is under way
 * only the newest of each kind waits, and `build` is called when it is sent, so work
 * that is no longer wanted is never queued.
 */
function asker(model, root, { onAnswer, onError, onWait }) {
  const view = Math.random().toString(36).slice(2);
  const waiting = new Map();
  let seq = 0;
  let current = null; // { seq, kind } of the request under way
  let timers = [];

  const send = (kind, build) => {
    const { binary = {}, ...rest } = build();
    current = { seq: ++seq, kind };
    root.dataset.state = "busy";
    root.dataset.busy = kind;
    timers = [200, 5000].map((ms) => setTimeout(() => onWait(kind, ms > 1000), ms));
    const request = { ...rest, kind, view, seq, binary: Object.keys(binary) };
    model.send(request, undefined, Object.values(binary));
  };
  const ask = (kind, build) => {
    if (current === null) send(kind, build);
    else waiting.set(kind, build);
  };
  const sendNext = () => {
    if (current !== null || !waiting.size) return;
    const [kind, build] = waiting.entries().next().value;
    waiting.delete(kind);
    send(kind, build);
  };
  const receive = (reply, buffers) => {
    if (reply.view !== view || reply.seq !== current?.seq) return;
    reply.kind = current.kind;
    current = null;
    timers.forEach(clearTimeout);
    root.dataset.busy = "";
    reply.binary.forEach((name, i) => (reply[name] = buffers[i]));
    root.dataset.state = reply.error ? "error" : "ready";
    if (reply.error) onError(reply.error, reply);
    else onAnswer(reply);
    sendNext();
    root.dataset.seq = String(reply.seq);
  };
  model.on("msg:custom", receive);
  const stop = () => {
    timers.forEach(clearTimeout);
    model.off("msg:custom", receive);
  };
  return { ask, stop, idle: () => current === null };
}

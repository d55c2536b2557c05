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
/** A column of a card below its caption, a text or several parts. */
const column = (caption, ...parts) =>
  div("iw-col", div("iw-cap", ...[caption].flat()), ...parts);
/** An entry of a legend; the sign of each class is in style.css. */
const key = (name, text) => element("span", { class: `iw-key ${name}` }, text);
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

/** The same as one bar of buttons. */
function segment(name, options, onPick) {
  const made = choice(name, options, onPick);
  made.row.className = "iw-seg";
  return made;
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

/**
 * Rows of a name, a bar and its number. `share` is the bar's length; `line` stands
 * across it, `below` draws it to the left of a middle, `more` is a second number.
 */
function showBars(box, rows) {
  box.replaceChildren(...rows.flatMap(barRow));
}

function barRow({ name, share, line, below, value, testid, more, now }) {
  const bar = element("span", { class: below ? "bar below" : "bar" });
  bar.style.setProperty("--weight", `${100 * share}%`);
  if (line !== undefined) bar.style.setProperty("--pixels", `${100 * line}%`);
  return [
    element("span", { class: now && "now" }, name),
    bar,
    element("b", { "data-testid": testid }, value),
    ...(more === undefined ? [] : [element("span", {}, more)]),
  ];
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
const YELLOW = "#ffd84d"; // what was asked
const TEAL = [22, 194, 176]; // what is read
const WRONG = [255, 107, 74];
const DARK = "rgba(10, 12, 20, 0.85)"; // the rim of each sign

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

/**
 * The card of an explorer, kept in step with Python. A subclass writes `build`, which
 * makes the parts and fills `this.body`, and `showAll`, which shows what Python says
 * now; after an error it shows the last good state again.
 */
class Explorer {
  constructor(model, el, hint) {
    this.model = model;
    this.stops = [];
    Object.assign(this, card(model.get("title"), hint));
    this.asker = asker(model, this.root, {
      onAnswer: (reply) => this.answered(reply),
      onError: (text) => {
        this.showAll();
        this.say(text, "bad");
      },
      onWait: (_, long) => long && this.say("Still waiting for Python.", "wait"),
    });
    this.build();
    el.append(this.root);
    this.showAll();
    const onShown = () => this.asker.idle() && this.showAll();
    model.on("change:shown", onShown);
    this.stops.push(this.asker.stop, () => model.off("change:shown", onShown));
  }

  /** Python has answered; `reply.kind` is what was asked. */
  answered() {
    this.showAll();
  }

  /** The facts on show, as Python wrote them. */
  get shown() {
    return this.model.get("shown");
  }

  /** Ask Python; of each kind only the newest waits while it answers. */
  ask(kind, values = {}) {
    this.asker.ask(kind, () => values);
  }

  /** Keep `view.canvas` sharp; `view.draw` comes from `oncePerFrame`. */
  watch(view) {
    this.stops.push(keepSharp(view.canvas, () => view.drawNow()), view.draw.stop);
    return view;
  }

  /** Write facts on the card, where a test and a style find them. */
  mark(facts) {
    for (const [name, value] of Object.entries(facts))
      this.root.dataset[name] = String(value);
  }

  stop() {
    this.stops.forEach((stop) => stop());
  }
}

/** What a module of an explorer exports. */
const shownBy = (Kind, hint) => ({
  render({ model, el }) {
    const explorer = new Kind(model, el, hint);
    return () => explorer.stop();
  },
});

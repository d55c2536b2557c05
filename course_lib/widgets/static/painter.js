// The hole painter: a picture to paint a hole on, and what a fill makes of it.

const HINT =
  "Paint over what should disappear. Keys: arrows move, Space paints, " +
  "[ ] brush size, Ctrl+Z undo.";
const NOTES = {
  empty: "No hole yet: this is the original",
  full: "Nothing is known: leave some of the photo",
  open: "Not filled yet",
  filled: "",
};

/** The filled picture, with a line that wipes the original over it. */
class ResultCanvas {
  constructor({ onWipe }) {
    this.share = 0; // how much of the width shows the original
    this.canvas = element("canvas", {
      class: "iw-canvas iw-result",
      role: "img",
      "aria-label": "The filled photo",
      "data-testid": "result-view",
    });
    this.note = element("div", { class: "iw-note" });
    this.bar = element("div", { class: "iw-progress", "aria-hidden": "true" });
    this.frame = element(
      "div",
      { class: "iw-frame" },
      this.canvas,
      this.note,
      this.bar,
    );
    this.draw = oncePerFrame(() => this.drawNow());
    const drag = (event) => {
      if (!(event.buttons & 1)) return;
      const box = this.canvas.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      onWipe(clip(share, 0, 1));
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      drag(event);
    });
    this.canvas.addEventListener("pointermove", drag);
  }

  show(original, filled) {
    Object.assign(this, { original, filled });
    this.canvas.style.aspectRatio = `${filled.width} / ${filled.height}`;
    this.draw();
  }

  wipe(share) {
    this.share = share;
    this.draw();
  }

  drawNow() {
    const { width, height } = this.canvas;
    if (!this.filled || !width) return;
    const pen = this.canvas.getContext("2d");
    const line = Math.round(this.share * width);
    pen.drawImage(this.filled, 0, 0, width, height);
    if (this.share === 0) return;
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, line, height);
    pen.clip();
    pen.drawImage(this.original, 0, 0, width, height);
    pen.restore();
    this.drawDivider(pen, line);
  }

  drawDivider(pen, line) {
    const unit = this.canvas.width / 360;
    pen.fillStyle = "rgba(10, 12, 20, 0.55)";
    pen.fillRect(line - 2 * unit, 0, 4 * unit, this.canvas.height);
    pen.fillStyle = "#ffffff";
    pen.fillRect(line - unit, 0, 2 * unit, this.canvas.height);
    pen.font = `600 ${12 * unit}px system-ui, sans-serif`;
    pen.textBaseline = "top";
    for (const [text, align, side] of [
      ["original", "right", -1],
      ["filled", "left", 1],
    ]) {
      const room = side < 0 ? line : this.canvas.width - line;
      if (room < 70 * unit) continue;
      pen.textAlign = align;
      pen.lineWidth = 3 * unit;
      pen.strokeStyle = "rgba(10, 12, 20, 0.75)";
      pen.strokeText(text, line + side * 9 * unit, 9 * unit);
      pen.fillText(text, line + side * 9 * unit, 9 * unit);
    }
  }
}

/** What every fill makes of the hole, side by side; closed until it is wanted. */
class Comparison {
  constructor({ onPick, onOpen }) {
    this.onPick = onPick;
    this.tiles = new Map();
    this.stale = new Set();
    this.grid = element("div", { class: "iw-tiles" });
    const about =
      "The same hole, every fill. PSNR inside the hole: more dB is closer to the " +
      "original, pixel by pixel.";
    this.box = element(
      "details",
      { class: "iw-compare", "data-testid": "compare", ontoggle: onOpen },
      element("summary", {}, "Compare all fills"),
      element("div", { class: "iw-hint" }, about),
      this.grid,
    );
  }

  get open() {
    return this.box.open;
  }

  list(labels) {
    this.tiles.clear();
    for (const label of labels) {
      const canvas = element("canvas", { class: "iw-canvas" });
      const value = element("span", { class: "iw-value" }, "–");
      const tile = element(
        "button",
        {
          type: "button",
          class: "iw-tile",
          "data-testid": `tile-${label}`,
          onclick: () => this.onPick(label),
        },
        canvas,
        element("span", { class: "iw-name" }, spoken(label)),
        value,
      );
      this.tiles.set(label, { tile, canvas, value });
    }
    this.grid.replaceChildren(...[...this.tiles.values()].map(({ tile }) => tile));
    this.expire();
  }

  /** Everything on show is out of date: the next answers replace it one by one. */
  expire() {
    this.stale = new Set(this.tiles.keys());
    for (const { tile } of this.tiles.values()) tile.classList.add("stale");
  }

  choose(label) {
    this.tiles.forEach(({ tile }, key) =>
      tile.setAttribute("aria-pressed", String(key === label)),
    );
  }

  next() {
    return this.open ? this.stale.values().next().value : undefined;
  }

  show(label, picture, psnr) {
    const { canvas } = this.tiles.get(label);
    [canvas.width, canvas.height] = [picture.width, picture.height];
    canvas.getContext("2d").drawImage(picture, 0, 0);
    this.settle(label, psnr === undefined ? "–" : `${psnr.toFixed(1)} dB`);
  }

  fail(label) {
    this.settle(label, "failed");
  }

  settle(label, text) {
    const { tile, value } = this.tiles.get(label);
    this.stale.delete(label);
    tile.classList.remove("stale");
    value.textContent = text;
  }
}

/** The whole card: joins the parts, and keeps them in step with Python. */
class Painter {
  constructor(model, el) {
    this.model = model;
    this.wanted = { photo: null, run: false }; // what the next request will ask for
    Object.assign(this, card(model.get("title"), HINT));
    this.makeParts();
    this.makeTools();
    this.makeResultTools();
    this.layOut();
    el.append(this.root);
    this.root.addEventListener("keydown", (event) => this.keyDown(event));
    this.asker = asker(model, this.root, {
      onAnswer: (reply) => this.answered(reply),
      onError: (text, reply) => this.failed(text, reply),
      onWait: (kind, long) => this.waiting(kind, long),
    });
    this.upload = new Upload(model, this.asker, this.say);
    this.follow();
  }

  // ---- the parts ----

  makeParts() {
    this.editor = new BrushCanvas({
      onStroke: () => this.painted(),
      onMove: (x, y) => this.say(`Brush at x ${Math.round(x)}, y ${Math.round(y)}.`),
    });
    this.result = new ResultCanvas({ onWipe: (share) => this.wipe(share) });
    this.photos = new PhotoStrip({
      onPick: (label) => this.pickPhoto(label),
      onFile: (file) => this.upload.start(file),
    });
    this.comparison = new Comparison({
      onPick: (label) => this.pickFill(label),
      onOpen: () => this.askTile(),
    });
  }

  makeTools() {
    const tools = [
      { value: "brush", label: "Brush", testid: "brush-tool" },
      { value: "eraser", label: "Eraser", testid: "eraser" },
    ];
    const pick = (value) => (this.editor.erasing = value === "eraser");
    this.tool = choice("tool", tools, pick);
    this.tool.row.className = "iw-seg";
    this.tool.show("brush");
    this.size = slider("brush size", BRUSH, "brush", (value) => this.setBrush(value));
    this.sizeText = element("span", { class: "iw-value" });
    this.undo = button("Undo", "undo", () => this.editor.undo());
    this.redo = button("Redo", "redo", () => this.editor.redo());
    this.clear = button("Clear", "clear", () => this.editor.clear());
  }

  makeResultTools() {
    const onchange = () => this.pickFill(this.fill.value);
    this.fill = element("select", {
      class: "iw-select",
      "data-testid": "fill",
      onchange,
    });
    const label = "share of the width that shows the original, in percent";
    const percent = { min: 0, max: 100 };
    this.cut = slider(label, percent, "wipe", (value) => this.wipe(value / 100));
    this.cut.value = "0";
    this.live = element("input", {
      type: "checkbox",
      "data-testid": "live",
      onchange: () => this.setLive(this.live.checked),
    });
    this.run = button("Fill the hole", "run", () => this.askShow(true));
    this.run.classList.add("main");
  }

  layOut() {
    const label = (name, ...parts) => element("label", { class: name }, ...parts);
    const left = div(
      "iw-col",
      div("iw-cap", "Your hole"),
      div("iw-frame", this.editor.canvas),
      div("iw-row", this.tool.row, label("iw-field", "Size", this.size, this.sizeText)),
      div("iw-row", this.undo, this.redo, this.clear),
    );
    const right = div(
      "iw-col",
      div("iw-cap", "Result", label("iw-field", "filled by", this.fill)),
      this.result.frame,
      div("iw-row", label("iw-field iw-cut", "filled", this.cut, "original")),
      div("iw-row", label("iw-check", this.live, "fill after every stroke"), this.run),
    );
    this.body.append(this.photos.row, div("iw-pair", left, right), this.comparison.box);
  }

  // ---- following Python ----

  follow() {
    const { model } = this;
    const handlers = {
      "change:thumbnails": () => this.showPhotos(),
      "change:fill_labels": () => this.showFills(),
      "change:image_bytes": () => this.showImage(),
      "change:filled_bytes": () => this.showFilled(),
      "change:hole_bytes": () => this.showHole(),
      "change:photo": () => this.showChoices(),
      "change:fill": () => this.showChoices(),
      "change:status": () => this.showStatus(),
      "change:stage": () => this.showStatus(),
      "change:brush": () => this.showBrush(),
      "change:live": () => this.showLive(),
    };
    Object.values(handlers).forEach((handler) => handler());
    Object.entries(handlers).forEach(([name, handler]) => model.on(name, handler));
    const stops = [
      ...Object.entries(handlers).map(
        ([name, handler]) =>
          () =>
            model.off(name, handler),
      ),
      keepSharp(this.editor.canvas, () => this.editor.drawNow()),
      keepSharp(this.result.canvas, () => this.result.drawNow()),
      this.asker.stop,
      this.editor.draw.stop,
      this.result.draw.stop,
      () => this.photos.stop(),
    ];
    this.stop = () => stops.forEach((stop) => stop());
  }

  showPhotos() {
    this.photos.list(this.model.get("photo_labels"), this.model.get("thumbnails"));
    this.showChoices();
  }

  showFills() {
    const labels = this.model.get("fill_labels");
    const options = labels.map((value) => element("option", { value }, spoken(value)));
    this.fill.replaceChildren(...options);
    this.comparison.list(labels);
    this.showChoices();
  }

  showChoices() {
    if (!this.asker.idle()) return; // the reader may have chosen something else by now
    this.photos.show(this.model.get("photo"));
    this.fill.value = this.model.get("fill");
    this.comparison.choose(this.fill.value);
  }

  showImage() {
    const [width, height] = [this.model.get("width"), this.model.get("height")];
    this.picture = rgbCanvas(this.model.get("image_bytes"), width, height);
    this.editor.setPicture(this.picture);
    this.comparison.expire();
    this.showFilled();
  }

  showFilled() {
    const { width, height } = this.picture;
    const filled = rgbCanvas(this.model.get("filled_bytes"), width, height);
    this.result.show(this.picture, filled);
  }

  showHole() {
    this.comparison.expire();
    if (this.asker.idle()) this.editor.adopt(bytesOf(this.model.get("hole_bytes")));
    this.showHistory();
    if (this.asker.idle()) this.askTile();
  }

  showHistory() {
    const { editor } = this;
    const count = editor.count();
    this.root.dataset.hole = String(count);
    this.undo.disabled = !editor.done.length;
    this.redo.disabled = !editor.undone.length;
    this.clear.disabled = !count;
  }

  showStatus() {
    const stage = this.model.get("stage");
    this.root.dataset.stage = stage;
    this.result.note.textContent = NOTES[stage];
    this.say(this.model.get("status"));
  }

  showBrush() {
    const brush = this.model.get("brush");
    this.editor.brush = brush;
    this.size.value = String(brush);
    this.sizeText.textContent = `${brush} px`;
    this.editor.draw();
  }

  showLive() {
    this.live.checked = this.model.get("live");
    this.run.classList.toggle("iw-away", this.live.checked);
  }

  // ---- what the reader does ----

  painted() {
    this.showHistory();
    this.comparison.expire();
    this.askShow();
  }

  pickPhoto(label) {
    this.wanted.photo = label;
    this.askShow();
  }

  pickFill(label) {
    this.fill.value = label;
    this.comparison.choose(label);
    this.askShow(true);
  }

  setBrush(brush) {
    this.model.set("brush", clip(brush, BRUSH.min, BRUSH.max));
    this.model.save_changes();
    this.editor.showBrush();
  }

  setLive(live) {
    this.model.set("live", live);
    this.model.save_changes();
    if (live) this.askShow();
  }

  wipe(share) {
    this.cut.value = String(Math.round(100 * share));
    this.result.wipe(share);
  }

  keyDown(event) {
    const command = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (command && key === "z" && event.shiftKey) this.editor.redo();
    else if (command && key === "y") this.editor.redo();
    else if (command && key === "z") this.editor.undo();
    else if (!command && key === "[") this.setBrush(this.editor.brush - BRUSH.step);
    else if (!command && key === "]") this.setBrush(this.editor.brush + BRUSH.step);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // ---- asking Python, and its answers ----

  /** Ask for the state on show here: hole, fill, and a photo if one was picked. */
  askShow(run = this.live.checked) {
    this.wanted.run ||= run;
    this.asker.ask("show", () => {
      const { photo, run } = this.wanted;
      this.wanted = { photo: null, run: false };
      const binary = { hole: this.editor.hole.slice() };
      return { photo, run, fill: this.fill.value, binary };
    });
  }

  askTile() {
    const fill = this.comparison.next();
    if (fill !== undefined && this.asker.idle())
      this.asker.ask("compare", () => ({ fill }));
  }

  answered(reply) {
    if (reply.kind === "upload" && this.upload.next()) return;
    if (reply.kind === "compare") this.showTile(reply);
    else this.showStatus();
    this.showChoices();
    this.askTile();
  }

  showTile({ fill, picture, psnr }) {
    const { width, height } = this.picture;
    const fits = bytesOf(picture).length === 3 * width * height;
    if (fits) this.comparison.show(fill, rgbCanvas(picture, width, height), psnr);
  }

  failed(text, reply) {
    if (reply.kind === "compare") this.comparison.fail(this.comparison.next());
    else this.showStatus();
    this.say(text, "bad");
    this.showChoices();
    this.askTile();
  }

  waiting(kind, long) {
    if (kind !== "show") return;
    const text = long
      ? "Still waiting: the kernel may be running a cell."
      : `Filling with ${spoken(this.fill.value)} …`;
    this.say(text, "wait");
  }
}

function render({ model, el }) {
  const painter = new Painter(model, el);
  return () => painter.stop();
}

export default { render };

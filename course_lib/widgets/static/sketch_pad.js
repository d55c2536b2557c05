// The sketch pad: lines drawn into a hole, and what each network makes of them.

const SKETCH_HINT =
  "Draw a line into the hole: it says where an edge should be, no colour. Keys on the " +
  "photo: arrows move the pen by 1 pixel, with Shift by 8, Space puts it down and lifts " +
  "it, Ctrl+Z undoes.";
const PEN_LABEL =
  "Photo with a hole to draw into. Arrow keys move the pen, with Shift by eight pixels; " +
  "Space puts it down and lifts it.";
const LAYERS = [
  { value: "lines", label: "Lines", testid: "layer-lines" },
  { value: "hole", label: "Hole", testid: "layer-hole" },
];
const TOOLS = [
  { value: "draw", label: "Draw", testid: "tool-draw" },
  { value: "erase", label: "Erase", testid: "tool-erase" },
];
const HOLE_BRUSH = { min: 2, max: 40, step: 2 };
const RUBBER = 7; // pixels across; a pen is one
const LIVE = 350; // ms between two questions while the pen is down, at least
const [MISSING, DRAWN, GIVEN] = [1, 2, 4]; // the bits of a pixel

/** The photo to draw on: lines and hole are bits of one layer, with one history. */
class SketchCanvas extends BrushCanvas {
  constructor({ onPaint, ...parts }) {
    super({ ...parts, testid: "sketch-view", label: PEN_LABEL });
    this.onPaint = onPaint;
    this.steps = [1, 8];
    this.width = this.height = 0;
    this.layer = "lines";
    this.holeBrush = 14;
  }

  get brush() {
    if (this.layer === "hole") return this.holeBrush;
    return this.erasing ? RUBBER : 1;
  }

  set brush(size) {
    this.holeBrush = size;
  }

  /** One byte a pixel: 1 = missing. */
  get missing() {
    return this.hole.map((bits) => bits & MISSING);
  }

  /** One byte a pixel: 1 = drawn, 2 = an edge of the hidden photo. */
  get sketch() {
    return this.hole.map((bits) => bits >> 1);
  }

  take(missing, sketch) {
    this.adopt(missing.map((bit, i) => bit | (sketch[i] << 1)));
  }

  /** Another photo: what was done to the one before cannot be undone on it. */
  forget() {
    this.done.length = this.undone.length = 0;
  }

  count() {
    const bits = this.layer === "hole" ? MISSING : DRAWN | GIVEN;
    return this.hole.reduce((sum, value) => sum + ((value & bits) > 0), 0);
  }

  clear() {
    if (!this.count()) return;
    this.remember();
    const kept = this.layer === "hole" ? DRAWN | GIVEN : MISSING;
    this.hole = this.hole.map((bits) => bits & kept);
    this.changed();
  }

  mark(pixel) {
    const bits = this.hole[pixel];
    if (this.layer === "hole")
      this.hole[pixel] = this.erasing ? bits & ~MISSING : bits | MISSING;
    else if (this.erasing) this.hole[pixel] = bits & MISSING;
    else if (!(bits & GIVEN)) this.hole[pixel] = bits | DRAWN;
  }

  paint(a, b) {
    if (this.layer === "lines" && !this.erasing) this.line(this.cell(a), this.cell(b));
    else super.paint(a, b);
    this.draw();
    this.onPaint();
  }

  /** The pixel of a point; the far border of the photo belongs to its last pixel. */
  cell([x, y]) {
    const { width, height } = this;
    return [x === width ? width - 1 : Math.floor(x), y === height ? height - 1 : Math.floor(y)];
  }

  // One pixel for each step along the longer axis: as thin as the edges of the training.
  line([x0, y0], [x1, y1]) {
    const steps = Math.max(Math.abs(x1 - x0), Math.abs(y1 - y0));
    for (let k = 0; k <= steps; k++) {
      const share = steps ? k / steps : 0;
      const x = Math.round(x0 + share * (x1 - x0));
      const y = Math.round(y0 + share * (y1 - y0));
      if (x >= 0 && x < this.width && y >= 0 && y < this.height)
        this.mark(y * this.width + x);
    }
  }

  moveTo(point) {
    this.travelled = true;
    super.moveTo(point);
  }

  /** Space held while moving draws like a held button; pressed alone it stays down. */
  pressKey(point) {
    if (this.stroke === "keys") this.finish("keys");
    else super.pressKey(point);
    this.travelled = false;
  }

  liftKey() {
    if (this.travelled) this.finish("keys");
  }

  hideCursor() {
    if (document.activeElement !== this.canvas) super.hideCursor();
  }

  drawPainted(pen) {
    const { width, height, hole } = this;
    drawHole(pen, this.missing, width, height);
    drawWhole(pen, paintedCanvas(width, height, (i) => this.ink(hole[i], i)), true);
    pen.imageSmoothingEnabled = true; // of the photo, which is drawn first next time
  }

  // Outside the hole a line is dotted and pale: it does not count.
  ink(bits, pixel) {
    if (!(bits & (DRAWN | GIVEN))) return null;
    const colour = bits & GIVEN ? [255, 255, 255] : [255, 216, 77];
    if (bits & MISSING) return [...colour, 255];
    const odd = (pixel + Math.floor(pixel / this.width)) % 2;
    return odd ? [10, 12, 20, 120] : [...colour, 190];
  }
}

/** One network: its fill without and with the lines, and how good both are. */
class FillRow {
  constructor(name, number) {
    this.name = name;
    this.sides = ["without", "with"].map((side) => ({
      side,
      canvas: element("canvas", {
        class: "iw-canvas",
        role: "img",
        "data-testid": `${side}-${number}`,
      }),
      facts: element("span", { "data-testid": `facts-${side}-${number}` }),
    }));
    this.box = div(
      "iw-fills",
      div("iw-network", "network ", element("b", {}, name)),
      ...this.sides.map(({ canvas }) => canvas),
      ...this.sides.map(({ facts }) => facts),
    );
  }

  show(pictures, scores) {
    this.sides.forEach(({ side, canvas, facts }, k) => {
      const { l1, met } = scores[side];
      [canvas.width, canvas.height] = [pictures[k].width, pictures[k].height];
      canvas.getContext("2d").drawImage(pictures[k], 0, 0);
      canvas.style.aspectRatio = `${canvas.width} / ${canvas.height}`;
      const told = [`hole L1 ${l1 === null ? "–" : l1.toFixed(3)}`];
      if (met !== null) told.push(`lines met ${Math.round(100 * met)} %`);
      facts.replaceChildren(...told.map((text) => element("span", {}, text)));
      const label = `Filled by ${this.name} ${side} the lines: ${told.join(", ")}`;
      canvas.setAttribute("aria-label", label);
    });
  }
}

/** The whole card. */
class SketchPad extends PixelExplorer {
  build() {
    this.photo = null; // one that was picked and not asked for yet
    this.dirty = false; // drawn, and not sent yet
    this.upload = new Upload(this.model, this.asker, this.say);
    this.picture = kept(rgbCanvas);
    this.makeEditor();
    this.makeTools();
    this.layOut();
    this.root.addEventListener("keydown", (event) => this.keyDown(event));
    const onPhotos = () => this.showPhotos();
    this.model.on("change:thumbnails", onPhotos);
    this.stops.push(
      () => this.model.off("change:thumbnails", onPhotos),
      () => this.photos.stop(),
      () => clearTimeout(this.timer),
    );
    this.showPhotos();
  }

  makeEditor() {
    this.editor = this.watch(
      new SketchCanvas({
        onStroke: () => this.drawn(),
        onPaint: () => this.painting(),
        onMove: () => this.tellPen(),
      }),
    );
    this.photos = new PhotoStrip({
      onPick: (label) => this.pickPhoto(label),
      onFile: (file) => this.upload.start(file),
    });
    this.rows = this.model.get("labels").map((name, k) => new FillRow(name, k));
  }

  makeTools() {
    const { editor } = this;
    this.layers = segment("what to draw", LAYERS, (layer) => this.pickLayer(layer));
    this.tools = segment("tool", TOOLS, (tool) => {
      editor.erasing = tool === "erase";
      editor.draw();
    });
    this.size = slider("brush size", HOLE_BRUSH, "brush", (size) => {
      editor.brush = size;
      this.sizeText.textContent = `${size} px`;
      editor.showBrush();
    });
    this.size.value = String(editor.holeBrush);
    this.sizeText = element("span", { class: "iw-value" }, `${editor.holeBrush} px`);
    this.undo = button("Undo", "undo", () => this.travel(() => editor.undo()));
    this.redo = button("Redo", "redo", () => this.travel(() => editor.redo()));
    this.clear = button("Clear", "clear", () => this.travel(() => editor.clear()));
    this.edges = button("Edges of the photo", "edges", () => this.ask("edges"));
    this.edges.title =
      "Draws the true edges of what is hidden: a condition, not an inpainting result";
  }

  layOut() {
    const part = (name, ...parts) => element("label", { class: name }, ...parts);
    this.brushBox = part("iw-field", "Size", this.size, this.sizeText);
    this.own = key("drawn", "");
    this.given = key("given", "");
    this.outside = key("faded", "");
    const left = column(
      ["Your lines", this.layers.row],
      this.editor.canvas,
      div("iw-row", this.tools.row, this.edges, this.brushBox),
      div("iw-row", this.undo, this.redo, this.clear),
    );
    const about =
      "Hole L1: mean error against what the hole hides, 0 is equal. Lines met: of the " +
      "line pixels that count, those with an edge of the fill at most 2 pixels away.";
    const names = ["Without the lines", "With the lines"];
    const heads = div("iw-cap iw-heads", ...names.map((name) => element("span", {}, name)));
    heads.append(div("iw-progress"));
    const rows = this.rows.map(({ box }) => box);
    const right = div("iw-col", heads, ...rows, div("iw-hint", about));
    const keys = div("iw-keys iw-lines", this.own, this.given, this.outside);
    left.append(keys);
    this.body.append(this.photos.row, div("iw-pair", left, right));
    this.layers.show("lines");
    this.tools.show("draw");
    this.pickLayer("lines");
  }

  // ---- following Python ----

  showPhotos() {
    this.photos.list(this.model.get("photo_labels"), this.model.get("thumbnails"));
    this.photos.show(this.model.get("photo"));
  }

  answered({ kind }) {
    if (kind === "upload" && this.upload.next()) return;
    this.showAll();
  }

  showAll() {
    const { model, editor, width, height, shown } = this;
    const photo = model.get("photo");
    editor.setPicture(this.picture(model.get("image_bytes"), width, height));
    if (!this.dirty) editor.take(this.hole, bytesOf(model.get("sketch_bytes")));
    if (this.root.dataset.photo !== photo) editor.forget();
    if (this.photo === null) this.photos.show(photo);
    const pictures = model.get("fills_bytes").map((view) => rgbCanvas(view, width, height));
    this.rows.forEach((row, k) =>
      row.show(pictures.slice(2 * k, 2 * k + 2), shown.networks[k]),
    );
    this.showCounts();
    this.showHistory();
    if (editor.stroke !== "keys") this.say(`${shown.told} Filled in ${Math.round(shown.ms)} ms.`);
    const { counted, given, outside, hole } = shown;
    this.mark({ photo, counted, given, outside, hole });
  }

  showCounts() {
    const { counted, given, outside } = this.shown;
    const pixels = (count) => (count === 1 ? "1 px" : `${count} px`);
    this.own.textContent = `${pixels(counted - given)} drawn by you`;
    this.given.textContent =
      `${pixels(given)} are edges of the hidden photo: given as a condition, so this ` +
      "is no inpainting result";
    this.outside.textContent = `${pixels(outside)} outside the hole: do not count`;
    this.given.classList.toggle("iw-hidden", !given);
    this.outside.classList.toggle("iw-hidden", !outside);
  }

  showHistory() {
    const { editor } = this;
    this.undo.disabled = !editor.done.length;
    this.redo.disabled = !editor.undone.length;
    this.clear.disabled = !editor.count();
  }

  // ---- what the reader does ----

  pickLayer(layer) {
    this.editor.layer = layer;
    this.edges.classList.toggle("iw-hidden", layer === "hole");
    this.brushBox.classList.toggle("iw-hidden", layer === "lines");
    this.clear.textContent = layer === "hole" ? "Clear the hole" : "Clear lines";
    this.editor.draw();
    if (this.editor.hole) this.showHistory();
  }

  pickPhoto(label) {
    this.photo = label;
    this.askShow();
  }

  /** A stroke goes on: ask now and then, so that the fill follows the pen. */
  painting() {
    this.dirty = true;
    // Python answers one at a time: what is asked now, the end of the stroke waits for
    const pace = Math.max(LIVE, 2 * this.shown.ms);
    this.timer ??= setTimeout(() => {
      this.live = true;
      this.askShow();
    }, pace);
  }

  drawn() {
    const asked = this.live && this.isSent();
    this.live = false;
    this.showHistory();
    this.dirty = !asked;
    if (!asked) this.askShow();
    else this.forgetTimer();
  }

  /** Whether Python was asked about just what is drawn now. */
  isSent() {
    const { photo, editor, sent } = this;
    if (photo !== null || !sent) return false;
    return same(sent.hole, editor.missing) && same(sent.sketch, editor.sketch);
  }

  forgetTimer() {
    clearTimeout(this.timer);
    this.timer = null;
  }

  travel(act) {
    this.editor.finish("keys");
    act();
  }

  askShow() {
    this.forgetTimer();
    this.asker.ask("show", () => {
      const { photo, editor } = this;
      this.photo = null;
      this.dirty = false;
      this.sent = { hole: editor.missing, sketch: editor.sketch };
      return { photo, binary: this.sent };
    });
  }

  tellPen() {
    const { editor } = this;
    const [x, y] = editor.cell(editor.cursor);
    const inside = editor.hole[y * editor.width + x] & MISSING;
    const down = editor.stroke === "keys" ? ", down" : "";
    const where = inside ? "in the hole" : "outside the hole";
    this.say(`Pen at row ${y}, column ${x}, ${where}${down}.`);
  }

  keyDown(event) {
    const command = event.ctrlKey || event.metaKey;
    const name = event.key.toLowerCase();
    if (event.key === "Escape" && this.editor.stroke === "keys") this.editor.finish("keys");
    else if (command && ((name === "z" && event.shiftKey) || name === "y"))
      this.travel(() => this.editor.redo());
    else if (command && name === "z") this.travel(() => this.editor.undo());
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

export default shownBy(SketchPad, SKETCH_HINT);

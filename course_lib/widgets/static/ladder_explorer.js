// The ladder explorer: one hole, every fill; one click, five answers.

const LADDER_HINT =
  "Paint a hole: every network fills it. Then click a pixel: five kinds of layer answer " +
  "the same question, each in its own way.";
const PAINT_KEYS =
  "Photo to paint the hole on. Arrow keys move the brush, Space paints, square brackets " +
  "change its size, Control and Z take back.";
const MARGIN = 4; // pixels around a window that are drawn with it
const FAINTEST = 1e-4; // the share that is just not seen; the scale is logarithmic
const SOURCES = 3; // whose shares are written beside them
const CLOSED = [22, 26, 38];
const BRUSH_FIRST = 14;

const errorText = (error) => error.toFixed(4);
const shareText = (share) => `${Math.round(100 * share)} %`;

/** A fill in the strip: a button that shows it large, with its error below. */
class FillTile {
  constructor(label, onPick) {
    this.label = label;
    this.picture = null;
    this.canvas = element("canvas", { class: "iw-canvas", "aria-hidden": "true" });
    this.bar = div("iw-error-bar");
    this.value = element("span", { class: "iw-value" });
    this.button = element(
      "button",
      {
        type: "button",
        class: "iw-tile stale",
        "data-testid": `tile-${label}`,
        "aria-pressed": "false",
        onclick: () => onPick(label),
      },
      this.canvas,
      element("span", { class: "iw-best", "aria-hidden": "true" }, "★ best"),
      this.bar,
      element("span", { class: "iw-name" }, label.replace("+ ", "+\u00a0")),
      this.value,
    );
    this.turn = -1; // of the hole that the picture belongs to
  }

  expire() {
    this.button.classList.add("stale");
    this.mark(false);
  }

  /** The part of a picture that lies around the hole. */
  show(picture, [top, left, height, width], turn) {
    Object.assign(this, { picture, turn });
    [this.canvas.width, this.canvas.height] = [width, height];
    const pen = this.canvas.getContext("2d");
    pen.drawImage(picture, left, top, width, height, 0, 0, width, height);
    this.button.classList.remove("stale");
  }

  tell(text, error) {
    this.error = error;
    this.value.textContent = text;
  }

  fail(turn) {
    this.turn = turn;
    this.tell("failed", null);
  }

  /** How long its bar is beside the worst, and whether it is the best. */
  mark(best, worst) {
    const { error } = this;
    const share = worst && error !== null ? error / worst : 0;
    this.bar.style.setProperty("--weight", `${100 * share}%`);
    this.button.classList.toggle("best", best);
    const told = error === null || error === undefined ? "" : errorText(error);
    if (told) this.value.textContent = told;
    const spoken = told ? `, error ${told}${best ? ", the smallest" : ""}` : "";
    this.button.setAttribute("aria-label", `${this.label}${spoken}. Show it large.`);
  }
}

/** One of the five: who answers, a picture, the answer in short and as a sentence. */
class AnswerCard {
  constructor({ kind, layer, lesson, verb }, explorer) {
    Object.assign(this, { kind, layer, explorer });
    this.canvas = element("canvas", {
      class: "iw-canvas",
      role: "img",
      "data-testid": `answer-${kind}`,
    });
    this.draw = oncePerFrame(() => this.drawNow());
    explorer.watch(this);
    this.canvas.addEventListener("click", (event) => this.clicked(event));
    this.extra = div("iw-extra");
    this.short = element("b", { "data-testid": `short-${kind}` });
    this.says = element("p", { "data-testid": `says-${kind}` });
    const where = element("span", { class: "iw-lesson" }, ` · lesson ${lesson}`);
    this.who = element("span", { class: "iw-hint", title: `Lesson ${lesson}` }, layer, where);
    this.box = element(
      "article",
      { class: "iw-answer", "aria-label": layer },
      element("h4", {}, verb),
      this.who,
      this.canvas,
      this.extra,
      this.short,
      this.says,
    );
  }

  /** An answer as Python gave it; undefined when no rung has such a layer. */
  show(answer, ready) {
    this.answer = answer;
    this.box.classList.toggle("stale", !answer);
    const none = "None of these networks has such a layer.";
    this.short.textContent = answer ? answer.short : "–";
    this.says.textContent = answer ? answer.says : ready ? none : "…";
    const told = `${this.layer}: ${this.short.textContent}. ${this.says.textContent}`;
    this.canvas.setAttribute("aria-label", told);
    this.extra.replaceChildren(...(answer ? this.explorer.extra[this.kind](answer.facts) : []));
    this.draw();
  }

  /** A click on the part of the photo that is drawn asks about the pixel there. */
  clicked(event) {
    const { explorer, answer } = this;
    const region = answer && explorer.regions[this.kind]?.(answer.facts);
    if (!region) return;
    const [x, y] = pointOf(event, this.canvas, region.side, region.side);
    explorer.asked.ask(Math.floor(region.top + y), Math.floor(region.left + x));
  }

  drawNow() {
    const { canvas, answer } = this;
    if (!canvas.width) return;
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!answer) return;
    const unit = canvas.width / Math.max(1, canvas.clientWidth);
    this.explorer.paint[this.kind](pen, answer.facts, unit);
  }
}

/** A square part of the photo, enlarged: its pixels, its hole, and where things are. */
class Part {
  constructor(explorer, pen, { top, left, side }) {
    Object.assign(this, { explorer, pen, top, left, side });
    this.scale = pen.canvas.width / side;
  }

  /** The middle of a pixel on the canvas. */
  at(row, column) {
    return [(column - this.left + 0.5) * this.scale, (row - this.top + 0.5) * this.scale];
  }

  drawGround() {
    const { explorer, pen, top, left, side } = this;
    const { width, height } = pen.canvas;
    pen.fillStyle = getComputedStyle(explorer.root).getPropertyValue("--paper2") || "#ddd";
    pen.fillRect(0, 0, width, height); // beyond the border
    pen.imageSmoothingEnabled = false;
    pen.drawImage(explorer.seen, left, top, side, side, 0, 0, width, height);
    drawHole(pen, this.holeHere(), side, side);
  }

  holeHere() {
    const { explorer, top, left, side } = this;
    const { width, height, hole } = explorer;
    return Uint8Array.from({ length: side * side }, (_, i) => {
      const [y, x] = [top + Math.floor(i / side), left + (i % side)];
      const inside = y >= 0 && y < height && x >= 0 && x < width;
      return inside ? hole[y * width + x] : 0;
    });
  }
}

/** The photo as the networks are given it: nothing shines through the hole. */
function hiddenBytes(view, hole) {
  const bytes = bytesOf(view).slice();
  hole.forEach((missing, i) => missing && bytes.fill(128, 3 * i, 3 * i + 3));
  return bytes;
}

/** The whole card: the hole, the strip of fills, the asked pixel and five answers. */
class LadderExplorer extends PixelExplorer {
  build() {
    this.root.classList.add("iw-ladder");
    this.given = kept(rgbCanvas);
    this.dimmed = kept(dimmedCanvas);
    this.gates = kept((bytes, side) => rgbCanvas(bytes, side[1], side[0]));
    this.chosen = null; // the label of the fill that is shown large
    this.upload = new Upload(this.model, this.asker, this.say);
    this.makePaint();
    this.makePaintTools();
    this.makeFills();
    this.makeAsk();
    this.makeAnswers();
    this.layOut();
    const onPhotos = () => this.showPhotos();
    this.model.on("change:thumbnails", onPhotos);
    this.stops.push(
      () => this.model.off("change:thumbnails", onPhotos),
      () => this.photos.stop(),
    );
    this.showPhotos();
    this.root.addEventListener("keydown", (event) => this.keyDown(event));
  }

  // ---- the parts ----

  makePaint() {
    this.editor = new BrushCanvas({
      onStroke: () => this.painted(),
      onMove: (x, y) => this.say(`Brush at row ${Math.round(y)}, column ${Math.round(x)}.`),
      label: PAINT_KEYS,
    });
    const drawNow = () => this.editor.drawNow();
    this.watch({ canvas: this.editor.canvas, drawNow, draw: this.editor.draw });
    this.photos = new PhotoStrip({
      onPick: (photo) => this.ask("photo", { photo }),
      onFile: (file) => this.upload.start(file),
    });
  }

  makePaintTools() {
    const tools = [
      { value: "brush", label: "Brush", testid: "brush-tool" },
      { value: "eraser", label: "Eraser", testid: "eraser" },
    ];
    const pick = (value) => (this.editor.erasing = value === "eraser");
    this.tool = segment("tool", tools, pick);
    this.tool.show("brush");
    const range = { min: 2, max: 40, step: 2 };
    this.size = slider("brush size", range, "brush", (value) => this.setBrush(value));
    this.undo = button("Undo", "undo", () => this.editor.undo());
    this.clear = button("Clear", "clear", () => this.editor.clear());
    const { presets } = this.model.get("controls");
    this.presets = presets.map((preset) =>
      button(preset, `preset-${preset}`, () => this.ask("preset", { preset })),
    );
    for (const each of this.presets) each.title = "A new hole of this kind";
  }

  makeFills() {
    const { rungs, about } = this.model.get("controls");
    const tile = (label) => new FillTile(label, (picked) => this.choose(picked));
    this.original = tile("original");
    this.untrained = rungs.untrained.map(tile);
    this.trained = rungs.trained.map(tile);
    this.fills = [...this.untrained, ...this.trained];
    for (const each of this.trained) each.button.title = about[each.label];
  }

  makeAsk() {
    const what = "The photo with its hole.";
    this.asked = this.view("ladder-view", what, "the deepest pixel of the hole");
    this.showing = element("span", { class: "iw-part", "data-testid": "showing" });
    this.question = element("span", { class: "iw-part", "data-testid": "question" });
  }

  makeAnswers() {
    this.makePainters();
    this.makeExtras();
    const { answers } = this.model.get("controls");
    this.cards = answers.map((each) => new AnswerCard(each, this));
  }

  layOut() {
    const buttons = (list) => list.map(({ button: made }) => made);
    const number = (n, text) => [element("span", { class: "iw-step" }, n), text];
    const brush = element("label", { class: "iw-field" }, "Size", this.size);
    const paint = column(
      [div("iw-named", ...number(1, "Paint a hole")), div("iw-back", this.undo, this.clear)],
      this.editor.canvas,
      div("iw-row", this.tool.row, brush),
      div("iw-row", element("span", { class: "iw-hint" }, "or:"), ...this.presets),
    );
    const ask = column(
      [div("iw-named", ...number(2, "Click a pixel")), this.showing],
      this.asked.canvas,
      div("iw-hint", "Arrow keys walk, Shift by eight; Home: the deepest pixel."),
    );
    const about = div(
      "iw-hint iw-about",
      "The number: mean absolute error in the hole, 0 is perfect, 1 is black for white. " +
        "Click a fill to see it large.",
    );
    const untrained = column(
      "The same hole, filled without learning",
      div("iw-tiles", ...buttons([this.original, ...this.untrained])),
    );
    const trained = column(
      "… and by each rung: a trained network",
      div("iw-tiles", ...buttons(this.trained)),
      about,
    );
    trained.classList.add("iw-trained");
    const keys = div(
      "iw-keys",
      key("asked", "asked pixel"),
      key("glass", "hole"),
      key("dot", "known, read"),
      key("cross", "unknown"),
      key("start", "unmoved"),
      key("square", "copied from"),
    );
    const quote = element("h3", {}, "“What did you look at here?”");
    const question = div("iw-question", div("iw-quote", quote, this.question), keys);
    this.body.append(
      this.photos.row,
      div("iw-ladder-top", paint, ask, untrained, trained),
      element(
        "section",
        { class: "iw-asking", "aria-label": "Five answers" },
        div("iw-answers", question, ...this.cards.map(({ box }) => box)),
      ),
    );
  }

  // ---- what Python says ----

  showPhotos() {
    this.photos.list(this.model.get("photo_labels"), this.model.get("thumbnails"));
    this.photos.show(this.model.get("photo"));
  }

  showAll() {
    const { shown, model, width, height } = this;
    this.photo = this.given(model.get("image_bytes"), width, height);
    if (this.seenTurn !== shown.turn) {
      this.seenTurn = shown.turn;
      this.seenBytes = hiddenBytes(model.get("image_bytes"), this.hole);
      this.seen = rgbCanvas(this.seenBytes, width, height);
    }
    this.photos.show(shown.photo);
    if (this.editor.picture !== this.photo) this.editor.setPicture(this.photo);
    if (!this.editor.brushed) this.setBrush(BRUSH_FIRST);
    this.editor.adopt(this.hole);
    this.showTools();
    this.showFills();
    this.showAsked();
    this.showAnswers();
    this.say(this.sentence());
    const { row, column: across, ready, turn, stage, area, best, photo } = shown;
    this.mark({ row, column: across, ready, turn, stage, area, best, photo });
    this.askFills();
  }

  showTools() {
    this.undo.disabled = !this.editor.done.length;
    this.clear.disabled = !this.editor.count();
  }

  showFills() {
    const { shown, fills } = this;
    const { turn, stage, best, ready, around } = shown;
    if (this.original.turn !== turn) this.original.show(this.photo, around, turn);
    this.original.tell("the truth", null);
    this.original.mark(false);
    const failed = stage === "full" ? "nothing known" : "…";
    for (const tile of fills) {
      if (tile.turn === turn) continue;
      tile.tell(failed, null);
      tile.expire();
    }
    const worst = Math.max(0, ...fills.map(({ error }) => error ?? 0));
    for (const tile of fills) if (tile.turn === turn) tile.mark(ready && tile.label === best, worst);
  }

  showAsked() {
    const { shown, width, height, hole, seen } = this;
    const { row, column: across, stage, share } = shown;
    const tile = [this.original, ...this.fills].find(({ label }) => label === this.chosen);
    const fill = tile?.turn === shown.turn ? tile.picture : null;
    const paint = (pen) => {
      drawWhole(pen, fill ?? seen);
      if (fill) drawRim(pen, hole, width, height);
      else drawHole(pen, hole, width, height);
    };
    this.asked.show({ width, height, row, column: across, paint });
    for (const each of [this.original, ...this.fills])
      each.button.setAttribute("aria-pressed", String(each.label === this.chosen));
    const missing = stage === "empty" ? "no hole" : `${(100 * share).toFixed(1)} % missing`;
    this.showing.textContent = fill ? `filled: ${this.chosen}` : missing;
  }

  showAnswers() {
    const { shown } = this;
    const found = new Map(shown.answers.map((answer) => [answer.kind, answer]));
    for (const card of this.cards) card.show(found.get(card.kind), shown.ready);
    this.question.textContent = this.place();
  }

  place() {
    const { row, column: across, missing_here: missing, away } = this.shown;
    const far = away === null ? "" : `, ${away.toFixed(0)} px from what is known`;
    return `row ${row}, column ${across}: ${missing ? `missing${far}` : "known"}`;
  }

  sentence() {
    const { shown } = this;
    if (shown.stage === "full") return "The hole covers everything: nothing is known to fill from.";
    if (!shown.ready) return "Filling …";
    const told = shown.answers.map(({ short }) => short).join("; ");
    const place = this.place().replace("row", "Row");
    if (shown.stage === "empty") return `No hole yet: paint one. ${place}. ${told}.`;
    const best = shown.best ? ` Best fill: ${shown.best}, error ${errorText(shown.errors[shown.best])}.` : "";
    return `${place}. ${told}.${best}`;
  }

  // ---- asking Python ----

  /** Ask for the next fill that is not of this hole; after the last, for the answers. */
  askFills() {
    const { shown } = this;
    if (!this.asker.idle() || shown.stage === "full") return;
    const tile = this.fills.find(({ turn }) => turn !== shown.turn);
    if (tile) this.ask("fill", { label: tile.label });
    else if (!shown.ready && this.tried !== shown.turn) {
      this.tried = shown.turn;
      this.ask("answers");
    }
  }

  answered(reply) {
    if (reply.kind === "upload" && this.upload.next()) return;
    if (reply.kind !== "fill") {
      this.showAll();
      return;
    }
    this.showFill(reply);
    this.askFills();
  }

  showFill({ label, turn, wrong, picture }) {
    const { width, height, shown } = this;
    if (turn !== shown.turn) return;
    const tile = this.fills.find((each) => each.label === label);
    tile.show(rgbCanvas(picture, width, height), shown.around, turn);
    tile.tell(wrong === null ? "–" : errorText(wrong), wrong);
    this.showFills();
    if (label === this.chosen) this.showAsked();
  }

  painted() {
    this.showTools();
    this.ask("paint");
  }

  /** A painted hole is taken when it is sent: the newest one. */
  ask(kind, values = {}) {
    if (kind !== "paint") return super.ask(kind, values);
    return this.asker.ask(kind, () => ({ binary: { hole: this.editor.hole.slice() } }));
  }

  choose(label) {
    this.chosen = this.chosen === label ? null : label;
    this.showAsked();
  }

  setBrush(value) {
    const brush = clip(value, 2, 40);
    Object.assign(this.editor, { brush, brushed: true });
    this.size.value = String(brush);
    this.size.setAttribute("aria-valuetext", `${brush} px`);
    this.editor.showBrush();
  }

  keyDown(event) {
    const command = event.ctrlKey || event.metaKey;
    const name = event.key.toLowerCase();
    if (command && name === "z" && event.shiftKey) this.editor.redo();
    else if (command && name === "z") this.editor.undo();
    else if (!command && name === "[") this.setBrush(this.editor.brush - 2);
    else if (!command && name === "]") this.setBrush(this.editor.brush + 2);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // ---- the five pictures ----

  makePainters() {
    this.paint = {
      partial: (pen, facts, unit) => this.paintWindow(pen, facts, unit),
      gated: (pen, facts, unit) => this.paintGate(pen, facts, unit),
      attention: (pen, facts, unit) => this.paintSources(pen, facts, unit),
      filter: (pen, facts, unit) => this.paintFilters(pen, facts, unit),
      sampling: (pen, facts, unit) => this.paintReads(pen, facts, unit),
    };
    const whole = () => ({ top: 0, left: 0, side: this.width });
    this.regions = {
      partial: ({ window: [top, left, tall] }) => ({
        top: top - MARGIN,
        left: left - MARGIN,
        side: tall + 2 * MARGIN,
      }),
      gated: whole,
      attention: whole,
      sampling: ({ half }) => ({
        top: this.shown.row - half,
        left: this.shown.column - half,
        side: 2 * half + 1,
      }),
    };
  }

  /** The window pixel by pixel: a dot is known, a cross is not. */
  paintWindow(pen, facts, unit) {
    const { taps, window: [top, left, tall] } = facts;
    const part = new Part(this, pen, this.regions.partial(facts));
    part.drawGround();
    const count = Math.round(Math.sqrt(taps.length));
    const step = tall / count;
    const radius = clip(0.28 * step * part.scale, 1.5 * unit, 6 * unit);
    taps.forEach((tap, k) => {
      const [y, x] = [top + step * Math.floor(k / count), left + step * (k % count)];
      drawRead(pen, part.at(y, x), { seen: tap === 1 ? 1 : 0, weight: 1 }, radius, unit);
    });
    const cells = [top - part.top, left - part.left, tall, tall];
    drawFrame(pen, cells, [part.side, part.side]);
  }

  /** The mean gate over the photo, dark closed and bright open. */
  paintGate(pen, { size }, unit) {
    const { shown, width, height } = this;
    drawWhole(pen, this.gates(this.model.get("gate_bytes"), size), true);
    drawRim(pen, this.hole, width, height);
    this.drawAsked(pen, shown.row, shown.column, width, unit);
  }

  /** Lit where it copies from; frames and shares at the best sources. */
  paintSources(pen, { top, patch, grid }, unit) {
    const { width, height, model } = this;
    drawWhole(pen, this.dimmed(this.seenBytes, width, height));
    drawHole(pen, this.hole, width, height);
    if (!patch) return;
    const shares = floatsOf(model.get("attention_bytes"));
    const tint = paintedCanvas(grid[1], grid[0], (i) => {
      const light = 1 - Math.log10(Math.max(FAINTEST, shares[i])) / Math.log10(FAINTEST);
      return light > 0 ? [...TEAL, 150 * light] : null;
    });
    drawWhole(pen, tint, true);
    const scale = pen.canvas.width / width;
    const middle = ([y, x, tall, wide]) => [(x + wide / 2) * scale, (y + tall / 2) * scale];
    drawLeaders(pen, top.map(({ box }) => [middle(box), middle(patch)]), unit);
    const ink = `rgb(${TEAL})`;
    for (const { box } of [...top].reverse()) drawFrame(pen, box, [height, width], ink);
    drawFrame(pen, patch, [height, width]);
    this.writeShares(pen, top.slice(0, SOURCES), scale * (patch[0] + patch[2] / 2), scale, unit);
  }

  /** The shares beside the best sources, where they do not cover each other. */
  writeShares(pen, sources, asked, scale, unit) {
    pen.font = `700 ${11.5 * unit}px system-ui, sans-serif`;
    pen.textBaseline = "middle";
    pen.textAlign = "center";
    const placed = [];
    for (const { box, share } of sources) {
      const [y, x, tall, wide] = box.map((value) => value * scale);
      const half = 17 * unit;
      const across = clip(x + wide / 2, half, pen.canvas.width - half);
      const sides = [y - 9 * unit, y + tall + 9 * unit]; // away from the asked patch
      const inside = sides.filter((at) => at > 8 * unit && at < pen.canvas.height - 8 * unit);
      inside.sort((a, b) => Math.abs(b - asked) - Math.abs(a - asked));
      const [above] = inside;
      const free = placed.every(([a, b]) => Math.abs(a - across) > 2 * half || Math.abs(b - above) > 13 * unit);
      if (!free || share < 0.01) continue;
      placed.push([across, above]);
      pen.lineWidth = 3.5 * unit;
      pen.strokeStyle = DARK;
      pen.strokeText(shareText(share), across, above);
      pen.fillStyle = "#fff";
      pen.fillText(shareText(share), across, above);
    }
  }

  /** The filters that changed most: made here on the left, the usual ones on the right. */
  paintFilters(pen, { here, full, limit, missing }, unit) {
    const { canvas } = pen;
    const style = getComputedStyle(this.root);
    pen.fillStyle = style.getPropertyValue("--paper2") || "#eee";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    const [head, gap] = [20 * unit, 6 * unit];
    const side = Math.min((canvas.width - 3 * gap) / 2, (canvas.height - head - here.length * gap) / here.length);
    const first = (canvas.width - 2 * side - gap) / 2;
    pen.font = `600 ${11.5 * unit}px system-ui, sans-serif`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.imageSmoothingEnabled = false;
    [["made here", here, missing], ["usual", full, null]].forEach(([name, filters, gone], k) => {
      const x = first + k * (side + gap);
      pen.fillStyle = style.getPropertyValue("--ink2") || "#333";
      pen.fillText(name, x + side / 2, head / 2 + unit);
      filters.forEach((filter, n) => {
        const y = head + n * (side + gap);
        this.drawFilter(pen, filter, limit, gone, [x, y, side], unit);
      });
    });
  }

  drawFilter(pen, filter, limit, missing, [x, y, side], unit) {
    const count = Math.round(Math.sqrt(filter.length));
    pen.drawImage(
      paintedCanvas(count, count, (i) => signedColour(filter[i] / limit)),
      x, y, side, side,
    );
    pen.lineWidth = unit;
    pen.strokeStyle = "rgba(128, 128, 128, 0.6)";
    pen.strokeRect(x, y, side, side);
    const cell = side / count;
    pen.lineWidth = 1.1 * unit;
    pen.strokeStyle = "rgba(10, 12, 20, 0.6)";
    pen.beginPath();
    (missing ?? []).forEach((gone, i) => {
      if (!gone) return;
      const [left, top] = [x + (i % count) * cell, y + Math.floor(i / count) * cell];
      pen.moveTo(left + 0.3 * cell, top + 0.7 * cell);
      pen.lineTo(left + 0.7 * cell, top + 0.3 * cell);
    });
    pen.stroke();
  }

  /** Where the reads lie, and from where they moved. */
  paintReads(pen, facts, unit) {
    const { reads, unmoved } = facts;
    const { row, column: across } = this.shown;
    const part = new Part(this, pen, this.regions.sampling(facts));
    part.drawGround();
    const radius = clip(0.42 * part.scale, 1.8 * unit, 5 * unit);
    const moved = reads.map(([y, x], k) => [part.at(...unmoved[k]), part.at(y, x)]);
    drawLeaders(pen, moved, unit);
    drawStarts(pen, moved, Math.min(2 * unit, 0.5 * radius), unit);
    const known = [...reads].sort((a, b) => b[2] - a[2]); // crosses are never hidden
    for (const [y, x, seen, weight] of known)
      drawRead(pen, part.at(y, x), { seen, weight }, radius, 0.8 * unit);
    drawAskedRing(pen, part.at(row, across), Math.max(6 * unit, radius + 3 * unit), unit);
  }

  drawAsked(pen, row, across, width, unit) {
    const scale = pen.canvas.width / width;
    drawAskedRing(pen, [(across + 0.5) * scale, (row + 0.5) * scale], 6 * unit, unit);
  }

  // ---- a small scale below each picture ----

  makeExtras() {
    const text = (words) => element("span", {}, words);
    const ramp = (colours, low, high, middle = "") => {
      const bar = div("iw-ramp");
      bar.style.background = `linear-gradient(90deg, ${colours})`;
      return [bar, div("iw-ticks", text(low), text(middle), text(high))];
    };
    this.extra = {
      partial: ({ levels }) => [
        div(
          "iw-levels",
          ...levels.map((known, k) => element("span", { class: known && "known" }, `${k + 1}${known ? "●" : "×"}`)),
        ),
        div("iw-ticks", text("known after level"), text("")),
      ],
      gated: ({ low, high }) =>
        ramp("#440154, #21918c, #fde725", `closed ${low.toFixed(2)}`, `${high.toFixed(2)} open`),
      attention: ({ top }) => [
        div("iw-stack", ...top.map(({ share }) => this.stacked(share))),
        div("iw-ticks", text("shares of the best five"), text("")),
      ],
      filter: ({ limit }) =>
        ramp(
          `rgb(${MINUS}), rgb(${NEUTRAL}), rgb(${PLUS})`,
          `−${limit.toFixed(2)}`,
          `+${limit.toFixed(2)}`,
          "╱ missing",
        ),
      sampling: ({ before, known, count }) => [
        div("iw-stack", this.stacked(known / count)),
        div("iw-ticks", text(`unmoved ${before}`), text(`moved ${known}`)),
      ],
    };
  }

  stacked(share) {
    const made = element("span", {});
    made.style.width = `${100 * share}%`;
    return made;
  }
}

export default shownBy(LadderExplorer, LADDER_HINT);

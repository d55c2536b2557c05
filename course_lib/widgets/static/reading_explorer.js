// The reading explorer: what an output pixel reads, and what a fill colour changes.

const READING_HINT =
  "Click a pixel of either picture: teal shows which pixels of the input move it. " +
  "Keys on a picture: arrows move one pixel, Shift + arrows eight, Home goes to the " +
  "deepest pixel of the hole.";
const MODES = [
  { value: "reads", label: "what it reads", testid: "mode-reads" },
  { value: "sweep", label: "does the fill colour matter?", testid: "mode-sweep" },
];
const ANSWERS = [
  { value: "filled", label: "answer", testid: "answer-filled" },
  { value: "gap", label: "change", testid: "answer-gap" },
];
const CHART = { width: 380, height: 190, left: 46, right: 6, top: 26, base: 156 };
const TEAL = [22, 194, 176];
const WRONG = [255, 107, 74];
const DARK = "rgba(10, 12, 20, 0.85)";

const percent = (share) => `${Math.round(100 * share)} %`;
const levels = (change) =>
  change === 0 ? "exactly 0" : `${(255 * change).toFixed(1)} of 255`;
const exactly = (share) => (share === 0 ? "exactly 0" : `${(100 * share).toFixed(2)} %`);

/** A frame around a box (top, left, height, width) in pixels of the picture. */
function drawBox(pen, [top, left, height, width], columns, ink, dash) {
  const [scale, line] = [pen.canvas.width / columns, pen.canvas.width / 360];
  const edge = (value, end) => clip(value * scale, 1.5 * line, end - 1.5 * line);
  const [x0, x1] = [left, left + width].map((value) => edge(value, pen.canvas.width));
  const [y0, y1] = [top, top + height].map((value) => edge(value, pen.canvas.height));
  for (const [colour, thick] of [
    [DARK, 4.4],
    [ink, 2],
  ]) {
    pen.strokeStyle = colour;
    pen.lineWidth = thick * line;
    pen.setLineDash(dash ? [7 * line, 5 * line] : []);
    pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  pen.setLineDash([]);
}

/** The influence along the row of the asked pixel, on the scale of the overlay. */
class InfluenceRow extends RowChart {
  show({ shown, strength, hole, width, decades }) {
    this.zoom(0, width);
    const start = shown.row * width;
    const names = Array.from({ length: decades + 1 }, (_, k) => [
      1 - k / decades,
      k === 0 ? "most" : `1/${10 ** k}`,
    ]);
    const under = this.bars((k) => this.bar(k, hole[start + k] ? 1 : 0, "missing"));
    const bars = this.bars((k) => this.bar(k, strength[start + k], "read"));
    this.svg.replaceChildren(
      ...this.axes(names),
      ...under,
      ...bars,
      this.marker(shown.column),
    );
    const text = `Influence of row ${shown.row} of the input, on a logarithmic scale.`;
    this.svg.setAttribute("aria-label", text);
  }
}

/** The whole card: keeps the asked pixel, the fill, the pictures and facts in step. */
class ReadingExplorer {
  constructor(model, el) {
    this.model = model;
    this.controls = model.get("controls");
    Object.assign(this, card(model.get("title"), READING_HINT));
    this.makeControls();
    this.makeViews();
    this.layOut();
    el.append(this.root);
    this.asker = asker(model, this.root, {
      onAnswer: () => this.showAll(),
      onError: (text) => {
        this.showAll();
        this.say(text, "bad");
      },
      onWait: (_, long) => long && this.say("Still waiting for Python.", "wait"),
    });
    this.follow();
  }

  makeControls() {
    const { fills, trained } = this.controls;
    const segment = (name, options, onPick) => {
      const made = choice(name, options, onPick);
      made.row.className = "iw-seg";
      return made;
    };
    this.modes = segment("question", MODES, (mode) => this.pickMode(mode));
    this.answers = segment("picture on the right", ANSWERS, (answer) => {
      this.answer = answer;
      this.showPictures();
    });
    const option = (value) => ({
      value: String(value),
      label: String(value),
      testid: `fill-${value}`,
    });
    this.presets = segment("fill colour", fills.map(option), (fill) =>
      this.askFill(fill === "noise" ? fill : Number(fill)),
    );
    this.fill = new Sliders(
      () => this.askFill(this.fill.values.fill),
      (_, value) => (value === trained ? `${value}, as trained` : String(value)),
    );
    const range = { name: "fill", label: "Fill colour", low: 0, high: 1, step: 0.05 };
    this.fill.list([range]);
  }

  makeViews() {
    const onAsk = (row, column) => this.asker.ask("look", () => ({ row, column }));
    const view = (testid, what) => {
      const label =
        `${what} Arrow keys move the asked pixel, with Shift by eight; ` +
        "Home asks the deepest pixel of the hole.";
      return new PixelCanvas({ testid, label, onAsk });
    };
    this.input = view("reading-view", "The input, and what the asked pixel reads of it.");
    this.output = view("answer-view", "The network's answer.");
    this.row = new InfluenceRow(CHART, "influence-row");
    this.facts = element("dl", { class: "iw-facts" });
    this.ground = kept(dimmedCanvas);
    this.given = kept(rgbCanvas);
    this.filled = kept(rgbCanvas);
    this.changes = div("iw-rings iw-bars");
    this.inputName = element("span", {});
    this.outputName = element("span", {});
    this.rowName = element("span", {});
  }

  layOut() {
    const { trained } = this.controls;
    const key = (name, text) => element("span", { class: `iw-key ${name}` }, text);
    this.theory = key("theory", "");
    this.square = key("square", "");
    this.keys = div("iw-keys", key("read", "moves it"), this.square, this.theory);
    const left = div(
      "iw-col",
      div("iw-cap", this.inputName),
      this.input.canvas,
      this.keys,
    );
    const right = div(
      "iw-col",
      div("iw-cap", this.outputName, this.answers.row),
      this.output.canvas,
    );
    const about =
      "Mean change of the answer in the hole, in grey levels of 255, when the hole is " +
      `hidden by another colour than ${trained}, the one of the training.`;
    this.profile = div("iw-col", div("iw-cap", this.rowName), this.row.svg);
    this.sweeping = div(
      "iw-col",
      div("iw-cap", "Hide the hole with"),
      this.fill.box,
      this.presets.row,
      this.changes,
      div("iw-hint", about),
    );
    const told = div("iw-col", div("iw-cap", "In numbers"), this.facts);
    const foot = div("iw-pair", div("iw-col", this.profile, this.sweeping), told);
    this.question = div("iw-row", this.modes.row);
    this.question.classList.toggle("iw-hidden", !this.controls.fills.length);
    this.body.append(this.question, div("iw-pair", left, right), foot);
  }

  follow() {
    const { model } = this;
    const { fill } = model.get("shown");
    this.mode = fill === this.controls.trained ? "reads" : "sweep";
    this.answer = "filled";
    this.modes.show(this.mode);
    this.answers.show(this.answer);
    this.showAll();
    const onShown = () => this.asker.idle() && this.showAll();
    model.on("change:shown", onShown);
    const stops = [
      () => model.off("change:shown", onShown),
      keepSharp(this.input.canvas, () => this.input.drawNow()),
      keepSharp(this.output.canvas, () => this.output.drawNow()),
      this.asker.stop,
      this.input.draw.stop,
      this.output.draw.stop,
    ];
    this.stop = () => stops.forEach((stop) => stop());
  }

  // ---- what Python says ----

  showAll() {
    const { model, mode } = this;
    const shown = model.get("shown");
    this.width = model.get("width");
    this.height = model.get("height");
    this.hole = bytesOf(model.get("hole_bytes"));
    this.strength = floatsOf(model.get("influence_bytes"));
    const { row, width, hole, strength } = this;
    row.show({ shown, strength, hole, width, decades: this.controls.decades });
    this.rowName.textContent = `Influence along row ${shown.row}`;
    if (this.controls.fills.length) this.showFill(shown.fill);
    this.showMode();
    this.showPictures();
    showFacts(this.facts, this.factRows(shown));
    this.say(mode === "reads" ? readSentence(shown) : changeSentence(shown));
    for (const name of ["row", "column", "fill"])
      this.root.dataset[name] = String(shown[name]);
    this.root.dataset.mode = mode;
  }

  showMode() {
    const reads = this.mode === "reads";
    this.profile.classList.toggle("iw-hidden", !reads);
    this.keys.classList.toggle("iw-hidden", !reads);
    this.sweeping.classList.toggle("iw-hidden", reads);
    this.answers.row.classList.toggle("iw-hidden", reads);
    this.inputName.textContent = reads ? "Input, and what is read" : "Input, hole hidden";
    this.outputName.textContent = reads ? "The network's answer" : "Answer";
    const { square, field } = this.model.get("shown");
    const { mass } = this.controls;
    this.square.textContent = square ? `${percent(mass)} of the influence` : "";
    this.theory.textContent = field ? "reach in theory" : "";
    this.square.classList.toggle("iw-hidden", !square);
    this.theory.classList.toggle("iw-hidden", !field);
  }

  showFill(fill) {
    const { fills } = this.controls;
    this.presets.show(String(fill));
    if (fill === "noise") this.fill.tell("fill", "noise");
    else this.fill.show({ fill });
    const changes = this.model.get("changes");
    const most = Math.max(1 / 255, ...Object.values(changes));
    const rows = fills.flatMap((value) => {
      const change = changes[value];
      const bar = element("span", { class: "bar" });
      bar.style.setProperty("--weight", `${(100 * (change ?? 0)) / most}%`);
      const text = change === undefined ? "" : change && (255 * change).toFixed(1);
      const name = value === this.controls.trained ? `${value}, as trained` : `${value}`;
      const number = element("b", { "data-testid": `change-${value}` }, text);
      const made = [element("span", {}, name), bar, number];
      if (value === fill) made[0].classList.add("now");
      return made;
    });
    this.changes.replaceChildren(...rows);
  }

  showPictures() {
    const { model, width, height, mode } = this;
    const { row, column } = model.get("shown");
    const place = { width, height, row, column };
    const reads = mode === "reads";
    this.input.show({ ...place, paint: reads ? this.readPainter() : this.givenPainter() });
    const gap = !reads && this.answer === "gap";
    const paint = gap ? this.gapPainter() : this.filledPainter();
    this.output.show({ ...place, paint });
  }

  readPainter() {
    const { model, width, height, strength, hole } = this;
    const { field, square } = model.get("shown");
    const ground = this.ground(model.get("given_bytes"), width, height);
    const read = paintedCanvas(width, height, (i) =>
      strength[i] > 0 ? [...TEAL, 235 * strength[i]] : null,
    );
    return (pen) => {
      drawWhole(pen, ground);
      drawHole(pen, hole, width, height);
      drawWhole(pen, read, true);
      if (field) drawBox(pen, field, width, "#ffffff", true);
      if (square) drawBox(pen, square, width, `rgb(${TEAL})`, false);
    };
  }

  givenPainter() {
    const { model, width, height, hole } = this;
    const given = this.given(model.get("given_bytes"), width, height);
    return (pen) => {
      drawWhole(pen, given);
      drawRim(pen, hole, width, height);
    };
  }

  filledPainter() {
    const { model, width, height, hole } = this;
    const filled = this.filled(model.get("filled_bytes"), width, height);
    return (pen) => {
      drawWhole(pen, filled);
      drawRim(pen, hole, width, height);
    };
  }

  gapPainter() {
    const { model, width, height, hole } = this;
    const gap = floatsOf(model.get("gap_bytes"));
    const most = Math.max(1 / 255, ...gap);
    const ground = this.ground(model.get("given_bytes"), width, height);
    const changed = paintedCanvas(width, height, (i) => {
      const share = gap[i] / most;
      const mixed = WRONG.map((c, k) => share * c + (1 - share) * [22, 26, 38][k]);
      return hole[i] ? [...mixed, 255] : null;
    });
    return (pen) => {
      drawWhole(pen, ground);
      drawWhole(pen, changed, true);
      drawRim(pen, hole, width, height);
    };
  }

  factRows(shown) {
    const { trained, mass, near } = this.controls;
    const { missing, distance, square, field, fill } = shown;
    const away = `${distance.toFixed(1)} px from the nearest known pixel`;
    if (this.mode === "sweep") {
      const name = fill === trained ? `${fill}, as trained` : fill;
      return [
        ["hidden by", String(name)],
        ["mean change", levels(shown.change)],
        ["largest change", levels(shown.most)],
      ];
    }
    const larger = field && Math.max(field[2], field[3]) > this.width;
    const side = field && `${Math.max(field[2], field[3])} px a side`;
    const rows = [
      ["asked pixel", missing ? `missing, ${away}` : "known"],
      ["reach in theory", field ? side + (larger ? ", more than the photo" : "") : "no limit known"],
      [`${percent(mass)} comes from`, square ? `${Math.max(square[2], square[3])} px a side` : "nothing is read"],
      [`within ${near} px`, percent(shown.near)],
      ["under the hole", exactly(shown.under)],
    ];
    return fill === trained ? rows : [...rows, ["hole hidden by", String(fill)]];
  }

  // ---- what the reader does ----

  pickMode(mode) {
    this.mode = mode;
    this.showAll();
    if (mode === "sweep") this.askFill(this.model.get("shown").fill);
  }

  askFill(fill) {
    this.asker.ask("sweep", () => ({ fill }));
  }
}

function readSentence({ row, column, square, near }) {
  const place = `Row ${row}, column ${column}: `;
  if (!square) return `${place}no pixel of the input moves it.`;
  const far = `95 % of what moves it lies in a square of ${Math.max(square[2], square[3])} px`;
  return `${place}${far}, ${percent(near)} within 8 px.`;
}

function changeSentence({ fill, change }) {
  const text = `With ${fill} under the hole the answer there changes by `;
  return `${text}${change === 0 ? "exactly 0" : `${levels(change)} on average`}.`;
}

function render({ model, el }) {
  const explorer = new ReadingExplorer(model, el);
  return () => explorer.stop();
}

export default { render };

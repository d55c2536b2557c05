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
const WIDE = 760; // of the same chart in a wide card

const percent = (share) => `${Math.round(100 * share)} %`;
const levels = (change) =>
  change === 0 ? "exactly 0" : `${(255 * change).toFixed(1)} of 255`;
const exactly = (share) => (share === 0 ? "exactly 0" : `${(100 * share).toFixed(2)} %`);

/** The influence along the row of the asked pixel, on the scale of the overlay. */
class InfluenceRow extends RowChart {
  constructor(...given) {
    super(...given);
    this.observer = new ResizeObserver(() => this.state && this.show(this.state));
    this.observer.observe(this.svg);
  }

  show(state) {
    this.state = state;
    const { shown, strength, hole, width, decades } = state;
    const across = this.svg.clientWidth > 560 ? WIDE : CHART.width;
    this.size = { ...CHART, width: across };
    this.svg.setAttribute("viewBox", `0 0 ${across} ${CHART.height}`);
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
class ReadingExplorer extends PixelExplorer {
  build() {
    this.controls = this.model.get("controls");
    this.mode = this.shown.fill === this.controls.trained ? "reads" : "sweep";
    this.answer = "filled";
    this.makeControls();
    this.makeViews();
    this.layOut();
    this.modes.show(this.mode);
    this.answers.show(this.answer);
  }

  makeControls() {
    const { fills, trained } = this.controls;
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
    const view = (testid, what) =>
      this.view(testid, what, "the deepest pixel of the hole");
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
    this.theory = key("theory", "");
    this.square = key("square", "");
    this.keys = div("iw-keys", key("read", "moves it"), this.square, this.theory);
    const left = column(this.inputName, this.input.canvas);
    const right = column([this.outputName, this.answers.row], this.output.canvas);
    this.stops.push(() => this.row.observer.disconnect());
    const about =
      "Mean change of the answer in the hole, in grey levels of 255, when the hole is " +
      `hidden by another colour than ${trained}, the one of the training.`;
    this.profile = column(this.rowName, this.row.svg);
    const steer = [this.fill.box, this.presets.row, div("iw-hint", about)];
    this.sweeping = div(
      "iw-pair",
      column("Hide the hole with", ...steer),
      column("Mean change", this.changes),
    );
    const told = column("In numbers", this.facts);
    const pictures = div("iw-trio iw-large", left, right, this.keys, told);
    this.question = div("iw-row", this.modes.row);
    this.question.classList.toggle("iw-hidden", !this.controls.fills.length);
    this.body.append(this.question, pictures, this.profile, this.sweeping);
  }

  // ---- what Python says ----

  showAll() {
    const { model, mode, shown, width, hole } = this;
    this.strength = floatsOf(model.get("influence_bytes"));
    const { strength } = this;
    this.row.show({ shown, strength, hole, width, decades: this.controls.decades });
    this.rowName.textContent = `Influence along row ${shown.row}`;
    if (this.controls.fills.length) this.showFill(shown.fill);
    this.showMode();
    this.showPictures();
    showFacts(this.facts, this.factRows(shown));
    this.say(mode === "reads" ? readSentence(shown) : changeSentence(shown));
    const { row, column, fill } = shown;
    this.mark({ row, column, fill, mode });
  }

  showMode() {
    const reads = this.mode === "reads";
    this.profile.classList.toggle("iw-hidden", !reads);
    this.keys.classList.toggle("iw-hidden", !reads);
    this.sweeping.classList.toggle("iw-hidden", reads);
    this.answers.row.classList.toggle("iw-hidden", reads);
    this.inputName.textContent = reads ? "Input, and what is read" : "Input, hole hidden";
    this.outputName.textContent = reads ? "The network's answer" : "Answer";
    const { square, field } = this.shown;
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
    const rows = fills.map((value) => {
      const change = changes[value];
      return {
        name: value === this.controls.trained ? `${value}, as trained` : `${value}`,
        share: (change ?? 0) / most,
        value: change === undefined ? "" : change && (255 * change).toFixed(1),
        testid: `change-${value}`,
        now: value === fill,
      };
    });
    showBars(this.changes, rows);
  }

  showPictures() {
    const { width, height, mode } = this;
    const { row, column } = this.shown;
    const place = { width, height, row, column };
    const reads = mode === "reads";
    this.input.show({ ...place, paint: reads ? this.readPainter() : this.givenPainter() });
    const gap = !reads && this.answer === "gap";
    const paint = gap ? this.gapPainter() : this.filledPainter();
    this.output.show({ ...place, paint });
  }

  readPainter() {
    const { model, width, height, strength, hole } = this;
    const { field, square } = this.shown;
    const grid = [height, width];
    const ground = this.ground(model.get("given_bytes"), width, height);
    const read = paintedCanvas(width, height, (i) =>
      strength[i] > 0 ? [...TEAL, 235 * strength[i]] : null,
    );
    return (pen) => {
      drawWhole(pen, ground);
      drawHole(pen, hole, width, height);
      drawWhole(pen, read, true);
      if (field) drawFrame(pen, field, grid, "#ffffff", true);
      if (square) drawFrame(pen, square, grid, `rgb(${TEAL})`);
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
    const changed = paintedCanvas(width, height, (i) =>
      hole[i] ? heat(gap[i] / most) : null,
    );
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
    if (mode === "sweep") this.askFill(this.shown.fill);
  }

  askFill(fill) {
    this.ask("sweep", { fill });
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

export default shownBy(ReadingExplorer, READING_HINT);

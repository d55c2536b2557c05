// The discount explorer: gamma, a hole to drag, the weights in it, and one row of them.

const DISCOUNT_HINT =
  "Each pixel further from the known ones multiplies a weight by γ. Move γ, drag the " +
  "hole or pull its edges, click a pixel to ask about it. Keys on the photo: arrows " +
  "move the pixel, Shift + arrows the hole, Home asks the deepest pixel.";
const VIEWS = [
  { value: "ours", label: "weights", testid: "view-ours" },
  { value: "code", label: "published code", testid: "view-code" },
  { value: "gap", label: "difference", testid: "view-gap" },
];
const CHART = { width: 420, height: 232, left: 30, right: 6, top: 26, base: 198 };
const MARGIN = 9; // known pixels beside the hole in the chart

const percent = (share) => `${(100 * share).toFixed(1)} %`;

/** The photo with its weights: asks about pixels, moves and resizes the hole. */
class WeightCanvas extends HoleCanvas {
  paint(pen) {
    drawWhole(pen, this.ground);
    drawWhole(pen, this.field, true);
    drawRim(pen, this.hole, this.width, this.height);
    if (this.resizable) this.drawFrame(pen);
  }

  drawNow() {
    if (this.ground) super.drawNow();
  }
}

/** The row of the asked pixel: one bar a pixel, as tall and coloured as its weight. */
class Profile extends RowChart {
  show(state) {
    Object.assign(this, state);
    const { box, column, row, deepest_in_row: deep, gamma } = this.shown;
    const [first, last] = [box[1] - MARGIN, box[1] + box[3] + MARGIN];
    const [low, high] = [Math.min(first, column - 2), Math.max(last, column + 3)];
    this.zoom(Math.max(0, low), Math.min(this.width, high));
    const levels = [0, 0.5, 1].map((value) => [value, value]);
    const bars = this.bars((k) => this.weightBar(k));
    const under = [...this.axes(levels), ...bars, ...this.code()];
    this.svg.replaceChildren(...under, this.marker(column), ...this.labels());
    const text = deep.distance
      ? `Weights along row ${row}: 1 on known pixels, ${gamma} on the rim of the hole, ` +
        `${deep.weight.toFixed(3)} at column ${deep.column}, ` +
        `${deep.distance.toFixed(1)} px deep.`
      : `Row ${row} crosses no hole: every weight is 1.`;
    this.svg.setAttribute("aria-label", text);
  }

  weightBar(column) {
    const i = this.shown.row * this.width + column;
    const weight = this.weights[i];
    if (!this.hole[i]) return this.bar(column, weight, "known");
    return this.bar(column, weight, "bar", `rgb(${this.colour(weight)})`);
  }

  // The row of the published weights as steps; nothing outside the box.
  code() {
    const start = this.shown.row * this.width;
    let d = "";
    for (let k = this.first; k < this.last; k++) {
      const weight = this.published[start + k];
      if (Number.isNaN(weight)) continue;
      d += `${d ? "L" : "M"}${this.x(k)} ${this.y(weight)}H${this.x(k + 1)}`;
    }
    return d ? [shape("path", { class: "code", d })] : [];
  }

  // What the rim and the deepest pixel of the row weigh, beside them.
  labels() {
    const { gamma, box, row, deepest_in_row: deep } = this.shown;
    if (!deep.distance || gamma === 1) return [];
    const made = [this.label(deep.column + 0.5, deep.weight, deep.distance)];
    const start = row * this.width;
    const onRim = this.hole[start + box[1]] === 1 && box[1] > this.first + 4;
    if (onRim && deep.distance > 1.5) {
      const place = { x: this.x(box[1]) - 5, y: this.y(gamma) + 4, class: "said rim" };
      made.push(shape("text", place, `rim: ${gamma}`));
    }
    return made;
  }

  label(column, weight, distance) {
    const beside = weight > 0.55 ? weight - 0.12 : weight + 0.09;
    const x = clip(this.x(column), CHART.left + 52, CHART.width - 58);
    const said = shape("text", { class: "said", x, y: this.y(beside) });
    const power = shape("tspan", { class: "power", dy: -4 }, distance.toFixed(1));
    const value = shape("tspan", { dy: 4 }, ` = ${weight.toFixed(3)}`);
    said.append("γ", power, value);
    return said;
  }
}

/** The whole card: keeps gamma, the hole, the pictures and the facts in step. */
class DiscountExplorer extends PixelExplorer {
  build() {
    this.weighed = "ours";
    this.makeControls();
    this.makeViews();
    this.layOut();
    this.views.show(this.weighed);
  }

  makeControls() {
    const { gammas, low, shapes } = this.model.get("controls");
    const { height, width } = this;
    this.gamma = new Sliders(
      () => this.askGamma(this.gamma.values.gamma),
      (_, value) => String(value),
    );
    const range = { name: "gamma", label: "Discount γ", low, high: 1, step: 0.01 };
    this.gamma.list([range]);
    const preset = (value) => ({ value, label: String(value), testid: `gamma-${value}` });
    this.presets = segment("gamma", gammas.map(preset), (value) => this.askGamma(value));
    const forms = shapes.map((value) => ({ value, label: value, testid: value }));
    this.form = segment("shape of the hole", forms, (form) =>
      this.ask("shape", { shape: form }),
    );
    this.views = segment("weights on show", VIEWS, (view) => this.pickView(view));
    this.sides = new Sliders(() => this.resize(), (_, value) => `${value} px`);
    this.sides.list([
      { name: "height", label: "Height", low: 1, high: height, step: 1 },
      { name: "width", label: "Width", low: 1, high: width, step: 1 },
    ]);
  }

  makeViews() {
    const onAsk = (row, column) => this.ask("look", { row, column });
    const onPlace = (box) => this.askPlace(box);
    const label =
      "Photo with the weights of its hole. Arrow keys move the asked pixel, " +
      "Shift and arrow keys move the hole, Home asks the deepest pixel.";
    const asks = { testid: "weight-view", label, onAsk, onPlace };
    this.stage = this.watch(new WeightCanvas(asks));
    const colours = bytesOf(this.model.get("colours"));
    this.colour = (weight) => {
      const k = 3 * Math.round(255 * clip(weight, 0, 1));
      return [colours[k], colours[k + 1], colours[k + 2]];
    };
    const { width, height } = this;
    this.ground = dimmedCanvas(this.model.get("image_bytes"), width, height);
    this.profile = new Profile(CHART, "profile");
    this.facts = element("dl", { class: "iw-facts" });
    this.rings = element("div", { class: "iw-rings", "data-testid": "rings" });
    this.scale = element("canvas", { class: "iw-scale", width: 256, height: 1 });
    this.scaleLow = element("span", {}, "0");
    this.scaleHigh = element("span", {});
    this.scaleName = element("span", { class: "iw-scale-name" });
  }

  layOut() {
    const bar = div("iw-scale-row", this.scaleLow, this.scale, this.scaleHigh);
    const weights = column(this.views.row, this.stage.canvas, bar, this.scaleName);
    const keys = div(
      "iw-keys",
      key("known", "known: 1"),
      key("field", "missing: γ to the distance"),
      key("code", "published code"),
    );
    this.rowName = element("span", {});
    const profile = column(this.rowName, this.profile.svg, keys, this.facts);
    const place = column(["The hole", this.form.row], this.sides.box);
    const about = "Bar: a ring's share of the weight. Upright line: of the pixels.";
    const share = column("Who holds the weight?", this.rings, div("iw-hint", about));
    this.gamma.box.classList.add("iw-wide");
    this.body.append(
      div("iw-row", this.gamma.box, this.presets.row),
      div(
        "iw-pair iw-towers",
        div("iw-col", weights, place),
        div("iw-col", profile, share),
      ),
    );
  }

  // ---- what Python says ----

  showAll() {
    const { model, shown, hole, width, colour } = this;
    this.weights = floatsOf(model.get("weights_bytes"));
    this.published = floatsOf(model.get("code_bytes"));
    this.showGamma(shown.gamma);
    this.showPlace(shown);
    this.showField(shown);
    this.rowName.textContent = `Weights along row ${shown.row}`;
    const { weights, published } = this;
    this.profile.show({ shown, hole, weights, published, colour, width });
    this.showRings(shown.rings);
    showFacts(this.facts, factRows(shown));
    this.say(this.sentence(shown));
    const { gamma, row, column: across, pixels, box } = shown;
    this.mark({ gamma, row, column: across, pixels, box: box.join(" ") });
  }

  showGamma(gamma) {
    this.gamma.show({ gamma });
    this.presets.show(gamma);
  }

  showPlace({ shape: form, box }) {
    this.form.show(form);
    this.sides.show({ height: box[2], width: box[3] });
    this.sides.box.classList.toggle("iw-hidden", form !== "rectangle");
  }

  showField(shown) {
    const { width, height, hole, ground } = this;
    const state = { width, height, hole, ground };
    const colour = (i) => this.pixel(i, hole[i], shown.code.most);
    state.field = paintedCanvas(width, height, colour);
    state.resizable = shown.shape === "rectangle";
    if (!this.stage.moving) state.box = shown.box;
    this.stage.show({ ...state, row: shown.row, column: shown.column });
    this.showScale(shown.code);
  }

  /** The colour of a pixel in the view on show; null where the photo is seen. */
  pixel(i, missing, most) {
    const [ours, code] = [this.weights[i], this.published[i]];
    if (this.weighed === "ours") return missing ? [...this.colour(ours), 255] : null;
    if (this.weighed === "code")
      return Number.isNaN(code) ? null : [...this.colour(code), 255];
    if (!missing) return Number.isNaN(code) ? null : [...WRONG, 255];
    const gap = Math.abs(code - ours);
    return heat(most > 1e-6 ? gap / most : 0);
  }

  showScale({ most, known }) {
    const gap = this.weighed === "gap";
    const pen = this.scale.getContext("2d");
    for (let k = 0; k < 256; k++) {
      const [r, g, b] = gap ? heat(k / 255) : this.colour(k / 255);
      pen.fillStyle = `rgb(${r}, ${g}, ${b})`;
      pen.fillRect(k, 0, 1, 1);
    }
    this.scaleHigh.textContent = gap ? most.toFixed(2) : "1";
    this.scaleName.textContent = {
      ours: "weight: γ to the power of the distance to the nearest known pixel",
      code: "weight in the published code: measured to the box around the hole",
      gap: known
        ? `how much the two weights differ; the code also weighs ${known} known pixels`
        : "how much the two weights differ",
    }[this.weighed];
  }

  showRings(rings) {
    showBars(
      this.rings,
      rings.map(({ label, weight, pixels }) => ({
        name: label,
        share: weight,
        line: pixels,
        value: percent(weight),
        testid: `ring-${label}`,
        more: percent(pixels),
      })),
    );
    const scale = [element("span", {}, "0"), element("span", {}, "100 %")];
    const head = [["pixels deep"], scale, ["weight"], ["pixels"]];
    this.rings.prepend(...head.map((parts) => element("span", { class: "head" }, ...parts)));
  }

  sentence({ row, column, distance, weight, gamma }) {
    const place = `Row ${row}, column ${column}: `;
    if (!distance) return `${place}known, weight 1.`;
    const away = `${distance.toFixed(1)} px from the nearest known pixel`;
    return `${place}${away}, weight ${gamma} to the power of that: ${weight.toFixed(3)}.`;
  }

  // ---- what the reader does ----

  askGamma(gamma) {
    this.showGamma(gamma);
    this.ask("gamma", { gamma });
  }

  askPlace(box) {
    this.sides.show({ height: box[2], width: box[3] });
    this.ask("place", { shape: this.shown.shape, box });
  }

  /** Another height and width around the same middle, as far as the photo reaches. */
  resize() {
    const { height, width } = this.sides.values;
    const [top, left, tall, wide] = this.stage.box;
    const { height: rows, width: columns } = this.stage;
    const down = clip(Math.round(top + (tall - height) / 2), 0, rows - height);
    const across = clip(Math.round(left + (wide - width) / 2), 0, columns - width);
    this.stage.place([down, across, height, width]);
  }

  pickView(view) {
    this.weighed = view;
    this.mark({ view });
    this.showField(this.shown);
  }
}

function factRows(shown) {
  const { distance, weight, mean, deepest, halving, code, pixels } = shown;
  const known = code.known ? `, and weighs ${code.known} known px too` : "";
  return [
    ["asked pixel", `${distance.toFixed(1)} px deep, weight ${weight.toFixed(3)}`],
    ["deepest pixel", `${deepest.distance.toFixed(1)} px deep, weight ${deepest.weight.toFixed(3)}`],
    ["mean weight", `${mean.toFixed(3)} over ${pixels} missing px`],
    ["halves every", halving === null ? "never: γ is 1" : `${halving.toFixed(1)} px`],
    ["published code", `differs on ${code.differs} missing px${known}`],
  ];
}

export default shownBy(DiscountExplorer, DISCOUNT_HINT);

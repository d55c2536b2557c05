// The hole explorer: a maker of holes, its sliders, the hole, and 64 more like it.

const HOLE_HINT =
  "Choose a maker and move its sliders. Keys: N another hole, P the one before.";
const LAST_SEED = 9999;
const CHART = { width: 380, height: 132, left: 8, base: 96, bars: 40, most: 0.8 };
const EDGES = [0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6];

/** What a slider says beside itself. */
function spokenValue({ unit }, value, size) {
  const percent = `${Math.round(100 * value)} %`;
  if (unit === "whole") return String(value);
  if (unit === "level") return value.toFixed(2);
  if (unit === "target") return value ? percent : "as drawn";
  return `${percent} · ${Math.round(value * size)} px`;
}

/** Bars of 2 %, the six buckets with their counts, and where the hole on show is. */
class Histogram {
  constructor() {
    const { width, height } = CHART;
    this.svg = shape("svg", {
      class: "iw-hist",
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
    });
  }

  x(ratio) {
    const { left, width, most } = CHART;
    return left + (Math.min(ratio, most) / most) * (width - 2 * left);
  }

  show({ ratios, counts, outside, share }) {
    const parts = [...this.bars(ratios), ...this.axis(counts), this.marker(share)];
    this.svg.replaceChildren(...parts);
    const text =
      `Ratios of ${ratios.length} holes as drawn; in the six buckets: ${counts.join(", ")}; ` +
      `outside: ${outside}. The hole on show: ${(100 * share).toFixed(1)} %.`;
    this.svg.setAttribute("aria-label", text);
  }

  bars(ratios) {
    const { bars, most, base } = CHART;
    const counts = new Array(bars).fill(0);
    for (const ratio of ratios) {
      counts[Math.min(bars - 1, Math.floor((ratio / most) * bars))] += 1;
    }
    const unit = (base - 24) / Math.max(1, ...counts);
    return counts.map((count, k) => {
      const x = this.x((k / bars) * most);
      const width = this.x(((k + 1) / bars) * most) - x - 1.5;
      const height = count * unit;
      return shape("rect", { class: "bar", x, y: base - height, width, height });
    });
  }

  axis(counts) {
    const { base, left, width } = CHART;
    const line = shape("path", { class: "line", d: `M${left} ${base}H${width - left}` });
    const ticks = EDGES.map((edge) => {
      const d = `M${this.x(edge)} ${base}v5`;
      return shape("path", { class: "line", d });
    });
    const at = (y, x, text, name) => shape("text", { class: name, x, y }, text);
    const edges = EDGES.map((edge) =>
      at(base + 16, this.x(edge), `${Math.round(100 * edge)}`, "edge"),
    );
    const numbers = counts.map((count, k) =>
      at(base + 32, this.x((EDGES[k] + EDGES[k + 1]) / 2), `${count}`, "count"),
    );
    return [line, ...ticks, ...edges, ...numbers];
  }

  marker(share) {
    const x = this.x(share);
    const made = shape("g", { class: "marker" });
    made.append(
      shape("path", { class: "stem", d: `M${x} 14V${CHART.base}` }),
      shape("path", { class: "head", d: `M${x - 6} 3h12l-6 11z` }),
    );
    return made;
  }
}

/** The whole card: keeps the sliders, the pictures and the facts in step with Python. */
class HoleExplorer extends Explorer {
  build() {
    this.makeControls();
    this.makeViews();
    this.layOut();
    this.root.addEventListener("keydown", (event) => this.keyDown(event));
  }

  makeControls() {
    const makers = Object.keys(this.model.get("controls"));
    const options = makers.map((value) => ({ value, label: value, testid: value }));
    this.maker = segment("maker", options, (name) => this.pick(name));
    const size = this.model.get("size");
    const spoken = (control, value) => spokenValue(control, value, size);
    this.sliders = new Sliders(() => this.askHole(), spoken);
    const push = (label, testid, step) =>
      element(
        "button",
        {
          type: "button",
          class: "iw-btn",
          "data-testid": testid,
          onclick: () => this.step(step),
        },
        label,
      );
    this.back = push("← Before", "before", -1);
    this.next = push("Another hole →", "another", 1);
    this.seedText = element("span", { class: "iw-field" });
  }

  makeViews() {
    const view = (testid, label) =>
      element("canvas", {
        class: "iw-canvas",
        role: "img",
        "aria-label": label,
        "data-testid": testid,
      });
    this.photo = view("photo-view", "The photo, its hole hatched");
    this.alone = view("hole-view", "The hole alone: white is missing");
    const size = this.model.get("size");
    this.picture = rgbCanvas(this.model.get("image_bytes"), size, size);
    this.draw = oncePerFrame(() => this.drawNow());
    for (const canvas of [this.photo, this.alone])
      this.watch({ canvas, draw: this.draw, drawNow: () => this.drawNow() });
    this.histogram = new Histogram();
    this.facts = element("dl", { class: "iw-facts" });
  }

  layOut() {
    const left = column("The hole in a photo", this.photo);
    const right = column("Alone: white = 1 = missing", this.alone);
    const steps = div("iw-row", this.back, this.next, this.seedText);
    const count = this.shown.ratios.length;
    const about =
      `Ratios of ${count} such holes as drawn (before Grow to), in %; below, how many ` +
      "in each bucket";
    const found = column("This one", this.facts, steps);
    const others = div("iw-col", this.histogram.svg, div("iw-hint", about));
    this.body.append(
      div("iw-row", this.maker.row),
      div("iw-trio iw-large", left, right, found),
      div("iw-pair", this.sliders.box, others),
    );
  }

  // ---- what Python says ----

  showAll() {
    const { shown } = this;
    this.seed = shown.seed;
    this.showMaker(shown.maker, shown.values[shown.maker]);
    this.showSeed();
    this.histogram.show(shown);
    const rows = [
      ["missing", shown.ratio.replace(" missing", "")],
      ["bucket", shown.bucket],
      ["border", shown.border],
    ];
    showFacts(this.facts, rows);
    this.say(`${shown.ratio}, ${shown.bucket}, ${shown.border}.`);
    this.mark({ maker: shown.maker, seed: shown.seed });
    this.draw();
  }

  showMaker(name, values) {
    if (this.shownMaker !== name) {
      this.shownMaker = name;
      this.sliders.list(this.model.get("controls")[name]);
    }
    this.maker.show(name);
    this.sliders.show(values);
  }

  showSeed() {
    this.seedText.textContent = `hole number ${this.seed}`;
    this.back.disabled = this.seed === 0;
    this.next.disabled = this.seed === LAST_SEED;
  }

  drawNow() {
    const size = this.model.get("size");
    const hole = bytesOf(this.model.get("hole_bytes"));
    if (!this.photo.width || hole.length !== size * size) return;
    const pen = this.photo.getContext("2d");
    pen.drawImage(this.picture, 0, 0, this.photo.width, this.photo.height);
    drawHole(pen, hole, size, size);
    const plain = this.alone.getContext("2d");
    plain.imageSmoothingEnabled = false;
    plain.fillStyle = "#000";
    plain.fillRect(0, 0, this.alone.width, this.alone.height);
    const white = new Uint8Array(3 * size * size);
    for (let i = 0; i < hole.length; i++) white.fill(255 * hole[i], 3 * i, 3 * i + 3);
    const picture = rgbCanvas(white, size, size);
    plain.drawImage(picture, 0, 0, this.alone.width, this.alone.height);
  }

  // ---- what the reader does ----

  pick(maker) {
    this.showMaker(maker, this.shown.values[maker]);
    this.askHole();
  }

  step(by) {
    this.seed = clip(this.seed + by, 0, LAST_SEED);
    this.showSeed();
    this.askHole();
  }

  askHole() {
    const { shownMaker: maker, seed } = this;
    this.ask("look", { maker, seed, values: this.sliders.values });
  }

  keyDown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key !== "n" && key !== "p") return;
    event.preventDefault();
    this.step(key === "n" ? 1 : -1);
  }
}

export default shownBy(HoleExplorer, HOLE_HINT);

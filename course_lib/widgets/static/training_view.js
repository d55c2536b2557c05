// The training view: curves of the loss that grow, and the picture at each moment.

const SCRUB_HINT =
  "Drag the slider or the marker in the curve, or press ← and →, to go back to any " +
  "moment. All pictures are here already, also while it trains.";
const FIRST_HINT = "What the network makes, and its loss, appear here while it trains.";
const LOSS_HINT = "The loss of every step: a line through its mean, pale its range.";
const MARGIN = { left: 46, right: 84, top: 20, base: 24 };
const GAP = 6; // between pictures of one moment
const LABEL = 15; // pixels a label is high
const PLAY_MS = 4000;

const grouped = (number) => number.toLocaleString("en");
const short = (number) =>
  number !== 0 && Math.abs(number) < 1e-3
    ? number.toExponential(1)
    : String(Number(number.toPrecision(3)));
const three = (number) =>
  number !== 0 && (Math.abs(number) < 1e-3 || Math.abs(number) >= 1e4)
    ? number.toExponential(1)
    : number.toPrecision(3);

/** Where a curve is at a step, between its points. */
function valueAt({ step, smooth }, wanted) {
  const k = step.findIndex((at) => at >= wanted);
  if (k < 0) return smooth.at(-1);
  if (k === 0) return smooth[0];
  const share = (wanted - step[k - 1]) / (step[k] - step[k - 1]);
  return smooth[k - 1] + share * (smooth[k] - smooth[k - 1]);
}

/** Round numbers between two, about `count` of them; in a log scale 1, 2 and 5;
 * `least` apart. */
function ticks(low, high, count, { log = false, least = 0 } = {}) {
  const found = [];
  if (log && high / low > 4) {
    const digits = high / low > 2000 ? [1] : high / low > 60 ? [1, 3] : [1, 2, 5];
    for (let p = Math.floor(Math.log10(low)); p <= Math.log10(high); p++)
      found.push(...digits.map((digit) => digit * 10 ** p));
    return found.filter((value) => value >= low && value <= high);
  }
  const rough = Math.max(least, (high - low) / count || 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((digit) => digit * power >= rough);
  for (let k = Math.ceil(low / step); k * step <= high * (1 + 1e-9); k++)
    found.push(k * step);
  return found;
}

/** The curves of the loss, smoothed, over the range of the single steps. */
class Curves {
  constructor(onPick) {
    this.svg = shape("svg", {
      class: "iw-curves",
      role: "img",
      "data-testid": "curves",
    });
    const pick = (event) => {
      if (event.type === "pointerdown") this.svg.setPointerCapture(event.pointerId);
      else if (!event.buttons) return;
      onPick(this.stepAt(event.clientX));
    };
    this.svg.addEventListener("pointerdown", pick);
    this.svg.addEventListener("pointermove", pick);
  }

  /** Python's facts, the step on show (or null), and whether the scale is a log. */
  show(facts, chosen, log) {
    const { width, height } = this.svg.getBoundingClientRect();
    if (!width) return;
    this.size = { right: width - MARGIN.right, base: height - MARGIN.base };
    this.goal = Math.max(1, facts.goal);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.scale(facts.curves, log);
    const curves = facts.curves.flatMap((one, k) => this.curve(one, k));
    this.svg.replaceChildren(
      ...this.axes(log),
      ...curves,
      ...(chosen === null ? [] : this.marker(facts.curves, chosen)),
      ...this.labels(facts.curves),
    );
    this.svg.setAttribute("aria-label", this.inWords(facts));
  }

  scale(curves, log) {
    const low = Math.min(...curves.flatMap((one) => one.low));
    const high = Math.max(...curves.flatMap((one) => one.high));
    this.any = curves.length > 0;
    this.bend = log ? Math.log10 : (value) => value;
    [this.low, this.high] = this.any ? [low, high] : [log ? 0.1 : 0, 1];
    if (!log) this.low = Math.min(0, this.low);
    if (this.high <= this.low) this.high = this.low + Math.abs(this.low || 1);
  }

  x(step) {
    return MARGIN.left + (step / this.goal) * (this.size.right - MARGIN.left);
  }

  y(value) {
    const [low, high] = [this.bend(this.low), this.bend(this.high)];
    const share = (this.bend(value) - low) / (high - low);
    return this.size.base - share * (this.size.base - MARGIN.top);
  }

  stepAt(clientX) {
    const { left } = this.svg.getBoundingClientRect();
    const share = (clientX - left - MARGIN.left) / (this.size.right - MARGIN.left);
    return clip(share, 0, 1) * this.goal;
  }

  axes(log) {
    const { right, base } = this.size;
    const text = (name, x, y, said) => shape("text", { class: name, x, y }, said);
    const rows = ticks(this.low, this.high, 5, { log }).flatMap((value) => [
      shape("path", { class: "grid", d: `M${MARGIN.left} ${this.y(value)}H${right}` }),
      text("left", MARGIN.left - 7, this.y(value) + 4, short(value)),
    ]);
    const line = shape("path", { class: "line", d: `M${MARGIN.left} ${base}H${right}` });
    if (!this.any) return [line];
    const wide = right - MARGIN.left > 260 ? 5 : 3;
    const columns = ticks(0, this.goal, wide, { least: 1 }).map((step) =>
      text("below", this.x(step), base + 17, grouped(step)),
    );
    return [...rows, line, ...columns, text("beside", right + 24, base + 17, "steps")];
  }

  curve({ step, low, high, smooth }, k) {
    const path = (name, d) => shape("path", { class: `${name} c${k % 4}`, d });
    const points = (values) =>
      values.map((value, i) => `${this.x(step[i])} ${this.y(value)}`);
    const single = low.every((value, i) => value === high[i]);
    const gap = (this.x(step.at(-1)) - this.x(step[0])) / step.length;
    const line = path("smooth", `M${points(smooth).join("L")}`);
    if (single && gap > 3) return [path("raw", `M${points(high).join("L")}`), line];
    const reach = single ? 2 : 0; // so that close single steps make a band as well
    const near = (values, i) => values.slice(Math.max(0, i - reach), i + reach + 1);
    const top = points(high.map((_, i) => Math.max(...near(high, i))));
    const bottom = points(low.map((_, i) => Math.min(...near(low, i)))).reverse();
    return [path("band", `M${[...top, ...bottom].join("L")}Z`), line];
  }

  marker(curves, chosen) {
    const x = this.x(chosen);
    const dots = curves.map((one, k) =>
      shape("circle", {
        class: `dot c${k % 4}`,
        cx: x,
        cy: this.y(valueAt(one, chosen)),
        r: 4,
      }),
    );
    return [
      shape("path", { class: "stem", d: `M${x} 12V${this.size.base}` }),
      shape("path", { class: "head", d: `M${x - 6} 2h12l-6 11z` }),
      ...dots,
    ];
  }

  /** Name and newest value of each curve at its end; none lies over another. */
  labels(curves) {
    const ends = curves.map((one, k) => ({ one, k, y: this.y(one.smooth.at(-1)) }));
    ends.sort((a, b) => a.y - b.y);
    let free = MARGIN.top + 2;
    for (const end of ends) {
      end.y = Math.max(end.y, free);
      free = end.y + 2 * LABEL;
    }
    let limit = this.size.base - LABEL;
    for (const end of ends.reverse()) {
      end.y = Math.min(end.y, limit);
      limit = end.y - 2 * LABEL;
    }
    return ends.flatMap(({ one, k, y }) => {
      const x = this.x(one.step.at(-1)) + 8;
      const name = shape("text", { class: `name c${k % 4}`, x, y }, one.name);
      const value = three(one.smooth.at(-1));
      return [name, shape("text", { class: "value", x, y: y + LABEL - 2 }, value)];
    });
  }

  inWords({ curves, step }) {
    const said = curves.map(
      ({ name, smooth }) => `${name} from ${three(smooth[0])} to ${three(smooth.at(-1))}`,
    );
    return `Loss over ${step} steps: ${said.join(", ") || "nothing yet"}.`;
  }
}

/** The whole card. It asks Python for nothing: every moment is in the page. */
class TrainingView {
  constructor(model, el) {
    this.model = model;
    this.step = -1; // on show; -1 follows the newest
    this.playing = 0;
    Object.assign(this, card(model.get("title"), FIRST_HINT));
    this.draw = oncePerFrame(() => this.drawNow());
    this.makeParts();
    this.layOut();
    el.append(this.root);
    this.root.addEventListener("keydown", (event) => this.keyDown(event));
    this.follow();
  }

  makeParts() {
    this.picture = element("canvas", {
      class: "iw-canvas",
      role: "img",
      "data-testid": "picture",
    });
    this.curves = new Curves((step) => this.choose(step));
    const scales = [
      { value: "log", label: "log", testid: "log" },
      { value: "linear", label: "linear", testid: "linear" },
    ];
    this.scale = choice("scale of the loss", scales, () => this.draw());
    this.scale.row.className = "iw-seg";
    this.scale.show("log");
    this.slider = element("input", {
      type: "range",
      class: "iw-range",
      min: 0,
      "aria-label": "moment of the training",
      "data-testid": "moment",
      oninput: () => this.choose(this.moments[Number(this.slider.value)][0]),
    });
    this.play = element(
      "button",
      {
        type: "button",
        class: "iw-btn",
        "data-testid": "play",
        onclick: () => this.toggle(),
      },
      "Play",
    );
    this.caption = element("span");
    this.readout = element("output", { class: "iw-moment", "data-testid": "readout" });
  }

  layOut() {
    const name = element("span", {}, "Loss");
    this.left = div("iw-col", div("iw-cap", this.caption), this.picture);
    this.right = div("iw-col", div("iw-cap", name, this.scale.row), this.curves.svg);
    this.pair = div("iw-pair", this.left, this.right);
    this.controls = div("iw-row iw-scrub", this.play, this.slider, this.readout);
    this.body.append(this.pair, this.controls);
  }

  follow() {
    const { model } = this;
    const onFacts = () => this.showFacts();
    const onChosen = () => this.choose(model.get("chosen"));
    model.on("change:facts", onFacts);
    model.on("change:chosen", onChosen);
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.curves.svg);
    const sharp = keepSharp(this.picture, () => this.drawNow());
    this.step = model.get("chosen");
    this.showFacts();
    this.stop = () => {
      model.off("change:facts", onFacts);
      model.off("change:chosen", onChosen);
      this.observer.disconnect();
      sharp();
      this.draw.stop();
      clearInterval(this.playing);
    };
  }

  /** `[step, slot]` of each picture, in order. */
  get moments() {
    return this.model.get("facts").pictures;
  }

  /** Which picture is on show. */
  get place() {
    const { moments, step } = this;
    if (step < 0) return moments.length - 1;
    let best = 0;
    moments.forEach(([at], k) => {
      if (Math.abs(at - step) < Math.abs(moments[best][0] - step)) best = k;
    });
    return best;
  }

  // ---- what Python says ----

  showFacts() {
    const facts = this.model.get("facts");
    const [count = 0, high = 1, wide = 1] = facts.size; // before: what to make room for
    this.left.classList.toggle("iw-hidden", !count);
    this.controls.classList.toggle("iw-hidden", !count);
    this.controls.classList.toggle("iw-waits", this.moments.length < 2);
    this.pair.classList.toggle("iw-one", count * wide > 1.5 * high || !count);
    const across = count * wide + (count - 1) * GAP;
    if (count) this.picture.style.aspectRatio = `${across} / ${high}`;
    this.slider.max = String(Math.max(1, this.moments.length - 1));
    const line = this.root.querySelector(".iw-status");
    line.setAttribute("aria-live", facts.moving ? "off" : "polite");
    this.root.querySelector(".iw-hint").textContent =
      this.moments.length > 1 ? SCRUB_HINT : facts.step ? LOSS_HINT : FIRST_HINT;
    if (facts.trouble) this.say(facts.trouble, "bad");
    else this.say(facts.status);
    this.root.dataset.state = facts.trouble ? "error" : "ready";
    this.root.dataset.done = String(facts.step);
    this.root.dataset.pictures = String(this.moments.length);
    this.showMoment();
  }

  showMoment() {
    const { place, moments } = this;
    const facts = this.model.get("facts");
    const step = moments[place]?.[0];
    this.slider.value = String(place);
    this.root.dataset.step = String(step ?? "");
    this.root.dataset.follows = String(this.step < 0);
    if (step !== undefined) this.describe(step, facts.curves);
    else this.caption.textContent = "The picture";
    this.draw();
  }

  describe(step, curves) {
    const many = `after ${grouped(step)} ${step > 1 ? "steps" : "step"}`;
    const losses = curves.map((one) => `${one.name} ${three(valueAt(one, step))}`);
    const said = [`step ${grouped(step)}`, ...(step ? losses : [])].join(" · ");
    this.caption.textContent = `The picture ${step ? many : "before the first step"}`;
    this.readout.textContent = said;
    this.most = Math.max(this.readout.offsetWidth, this.most ?? 0);
    this.readout.style.minWidth = `min(100%, ${this.most}px)`; // the slider stays still
    this.slider.setAttribute("aria-valuetext", said);
    this.picture.setAttribute("aria-label", this.caption.textContent);
  }

  drawNow() {
    const facts = this.model.get("facts");
    const positive = facts.curves.every((one) => one.low.every((value) => value > 0));
    const inputs = this.scale.row.querySelectorAll("input");
    inputs.forEach((input) => (input.disabled = !positive));
    const log = positive && inputs[0].checked;
    const { place, moments } = this;
    this.curves.show(facts, moments[place]?.[0] ?? null, log);
    if (place >= 0 && this.picture.width) this.drawPicture(facts.size, moments[place][1]);
  }

  drawPicture([count, high, wide], slot) {
    const data = bytesOf(this.model.get(`picture_${slot}`));
    const one = 3 * high * wide;
    if (data.length !== count * one) return;
    const pen = this.picture.getContext("2d");
    const scale = this.picture.width / (count * wide + (count - 1) * GAP);
    pen.clearRect(0, 0, this.picture.width, this.picture.height);
    pen.imageSmoothingEnabled = high >= 128;
    for (let k = 0; k < count; k++) {
      const tile = rgbCanvas(data.subarray(k * one, (k + 1) * one), wide, high);
      const left = k * (wide + GAP) * scale;
      pen.drawImage(tile, left, 0, wide * scale, this.picture.height);
    }
  }

  // ---- what the reader does ----

  /** Show the picture nearest to a step; at the last one, follow the newest again. */
  choose(step, playing = false) {
    if (!playing) this.pause();
    if (!this.moments.length) return;
    this.step = step;
    const last = this.place === this.moments.length - 1;
    this.step = last ? -1 : this.moments[this.place][0];
    this.showMoment();
  }

  toggle() {
    if (this.playing) {
      this.pause();
      return;
    }
    if (this.step < 0) this.choose(0);
    const pause = clip(PLAY_MS / this.moments.length, 60, 400);
    this.playing = setInterval(() => {
      this.choose(this.moments[this.place + 1]?.[0] ?? -1, true);
      if (this.step < 0) this.pause();
    }, pause);
    this.play.textContent = "Pause";
  }

  pause() {
    clearInterval(this.playing);
    this.playing = 0;
    this.play.textContent = "Play";
  }

  keyDown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.tagName === "INPUT") return; // which moves by itself
    const by = ARROWS[event.key]?.[0];
    if (!by || !this.moments.length) return;
    event.preventDefault();
    const place = clip(this.place + by, 0, this.moments.length - 1);
    this.choose(this.moments[place][0]);
  }
}

function render({ model, el }) {
  const view = new TrainingView(model, el);
  return () => view.stop();
}

export default { render };

// The mining explorer: the hole that a miner finds, its map, and three holes beside it.

const MINING_HINT =
  "Click or drag to ask about a pixel; arrows walk (Shift: by eight), Home goes to the deepest " +
  "of the mined hole.";
const SHOWS = [
  { value: "hole", label: "holes", testid: "show-hole" },
  { value: "fill", label: "fills", testid: "show-fill" },
  { value: "error", label: "errors", testid: "show-error" },
];
const TOLD = {
  hole: "Four holes of one area",
  fill: "The same, filled by a referee that never met the miner",
  error: "The referee's errors, in the colours of the map",
};
const MOST = 0.25; // the error at the end of a bar
const MEANING = {
  random: () => "blind to the photo",
  mined: () => "lowest expected error",
  shuffled: (other) => `mined for ${spoken(other)}`,
  hardest: () => "highest expected error",
};
const three = (value) => value.toFixed(3);

/** How an error compares with another, in words. */
function against(error, other) {
  const less = Math.round(100 * (1 - error / other));
  return less < 0 ? `${-less} % more` : `${less} % less`;
}

/** One of the four holes: a picture, its name, and its errors. */
class HoleTile {
  constructor(kind, paint) {
    this.kind = kind;
    this.canvas = element("canvas", {
      class: "iw-canvas",
      role: "img",
      "data-testid": `tile-${kind}`,
    });
    const drawNow = () => this.canvas.width && paint(this.canvas.getContext("2d"));
    Object.assign(this, { drawNow, draw: oncePerFrame(drawNow) });
    this.error = element("b", { "data-testid": `error-${kind}` });
    this.meaning = element("span", {});
    this.foreseen = element("span", {});
    const head = div("iw-tile-head", element("b", {}, kind), this.error);
    this.box = div("iw-hole-tile", this.canvas, head, this.meaning, this.foreseen);
  }

  show({ measured, expected }, other, view) {
    this.error.textContent = three(measured);
    this.meaning.textContent = MEANING[this.kind](other);
    this.foreseen.textContent = `expected ${three(expected)}`;
    const what = {
      hole: "the photo with the hole hatched",
      fill: "the photo with the hole filled",
      error: "the error of the fill, dark is small",
    }[view];
    const label = `${this.kind} (${this.meaning.textContent}): ${what}; mean error ${three(measured)}.`;
    this.canvas.setAttribute("aria-label", label);
    this.draw();
  }
}

/** The whole card: keeps the settings, the pictures and the asked pixel in step. */
class MiningExplorer extends PixelExplorer {
  build() {
    this.aspect = "hole";
    this.wanted = {}; // sliders that are ahead of Python
    this.upload = new Upload(this.model, this.asker, this.say);
    this.picture = kept(rgbCanvas);
    this.dimmed = kept(dimmedCanvas);
    this.makeControls();
    this.makeViews();
    this.layOut();
    const onPhotos = () => this.showPhotos();
    this.model.on("change:thumbnails", onPhotos);
    this.stops.push(
      () => this.model.off("change:thumbnails", onPhotos),
      () => this.photos.stop(),
    );
    this.showPhotos();
    this.shows.show(this.aspect);
  }

  makeControls() {
    const { steps, low, high } = this.model.get("controls");
    this.photos = new PhotoStrip({
      onPick: (photo) => this.ask("photo", { photo }),
      onFile: (file) => this.upload.start(file),
    });
    const told = {
      steps: (k) => `${steps[k]}`,
      area: (value) => `${+value.toFixed(1)} %`,
      variety: (value) => (value ? value.toFixed(2) : "none"),
    };
    this.sliders = new Sliders(
      (name) => this.slide(name),
      ({ name }, value) => told[name](value),
    );
    const [least, most] = [Math.round(100 * low), Math.round(100 * high)];
    this.sliders.list([
      { name: "steps", label: "Steps of training", low: 0, high: steps.length - 1, step: 1 },
      { name: "area", label: "Area that goes missing", low: least, high: most, step: 1 },
      { name: "variety", label: "Variety (noise)", low: 0, high: 1, step: 0.05 },
    ]);
    this.another = button("Another draw", "another", () => this.ask("another"));
    this.another.title = "Draws the random hole and the noise anew";
    this.shows = segment("what the four pictures show", SHOWS, (view) => this.pickView(view));
  }

  makeViews() {
    const colours = bytesOf(this.model.get("colours"));
    this.colour = (level) => [...colours.subarray(3 * level, 3 * level + 3), 255];
    const home = "the deepest pixel of the mined hole";
    this.mined = this.view("mining-view", "The photo with the mined hole.", home);
    this.field = this.view("expected-view", "The error that the miner expects.", home);
    this.tiles = this.shown.kinds.map(({ kind }, k) =>
      this.watch(new HoleTile(kind, (pen) => this.paintTile(pen, k))),
    );
    this.told = element("span", {});
    this.missing = element("span", { class: "iw-part", "data-testid": "missing" });
    this.after = element("span", { class: "iw-part" });
    this.facts = element("dl", { class: "iw-facts" });
    this.pixel = element("dl", { class: "iw-facts" });
    this.bars = div("iw-rings iw-bars iw-lined");
  }

  layOut() {
    const [low, high] = this.model.get("controls").errors;
    const ramp = element("canvas", { class: "iw-scale", width: 256, height: 1 });
    const line = paintedCanvas(256, 1, (level) => this.colour(level));
    ramp.getContext("2d").drawImage(line, 0, 0);
    const ticks = [`${low}: easy`, "0.03", "0.1", `${high}: hard`];
    const scale = div("iw-ticks", ...ticks.map((text) => element("span", {}, text)));
    const about = "Bar: mean error of the fill. Line: expected.";
    this.body.append(
      div("iw-mining-photos", this.photos.row),
      div("iw-mining-asks", this.sliders.box, this.another),
      div(
        "iw-mining",
        column(["The mined hole", this.missing], this.mined.canvas),
        column(["Expected error", this.after], this.field.canvas, ramp, scale),
        div(
          "iw-col",
          div("iw-cap", "In the mined hole"),
          this.facts,
          this.bars,
          div("iw-hint", about),
          div("iw-cap", "The asked pixel"),
          this.pixel,
        ),
      ),
      column([this.told, this.shows.row], div("iw-hole-tiles", ...this.tiles.map(({ box }) => box))),
    );
  }

  // ---- what Python says ----

  answered({ kind }) {
    if (kind === "upload" && this.upload.next()) return;
    this.showAll();
  }

  showPhotos() {
    this.photos.list(this.model.get("photo_labels"), this.model.get("thumbnails"));
    this.photos.show(this.model.get("photo"));
  }

  showAll() {
    const { shown } = this;
    this.photos.show(shown.photo);
    this.showSliders();
    this.showPictures();
    this.showTiles();
    this.showNumbers();
    this.say(miningSentence(shown));
    const { photo, steps, area, variety, draw, row, column: across } = shown;
    this.mark({ photo, steps, area, variety, draw, row, column: across });
    for (const { kind, measured } of shown.kinds) this.mark({ [kind]: three(measured) });
  }

  /** A slider that is being moved is ahead of Python: it is left alone. */
  showSliders() {
    const { steps, area, variety } = this.shown;
    const index = this.model.get("controls").steps.indexOf(steps);
    const values = { steps: index, area: 100 * area, variety };
    if (this.root.dataset.state === "error") this.wanted = {};
    for (const [name, value] of Object.entries(this.wanted)) {
      if (Math.abs(value - values[name]) < 1e-6) delete this.wanted[name];
    }
    this.sliders.show({ ...values, ...this.wanted });
  }

  showPictures() {
    const { shown, model, width, height, hole } = this;
    const { row, column: across } = shown;
    const place = { width, height, row, column: across };
    const photo = this.picture(model.get("image_bytes"), width, height);
    const paintMined = (pen) => {
      drawWhole(pen, photo);
      drawHole(pen, hole, width, height);
    };
    this.levels = bytesOf(model.get("expected_bytes"));
    const levels = paintedCanvas(width, height, (i) => this.colour(this.levels[i]));
    const paintField = (pen) => {
      drawWhole(pen, levels);
      drawRim(pen, hole, width, height);
    };
    this.mined.show({ ...place, paint: paintMined });
    this.field.show({ ...place, paint: paintField });
    this.missing.textContent = `${(100 * shown.missing).toFixed(1)} % missing`;
    this.after.textContent = `after ${shown.steps} steps`;
  }

  showTiles() {
    const { kinds, other } = this.shown;
    this.told.textContent = TOLD[this.aspect];
    this.tiles.forEach((tile, k) => tile.show(kinds[k], other, this.aspect));
  }

  /** The bytes of tile `k` in a trait that holds those of all tiles, one after another. */
  part(name, k, channels = 1) {
    const size = channels * this.width * this.height;
    return bytesOf(this.model.get(name)).subarray(k * size, (k + 1) * size);
  }

  paintTile(pen, k) {
    const { model, width, height, aspect: view } = this;
    const ratio = `${width} / ${height}`;
    pen.canvas.style.aspectRatio = ratio;
    if (view === "fill") {
      drawWhole(pen, rgbCanvas(this.part("fills_bytes", k, 3), width, height));
      return;
    }
    const hole = this.part("holes_bytes", k);
    if (view === "hole") {
      drawWhole(pen, this.picture(model.get("image_bytes"), width, height));
      drawHole(pen, hole, width, height);
      return;
    }
    const errors = this.part("errors_bytes", k);
    drawWhole(pen, this.dimmed(model.get("image_bytes"), width, height));
    const colour = (i) => (hole[i] ? this.colour(errors[i]) : null);
    drawWhole(pen, paintedCanvas(width, height, colour), true);
  }

  showNumbers() {
    const { kinds, row, column: across, expected } = this.shown;
    const [random, mined] = kinds;
    showFacts(this.facts, [
      ["miner expects", three(mined.expected)],
      ["referee makes", three(mined.measured)],
      ["against random", against(mined.measured, random.measured)],
    ]);
    const bar = ({ kind, measured, expected: line }) => ({
      name: kind,
      share: Math.min(1, measured / MOST),
      line: Math.min(1, line / MOST),
      value: three(measured),
      testid: `bar-${kind}`,
      now: kind === "mined",
    });
    showBars(this.bars, kinds.map(bar));
    const hiding = kinds.filter(({ here }) => here !== null);
    const others = hiding.filter(({ kind }) => kind !== "mined");
    showFacts(this.pixel, [
      ["row, column", `${row}, ${across}`],
      ["expected", three(expected)],
      ["in mined hole", mined.here === null ? "no" : `yes, error ${three(mined.here)}`],
      ["in others", others.map(({ kind, here }) => `${kind} ${three(here)}`).join(", ") || "no"],
    ]);
  }

  // ---- what the reader does ----

  slide(name) {
    const value = this.sliders.values[name];
    this.wanted[name] = value;
    const asked = {
      steps: () => this.model.get("controls").steps[value],
      area: () => value / 100,
      variety: () => value,
    }[name];
    this.ask(name, { [name]: asked() });
  }

  pickView(view) {
    this.aspect = view;
    this.mark({ view });
    this.showTiles();
  }
}

function miningSentence({ steps, missing, kinds, row, column: across, expected }) {
  const [random, mined, shuffled, hardest] = kinds;
  const here =
    mined.here === null
      ? "not in the mined hole"
      : `in the mined hole, measured ${three(mined.here)}`;
  return (
    `After ${steps} steps, ${(100 * missing).toFixed(1)} % missing: expected error ` +
    `${three(mined.expected)}; the referee's is ${three(mined.measured)} mined, ` +
    `${three(shuffled.measured)} shuffled, ${three(random.measured)} random, ` +
    `${three(hardest.measured)} hardest. Row ${row}, column ${across}: expected ` +
    `${three(expected)}, ${here}.`
  );
}

export default shownBy(MiningExplorer, MINING_HINT);

// The kernel explorer: the kernels that a layer makes for a window of a hole.

const KERNEL_HINT =
  "For every window the layer makes its kernels anew, from what is missing there; the " +
  "photo's colours play no part. Drag the hole or pull at its edges; click a window. " +
  "Keys: arrows move the window, Shift + arrows the hole, + and − resize it.";
const POINT_AT = "Point at a weight to read it.";
const NAMED = 16; // kernels: of more, only the small text that follows the pointer tells
const PATCH = 92; // pixels of the small picture of what is missing in the window

const percentText = (share) => `${(100 * share).toFixed(1)} %`;

/** How unlike two kernels are, by their angle: 0 the same, 1 at a right angle or more. */
const unlike = (cosine) => Math.acos(clip(cosine, 0, 1)) / (Math.PI / 2);

/** The window of a level whose middle is nearest to a pixel. */
const nearest = (pixel, { stride }, count) =>
  clip(Math.floor((pixel + Math.floor(stride / 2)) / stride), 0, count - 1);

/** A picture in which windows are asked: by a click, or step by step with the keys. */
const windowed = (Kind) =>
  class extends Kind {
    ask(row, column) {
      const [tall, wide] = this.level.size;
      const place = [nearest(row, this.level, tall), nearest(column, this.level, wide)];
      this.askWindow(place);
    }

    askWindow([row, column]) {
      const [tall, wide] = this.level.size;
      const place = [clip(row, 0, tall - 1), clip(column, 0, wide - 1)];
      if (place[0] === this.at[0] && place[1] === this.at[1]) return;
      this.at = place;
      this.onAsk(...place);
    }

    step([across, down], far) {
      if (far && this.box) return super.step([across, down], far);
      const by = far ? 4 : 1;
      return this.askWindow([this.at[0] + by * down, this.at[1] + by * across]);
    }

    drawNow() {
      if (!this.level || !this.canvas.width) return;
      const pen = this.canvas.getContext("2d");
      this.paint(pen);
      drawFrame(pen, this.window, [this.height, this.width]);
    }
  };

/** The photo; its hole is dragged, and `onDrop` says that it was let go. */
class KernelPhoto extends windowed(PhotoCanvas) {
  constructor(asks) {
    super(asks);
    this.onDrop = asks.onDrop;
    this.canvas.addEventListener("pointercancel", () => this.onDrop());
  }

  release(event) {
    const { moving } = this;
    super.release(event);
    if (moving) this.onDrop();
  }

  paint(pen) {
    drawWhole(pen, this.photo);
    if (this.answered && !this.moving) drawRim(pen, this.hole, this.width, this.height);
    else drawHole(pen, this.hole, this.width, this.height);
    if (this.resizable) this.drawFrame(pen);
  }
}

/** Kernels as tiles, each a picture of its weights; `onPoint` reads one of them. */
class KernelTiles {
  constructor(testid, label, { onPick, onPoint }) {
    Object.assign(this, { onPick, onPoint });
    const named = { role: "group", "aria-label": label, "data-testid": testid };
    this.row = element("div", { class: "iw-kernels", ...named });
    this.row.addEventListener("pointerleave", () => onPoint(null));
  }

  /** `values` of `names.length` kernels; `picks` says whether a tile can be chosen. */
  show(values, names, limit, picks) {
    const side = Math.round(Math.sqrt(values.length / names.length));
    this.arrange(names, side, picks);
    const each = side * side;
    this.tiles.forEach(({ box, pen, picture }, k) => {
      const own = values.subarray(k * each, (k + 1) * each);
      own.forEach((value, i) => picture.data.set(signedColour(value / limit), 4 * i));
      pen.putImageData(picture, 0, 0);
      const ends = `from ${signedText(Math.min(...own))} to ${signedText(Math.max(...own))}`;
      const kind = picks ? "output" : "input";
      const told = `${kind} ${names[k]}: weights ${ends}`;
      box.setAttribute("aria-label", told);
      box.title = told;
    });
  }

  /** New tiles only where there are others than before: they may have the focus. */
  arrange(names, side, picks) {
    const now = `${names} ${side} ${picks}`;
    if (now === this.arranged) return;
    this.arranged = now;
    this.tiles = names.map((name, k) => this.tile(name, k, side, picks));
    this.row.replaceChildren(...this.tiles.map(({ box }) => box));
    this.row.style.setProperty("--across", columnsFor(names.length));
    this.row.classList.toggle("iw-bare", names.length > NAMED);
  }

  tile(name, k, side, picks) {
    const canvas = element("canvas", { width: side, height: side });
    const pen = canvas.getContext("2d");
    const attributes = { class: "iw-kernel", "data-testid": `tile-${k}` };
    // The list of outputs is the keyboard's way: 32 tiles would be 32 stops.
    const pick = { type: "button", tabindex: "-1", onclick: () => this.onPick(k) };
    const box = element(
      picks ? "button" : "div",
      picks ? { ...attributes, ...pick } : { ...attributes, role: "img" },
      canvas,
      element("span", {}, name),
    );
    canvas.addEventListener("pointermove", (event) => {
      const [x, y] = pointOf(event, canvas, side, side).map(Math.floor);
      if (x >= 0 && x < side && y >= 0 && y < side) this.onPoint([k, y, x]);
    });
    return { box, pen, picture: pen.createImageData(side, side) };
  }
}

/** Tiles in a row, so that two or three rows hold them all. */
const columnsFor = (count) => (count <= 8 ? 4 : count <= 12 ? 6 : 8);

/** The whole card: keeps the hole, the window, the level and the kernels in step. */
class KernelExplorer extends PixelExplorer {
  build() {
    const colours = bytesOf(this.model.get("colours"));
    this.rgb = (value) => {
      const k = 3 * Math.round(255 * clip(value, 0, 1));
      return [colours[k], colours[k + 1], colours[k + 2]];
    };
    this.given = kept(rgbCanvas);
    this.truth = kept(rgbCanvas);
    this.ground = kept(dimmedCanvas);
    this.pointed = this.weightAt = null; // what the pointer is at
    this.stage = 0; // what the photo shows: its hole, or the answer of a decoder
    this.makeControls();
    this.makeViews();
    this.makeTiles();
    this.makeNumbers();
    this.layOut();
  }

  makeControls() {
    const { levels } = this.model.get("controls");
    const level = ({ number }) => ({
      value: number,
      label: `${number}`,
      testid: `level-${number}`,
    });
    this.levels = segment("level", levels.map(level), (number) =>
      this.ask("level", { number }),
    );
    this.about = element("span", { class: "iw-hint", "data-testid": "about-level" });
    this.channel = element("select", {
      class: "iw-select",
      "data-testid": "channel",
      onchange: ({ target: { value } }) => this.askChannel(value),
    });
  }

  makeViews() {
    const label =
      "Photo with its hole and the asked window. Arrow keys move the window, Shift and " +
      "arrow keys the hole, plus and minus resize a rectangle; Home asks at its edge.";
    const onAsk = (row, column) => this.ask("look", { row, column });
    const onPlace = (box) => this.moved(box);
    const onDrop = () => this.ask("place", { box: this.photo.box });
    const asks = { testid: "kernel-photo", label, onAsk, onPlace, onDrop };
    this.photo = this.watch(new KernelPhoto(asks));
    const what = "How like the kernel of a known window each window's kernel is.";
    const home = "the edge of the hole";
    this.map = this.view("similarity-view", what, home, windowed(PixelCanvas));
    this.map.canvas.addEventListener("pointermove", (event) => this.pointAt(event));
    this.map.canvas.addEventListener("pointerleave", () => this.pointAt(null));
    this.patch = element("canvas", { class: "iw-patch-view", role: "img" });
    this.filmPlace = div("iw-film-place");
  }

  makeTiles() {
    const calls = {
      onPick: (channel) => this.ask("channel", { channel }),
      onPoint: (point) => this.readWeight(point),
    };
    this.here = new KernelTiles("tiles-here", "kernels made here", calls);
    this.full = new KernelTiles("tiles-full", "kernels where nothing is missing", calls);
    this.weight = div("iw-hint iw-read");
    this.weight.dataset.testid = "weight";
    const ramp = `rgb(${MINUS}), rgb(${NEUTRAL}), rgb(${PLUS})`;
    this.ramp = div("iw-ramp");
    this.ramp.style.background = `linear-gradient(90deg, ${ramp})`;
    this.ends = ["start", "middle", "end"].map(() => element("span", {}));
  }

  makeNumbers() {
    const part = (testid) => element("span", { class: "iw-part", "data-testid": testid });
    this.missing = part("missing");
    this.cosine = part("cosine");
    this.size = element("span", {});
    this.counts = div("iw-counts");
    this.facts = element("dl", { class: "iw-facts" });
    this.caption = element("span", {});
    this.nearby = div("iw-hint iw-read");
    this.what = element("span", {});
  }

  layOut() {
    const field = (name, ...parts) => element("label", { class: "iw-field" }, name, ...parts);
    const controls = div(
      "iw-row",
      div("iw-field iw-level", "Level", this.levels.row, this.about),
      field("Kernels of", this.channel),
    );
    controls.lastChild.classList.add("iw-end");
    const photo = column(
      [this.caption, this.missing],
      this.photo.canvas,
      div("iw-cap", this.size),
      div("iw-in-window", this.patch, this.counts),
    );
    const kernels = column(
      this.what,
      this.here.row,
      div("iw-cap", "…and where nothing is missing"),
      this.full.row,
      div("iw-scale-of", this.ramp, div("iw-ticks", ...this.ends)),
      this.weight,
    );
    const ramp = Array.from({ length: 12 }, (_, k) => `rgb(${this.rgb(1 - k / 11)})`);
    const scale = div("iw-ramp");
    scale.style.background = `linear-gradient(90deg, ${ramp})`;
    const ticks = ["0: unlike", "0.5", "0.87", "1: same"].map((text) => element("span", {}, text));
    const likeness = column(
      ["How alike the two are", this.cosine],
      this.map.canvas,
      div("iw-scale-of", scale, div("iw-ticks iw-angles", ...ticks)),
      this.nearby,
      this.facts,
    );
    this.body.append(
      controls,
      div("iw-three iw-kernel-three", photo, kernels, likeness),
      this.cascade(),
    );
  }

  cascade() {
    const hint = div(
      "iw-hint",
      "The first decoder recovers the hole, each further one works it over. L1: mean " +
        "error in the hole, 0 is perfect. Choose one to see it in the photo above.",
    );
    const answers = column("What the whole network fills in", this.filmPlace);
    return div("iw-cascade", answers, hint);
  }

  // ---- what Python says ----

  showAll() {
    const { shown, model } = this;
    this.now = model.get("controls").levels[shown.level - 1];
    this.levels.show(shown.level);
    this.showChannels();
    this.showFilm();
    this.showPictures();
    this.showKernels();
    this.showPatch();
    this.showNumbers();
    this.say(kernelSentence(shown));
    const { level, row, column: across, channel, box, cosine, errors } = shown;
    const facts = { level, row, column: across, channel, box: box.join(" ") };
    this.mark({ ...facts, cosine: cosine.toFixed(3), answered: errors !== null });
  }

  showChannels() {
    const { outputs, number } = this.now;
    if (this.listed !== number) {
      this.listed = number;
      const option = (value, text) => element("option", { value }, text);
      const each = Array.from({ length: outputs }, (_, k) => option(k, `output ${k}`));
      this.channel.replaceChildren(option("all", `all ${outputs} outputs`), ...each);
    }
    this.channel.value = String(this.shown.channel);
  }

  showPictures() {
    const { model, shown, now, width, height, hole } = this;
    const fresh = shown.answered;
    const answered = fresh && this.stage > 0;
    const photo = answered
      ? this.answerCanvas(this.stage - 1)
      : this.given(model.get("image_bytes"), width, height);
    const at = [shown.row, shown.column];
    const both = { width, height, level: now, at, window: shown.window };
    const state = { ...both, hole, photo, answered, resizable: shown.rectangle };
    if (!this.photo.moving) state.box = shown.box;
    this.photo.show(state);
    this.cosines = floatsOf(model.get("similarity_bytes"));
    const ground = this.ground(model.get("truth_bytes"), width, height);
    const field = this.field();
    const { tint } = model.get("controls");
    const paint = (pen) => {
      drawWhole(pen, ground);
      pen.globalAlpha = tint;
      drawWhole(pen, field, true);
      pen.globalAlpha = 1;
      drawRim(pen, hole, width, height);
    };
    this.map.show({ ...both, paint });
  }

  /** The cosines in colours, dark where both are alike: each pixel has that of the window nearest to it. */
  field() {
    const { width, height } = this;
    return paintedCanvas(width, height, (i) => {
      const value = this.cosineAt(Math.floor(i / width), i % width);
      return [...this.rgb(unlike(value)), 255];
    });
  }

  cosineAt(row, column) {
    const [tall, wide] = this.now.size;
    const place = nearest(row, this.now, tall) * wide + nearest(column, this.now, wide);
    return this.cosines[place];
  }

  showKernels() {
    const { shown, now, model } = this;
    const all = shown.channel === "all";
    const names = all ? Array.from({ length: now.outputs }, (_, k) => `${k}`) : now.inputs;
    this.values = ["kernel_bytes", "full_bytes"].map((name) => floatsOf(model.get(name)));
    this.here.show(this.values[0], names, shown.limit, all);
    this.full.show(this.values[1], names, shown.limit, all);
    this.names = names;
    const limit = shown.limit.toFixed(2);
    this.ends.forEach((end, k) => (end.textContent = [`≤ −${limit}`, "0", `≥ +${limit}`][k]));
    this.what.textContent = all
      ? `Kernels made here, ${names.length} outputs`
      : `Kernel made here, output ${shown.channel}`;
    this.readWeight(this.weightAt);
  }

  /** A weight of both kernels; `point` is its tile, row and column. */
  readWeight(point) {
    this.weightAt = point;
    if (!point || point[0] >= this.names.length || point[1] >= this.now.kernel) {
      const all = this.shown.channel === "all";
      this.weight.textContent = all
        ? `A tile is the mean over ${this.now.inputs.length} inputs. ${POINT_AT}`
        : `A tile for each input. ${POINT_AT}`;
      return;
    }
    const [tile, row, column_] = point;
    const side = this.now.kernel;
    const at = (tile * side + row) * side + column_;
    const [here, full] = this.values.map((values) => signedText(values[at]));
    this.weight.textContent = `${this.names[tile]}, row ${row}, column ${column_}: ${here} here, ${full} where nothing is missing`;
  }

  pointAt(event) {
    this.pointed = event && pointOf(event, this.map.canvas, this.width, this.height);
    this.tellMap();
  }

  /** The cosine of the window that is pointed at. */
  tellMap() {
    this.nearby.textContent = "Point at a window to read its cosine.";
    if (!this.pointed) return;
    const [x, y] = this.pointed;
    const [tall, wide] = this.now.size;
    const [row, across] = [nearest(y, this.now, tall), nearest(x, this.now, wide)];
    const cosine = two(this.cosineAt(Math.floor(y), Math.floor(x)));
    this.nearby.textContent = `Row ${row}, column ${across}: cosine ${cosine}.`;
  }

  /** What is missing in the window: all that its kernels are made from. */
  showPatch() {
    const { shown, hole, width, height } = this;
    const [top, left, side] = shown.window;
    const state = new Uint8Array(side * side); // 0 known, 1 missing, 2 beyond
    for (let i = 0; i < state.length; i++) {
      const [y, x] = [top + Math.floor(i / side), left + (i % side)];
      const inside = y >= 0 && y < height && x >= 0 && x < width;
      state[i] = inside ? hole[y * width + x] : 2;
    }
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    this.patch.width = this.patch.height = Math.round(PATCH * ratio);
    const pen = this.patch.getContext("2d");
    const colours = [[...TEAL, 255], [22, 26, 38, 255], null];
    drawWhole(pen, paintedCanvas(side, side, (i) => colours[state[i]]), true);
    const missing = state.map((value) => Number(value === 1));
    if (shown.missing) drawHole(pen, missing, side, side);
    drawCells(pen, side, state);
    const told = `${shown.known} known, ${shown.missing} missing, ${shown.beyond} beyond`;
    this.patch.setAttribute("aria-label", `The window: ${told} the border.`);
  }

  showNumbers() {
    const { shown, now } = this;
    const total = shown.known + shown.missing + shown.beyond;
    const { decoders } = this.model.get("controls");
    const answer = shown.answered && decoders[this.stage - 1];
    this.caption.textContent = answer ? `Photo: ${answer}` : "Photo and hole";
    this.missing.textContent = `${percentText(shown.share)} missing`;
    this.cosine.textContent = `${two(shown.cosine)} here`;
    this.about.textContent = `${grid2(now.size)} windows`;
    this.tellWindow();
    showFacts(this.facts, [
      ["window known", percentText(shown.known / total)],
      ["cosine", two(shown.cosine)],
      ["length ratio", two(shown.ratio)],
      ["mask features", `${shown.active} of ${shown.features} above 0`],
    ]);
    this.tellMap();
  }

  /** The legend of the small picture, with its numbers. */
  tellWindow() {
    const { shown, now } = this;
    const part = (name, count, text) => {
      const made = key(name, `${count} ${text}`);
      made.dataset.testid = `window-${name}`;
      return made;
    };
    this.size.textContent = `In the window: ${grid2([now.side, now.side])} px`;
    this.counts.replaceChildren(
      part("read", shown.known, "known"),
      part("glass", shown.missing, "missing"),
      part("outside", shown.beyond, "outside"),
    );
  }

  // ---- the cascade's answers ----

  answerCanvas(k) {
    const { width, height } = this;
    const bytes = this.model.get("answers_bytes");
    if (bytes !== this.answersOf) {
      this.answersOf = bytes;
      const each = 3 * width * height;
      const all = bytesOf(bytes);
      const { decoders } = this.model.get("controls");
      this.made = decoders.map((_, n) =>
        rgbCanvas(all.subarray(n * each, (n + 1) * each), width, height),
      );
    }
    return this.made[k];
  }

  /** Built anew when there are new answers; pale while the hole is being dragged. */
  showFilm() {
    const bytes = this.model.get("answers_bytes");
    if (bytes !== this.filmed && this.shown.answered) {
      this.filmed = bytes;
      this.film = this.makeFilm();
      this.filmPlace.replaceChildren(this.film.box);
    }
    this.film.box.classList.toggle("stale", !this.shown.answered);
    this.film.show(this.stage);
  }

  makeFilm() {
    const { shown, model, width, height, hole } = this;
    const { decoders } = model.get("controls");
    const { errors } = shown;
    const around = this.around();
    const cutOut = (pen, picture) =>
      pen.drawImage(picture, ...around, 0, 0, pen.canvas.width, pen.canvas.height);
    const truth = this.truth(model.get("truth_bytes"), width, height);
    const given = element("canvas", { width: 4 * width, height: 4 * height });
    const under = given.getContext("2d");
    drawWhole(under, this.given(model.get("image_bytes"), width, height));
    drawHole(under, hole, width, height);
    const big = around.map((value) => 4 * value);
    const note = (k) => (errors ? `L1 ${errors[k].toFixed(3)}` : "L1 –");
    return new Film({
      label: "Show",
      before: { name: "truth", label: "truth", note: "the photo", title: "The truth" },
      stages: [
        { name: "hole", label: "the hole", note: `${shown.box[2]} × ${shown.box[3]} px` },
        ...decoders.map((name, k) => ({
          name: name.replace(" ", "-"),
          label: name,
          note: note(k),
          title: `${name}: the mean error in the hole is ${note(k)}`,
        })),
      ],
      shape: [1, 1],
      paint: (pen, k) => {
        if (k === 1) pen.drawImage(given, ...big, 0, 0, pen.canvas.width, pen.canvas.height);
        else cutOut(pen, k ? this.answerCanvas(k - 2) : truth);
      },
      onPick: (k) => {
        this.stage = k;
        this.showAll();
      },
    });
  }

  /** Left, top, width and height of a square around the hole. */
  around() {
    const { width, height } = this;
    const [top, left, tall, wide] = this.shown.box;
    const side = Math.min(width, height, Math.max(16, Math.round(1.5 * Math.max(tall, wide))));
    const start = (low, length, size) =>
      clip(low + Math.floor((length - side) / 2), 0, size - side);
    return [start(left, wide, width), start(top, tall, height), side, side];
  }

  // ---- what the reader does ----

  /** While it is dragged only kernels are asked for; when it lies, answers too. */
  moved(box) {
    if (this.photo.held) this.ask("drag", { box, answers: false });
    else this.ask("place", { box });
  }

  askChannel(value) {
    this.ask("channel", { channel: value === "all" ? value : Number(value) });
  }
}

const grid2 = ([height, width]) => `${height} × ${width}`;

/** Lines between the pixels of a small window, and signs beyond the border. */
function drawCells(pen, side, state) {
  const cell = pen.canvas.width / side;
  const line = pen.canvas.width / 120;
  if (side <= 15) {
    pen.strokeStyle = "rgba(255, 255, 255, 0.35)";
    pen.lineWidth = 0.6 * line;
    pen.beginPath();
    for (let k = 1; k < side; k++) {
      pen.moveTo(k * cell, 0);
      pen.lineTo(k * cell, pen.canvas.width);
      pen.moveTo(0, k * cell);
      pen.lineTo(pen.canvas.width, k * cell);
    }
    pen.stroke();
  }
  drawBeyond(pen, side, state, cell);
}

/** What lies beyond the border: pale, with crosses where there is room for them. */
function drawBeyond(pen, side, state, cell) {
  pen.fillStyle = `rgba(${WRONG}, 0.28)`;
  pen.strokeStyle = `rgb(${WRONG})`;
  pen.lineWidth = pen.canvas.width / 80;
  pen.beginPath();
  state.forEach((value, i) => {
    if (value !== 2) return;
    const [x, y] = [(i % side) * cell, Math.floor(i / side) * cell];
    pen.fillRect(x, y, cell, cell);
    if (side > 15) return;
    const [near, far] = [0.3 * cell, 0.7 * cell];
    pen.moveTo(x + near, y + near);
    pen.lineTo(x + far, y + far);
    pen.moveTo(x + far, y + near);
    pen.lineTo(x + near, y + far);
  });
  pen.stroke();
}

function kernelSentence(shown) {
  const { level, row, column: across, known, missing, beyond, cosine, ratio } = shown;
  const total = known + missing + beyond;
  const outside = beyond ? `, ${beyond} beyond the border` : "";
  return (
    `Level ${level}, row ${row}, column ${across}: ${known} of ${total} pixels known` +
    `${outside}. Beside the kernels of a window that knows everything: cosine ` +
    `${two(cosine)}, ${two(ratio)} times as long. ${shown.active} of ${shown.features} ` +
    "mask features above 0."
  );
}

export default shownBy(KernelExplorer, KERNEL_HINT);

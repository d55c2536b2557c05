// The window explorer: what one output pixel of a layer reads, and how a hole closes.

const WINDOW_HINT =
  "A layer computes each of its pixels from a small window of its input, and partial " +
  "convolution uses the known places only. Move the layer and watch the hole close " +
  "(the numbers: how much is still unknown). Click a picture to see one window. Arrow " +
  "keys on a picture move one pixel, Shift + arrows eight, Home finds the window that " +
  "knows least.";
const YELLOW = "#ffd84d";
const DARK = "rgba(10, 12, 20, 0.85)";
const TEAL_TINT = [22, 194, 176, 84];
const [UNKNOWN, KNOWN, PADDING] = [0, 1, 2];
const FOUND = ["missing", "known", "beyond the border"];
const GRID_FROM = 9; // screen pixels a cell: below that, no lines are drawn
const TABLE = 180; // units a side of a magnified window

const share = (part) => `${(100 * part).toFixed(1)} %`;
const size = ([height, width]) => `${height} × ${width}`;
const decimal = (value) => value.toFixed(3).replace(/^-(0\.0+)$/, "$1");

/** A picture whose `paint` marks the asked pixel: by its window, or by its own cell. */
class WindowCanvas extends PixelCanvas {
  drawNow() {
    if (this.paint && this.canvas.width) this.paint(this.canvas.getContext("2d"));
  }
}

const screenCell = ({ canvas }, columns) => canvas.getBoundingClientRect().width / columns;

/** The hole of the photo as a thin pale line, below which a map may have changed. */
function drawFirstHole(pen, hole, width, height) {
  const { canvas } = pen;
  const layer = element("canvas", { width: canvas.width, height: canvas.height });
  const ink = layer.getContext("2d");
  drawRim(ink, hole, width, height);
  ink.globalCompositeOperation = "source-in";
  ink.fillStyle = "rgba(255, 255, 255, 0.8)";
  ink.fillRect(0, 0, layer.width, layer.height);
  pen.drawImage(layer, 0, 0);
}

/** Lines between the cells of a coarse grid. */
function drawCells(pen, height, width) {
  const { canvas } = pen;
  const screen = screenCell(pen, width);
  if (screen < GRID_FROM) return;
  pen.strokeStyle = `rgba(255, 255, 255, ${screen < 16 ? 0.16 : 0.28})`;
  pen.lineWidth = Math.max(1, canvas.width / 500);
  pen.beginPath();
  for (let x = 1; x < width; x++) {
    pen.moveTo((x * canvas.width) / width, 0);
    pen.lineTo((x * canvas.width) / width, canvas.height);
  }
  for (let y = 1; y < height; y++) {
    pen.moveTo(0, (y * canvas.height) / height);
    pen.lineTo(canvas.width, (y * canvas.height) / height);
  }
  pen.stroke();
}

/** A yellow frame, dark rimmed, around cells of a grid; it never leaves the picture. */
function drawFrame(pen, [top, left, height, width], [rows, columns]) {
  const { canvas } = pen;
  const line = canvas.width / 360;
  const edge = (value, end) => clip(value, 2 * line, end - 2 * line);
  const [x0, x1] = [left, left + width].map((n) =>
    edge((n * canvas.width) / columns, canvas.width),
  );
  const [y0, y1] = [top, top + height].map((n) =>
    edge((n * canvas.height) / rows, canvas.height),
  );
  for (const [ink, thick] of [
    [DARK, 5],
    [YELLOW, 2.4],
  ]) {
    pen.strokeStyle = ink;
    pen.lineWidth = thick * line;
    pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
}

/** The taps of a window inside the picture: teal, or vermilion with a cross. */
function drawTaps(pen, taps, kernel, [top, left, height, width], [rows, columns]) {
  const { canvas } = pen;
  const [cw, ch] = [canvas.width / columns, canvas.height / rows];
  const steps = [height, width].map((span, k) =>
    kernel[k] > 1 ? (span - 1) / (kernel[k] - 1) : 1,
  );
  taps.forEach((tap, k) => {
    if (tap === PADDING) return;
    const x = (left + (k % kernel[1]) * steps[1]) * cw;
    const y = (top + Math.floor(k / kernel[1]) * steps[0]) * ch;
    pen.fillStyle = tap === KNOWN ? "rgba(22, 194, 176, 0.72)" : "rgba(255, 107, 74, 0.8)";
    pen.fillRect(x, y, cw, ch);
    if (tap === KNOWN || screenCell(pen, columns) < 5) return;
    pen.strokeStyle = DARK;
    pen.lineWidth = Math.max(1, cw / 9);
    pen.beginPath();
    pen.moveTo(x + 0.28 * cw, y + 0.28 * ch);
    pen.lineTo(x + 0.72 * cw, y + 0.72 * ch);
    pen.moveTo(x + 0.72 * cw, y + 0.28 * ch);
    pen.lineTo(x + 0.28 * cw, y + 0.72 * ch);
    pen.stroke();
  });
}

/** A window as a table: a dot is known, a cross is not, padding is open and dashed. */
function tapTable(taps, [height, width], label) {
  const cell = TABLE / Math.max(height, width);
  const svg = shape("svg", {
    class: "iw-taps",
    viewBox: `-3 -3 ${width * cell + 6} ${height * cell + 6}`,
    role: "img",
    "aria-label": label,
  });
  taps.forEach((tap, k) => {
    const [x, y] = [(k % width) * cell, Math.floor(k / width) * cell];
    const [mx, my, r] = [x + cell / 2, y + cell / 2, cell / 6.5];
    const inset = tap === PADDING ? 2 : 1;
    svg.append(
      shape("rect", {
        class: ["missing", "known", "padding"][tap],
        x: x + inset,
        y: y + inset,
        width: cell - 2 * inset,
        height: cell - 2 * inset,
        rx: cell / 12,
      }),
      tap === KNOWN
        ? shape("circle", { class: "dot", cx: mx, cy: my, r })
        : shape("path", {
            class: tap === PADDING ? "cross open" : "cross",
            d: `M${mx - r} ${my - r}l${2 * r} ${2 * r}m${-2 * r} 0l${2 * r} ${-2 * r}`,
          }),
    );
  });
  const frame = { x: -1, y: -1, width: width * cell + 2, height: height * cell + 2 };
  svg.append(
    shape("rect", { class: "rim", rx: 2, ...frame }),
    shape("rect", { class: "frame", rx: 2, ...frame }),
  );
  return svg;
}

/** The whole card: keeps the layer, the asked pixel, the pictures and facts in step. */
class WindowExplorer {
  constructor(model, el) {
    this.model = model;
    Object.assign(this, card(model.get("title"), WINDOW_HINT));
    this.layers = model.get("layer_facts");
    this.width = model.get("width");
    this.height = model.get("height");
    this.hole = bytesOf(model.get("hole_bytes"));
    this.part = 0; // of the input, on show
    this.painted = new WeakMap(); // a map: its picture
    this.takeMaps();
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
    this.drawFilm();
    this.follow();
  }

  /** Cut the maps of all layers: 1 = known; of each part of the input, then after. */
  takeMaps() {
    const bytes = bytesOf(this.model.get("maps_bytes"));
    let at = 0;
    const cut = ([height, width]) => bytes.subarray(at, (at += height * width));
    this.maps = this.layers.map(({ parts, input, output }) => ({
      given: parts.map(() => cut(input)),
      after: cut(output),
    }));
    const { model, width, height } = this;
    this.ground = dimmedCanvas(model.get("given_bytes"), width, height);
    this.photo = rgbCanvas(model.get("given_bytes"), width, height);
  }

  makeControls() {
    const last = this.layers.length - 1;
    this.layer = new Sliders(
      () => this.asker.ask("layer", () => ({ index: this.layer.values.layer })),
      (_, value) => {
        const { name, unknown } = this.layers[value];
        return `${name}, ${share(unknown)} unknown`;
      },
    );
    this.layer.list([{ name: "layer", label: "Layer", low: 0, high: last, step: 1 }]);
    this.channel = new Sliders(
      () => this.asker.ask("channel", () => ({ channel: this.channel.values.channel })),
      (_, value) => String(value),
    );
    this.film = div("iw-film");
    this.film.style.setProperty("--count", this.layers.length);
    this.tiles = [null, ...this.layers].map((layer, k) => this.makeTile(layer, k));
    this.film.append(...this.tiles.map(({ tile }) => tile), this.layer.box);
  }

  /** A tile of the film strip; the keyboard has the slider below it. */
  makeTile(layer, k) {
    const canvas = element("canvas", { width: 128, height: 128, "aria-hidden": "true" });
    canvas.height = Math.round((128 * this.height) / this.width);
    const unknown = layer ? layer.unknown : this.hole.reduce((a, b) => a + b, 0) / this.hole.length;
    const text = [
      element("span", { class: "iw-name" }, layer ? layer.name : "the hole"),
      element("span", { class: "iw-part" }, unknown ? share(unknown) : "closed"),
    ];
    const tile = element(
      layer ? "button" : "div",
      {
        class: "iw-frame-of-film",
        type: layer && "button",
        tabindex: layer && "-1",
        "data-testid": layer ? `film-${layer.name}` : "film-hole",
        title: `${layer ? `after ${layer.name}` : "before any layer"}: ${share(unknown)} unknown`,
        onclick: layer && (() => this.asker.ask("layer", () => ({ index: k - 1 }))),
      },
      canvas,
      ...text,
    );
    return { tile, canvas };
  }

  drawFilm() {
    this.tiles.forEach(({ canvas }, k) => {
      const pen = canvas.getContext("2d");
      const { output } = this.layers[Math.max(0, k - 1)];
      if (k) this.paintMap(pen, this.maps[k - 1].after, output);
      else {
        drawWhole(pen, this.photo);
        drawHole(pen, this.hole, this.width, this.height);
      }
    });
  }

  makeViews() {
    const onAsk = (row, column) => this.asker.ask("look", () => ({ row, column }));
    const view = (testid, what) => {
      const label =
        `${what} Arrow keys move the asked output pixel, with Shift by eight; ` +
        "Home asks about the window that knows least.";
      return new WindowCanvas({ testid, label, onAsk });
    };
    this.input = view("input-view", "What the layer reads.");
    this.output = view("after-view", "What is known after the layer.");
    this.inputName = element("span", {});
    this.outputName = element("span", {});
    this.unknown = element("span", { class: "iw-part", "data-testid": "unknown" });
    this.parts = div("iw-seg-place");
    this.tables = div("iw-tables");
    this.facts = element("dl", { class: "iw-facts" });
    this.values = div("iw-rings iw-values");
  }

  layOut() {
    const key = (name, text) => element("span", { class: `iw-key ${name}` }, text);
    const left = div(
      "iw-col",
      div("iw-cap", this.inputName, this.parts),
      this.input.canvas,
      div(
        "iw-keys",
        key("window", "the window"),
        key("read", "known, used"),
        key("lost", "missing, left out"),
        key("outside", "beyond the border"),
      ),
    );
    const right = div(
      "iw-col",
      div("iw-cap", this.outputName, this.unknown),
      this.output.canvas,
      div(
        "iw-keys",
        key("asked", "the asked pixel"),
        key("tint", "known, or computed from known"),
        key("glass", "still unknown"),
        key("edge", "hole of the photo"),
      ),
    );
    this.windowName = element("span", {});
    this.steps = element("dl", { class: "iw-facts iw-steps" });
    const about =
      "Before normalisation and activation, with the layer's own weights. A plain " +
      "convolution cannot tell what is missing: it reads whatever stands there.";
    const window = div("iw-col", div("iw-cap", this.windowName), this.tables);
    const why =
      "The ratio, all values by the known ones, makes up for what is left out; it is 1 " +
      "where all is known. Known is also what an earlier layer could compute.";
    const told = div(
      "iw-col",
      div("iw-cap", "In numbers"),
      this.facts,
      div("iw-hint", why),
    );
    const value = div(
      "iw-col",
      div("iw-cap", "The value it computes"),
      this.channel.box,
      this.steps,
    );
    const values = div(
      "iw-col",
      div("iw-cap", "Against a plain convolution"),
      this.values,
      div("iw-hint", about),
    );
    this.body.append(
      this.film,
      div("iw-pair", left, right),
      div("iw-pair", window, told),
      div("iw-pair", value, values),
    );
  }

  follow() {
    const { model } = this;
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
    const shown = (this.shown = this.model.get("shown"));
    const layer = (this.now = this.layers[shown.layer]);
    if (this.root.dataset.layer !== layer.name) this.showLayer(layer, shown.layer);
    this.channel.show({ channel: shown.channel });
    this.showPictures();
    this.showTables();
    this.showValues();
    showFacts(this.facts, this.factRows());
    this.say(windowSentence(shown, layer));
    for (const name of ["row", "column", "channel"])
      this.root.dataset[name] = String(shown[name]);
  }

  showLayer(layer, index) {
    this.layer.show({ layer: index });
    this.tiles.forEach(({ tile }, k) => tile.classList.toggle("now", k === index + 1));
    this.inputName.textContent = `${layer.name} reads ${size(layer.input)}`;
    this.outputName.textContent = `Known after it: ${size(layer.output)}`;
    this.unknown.textContent = layer.unknown
      ? `${share(layer.unknown)} unknown`
      : "all known";
    const high = layer.channels - 1;
    const range = { name: "channel", label: "Output channel", low: 0, high, step: 1 };
    this.channel.list([range]);
    this.part = layer.parts.length - 1;
    this.parts.replaceChildren();
    if (layer.parts.length > 1) this.parts.append(this.partChoice(layer));
    this.root.dataset.layer = layer.name;
  }

  partChoice({ parts }) {
    const options = parts.map(({ name }, value) => ({
      value,
      label: name,
      testid: `part-${name}`,
    }));
    const made = choice("part of the input", options, (part) => {
      this.part = part;
      this.showPictures();
    });
    made.row.className = "iw-seg";
    made.show(this.part);
    return made.row;
  }

  showPictures() {
    const { shown, now } = this;
    const [height, width] = now.output;
    const place = { height, width, row: shown.row, column: shown.column };
    const { given, after } = this.maps[shown.layer];
    const map = given[this.part];
    const paintInput = (pen) => {
      this.paintMap(pen, map, now.input);
      drawCells(pen, ...now.input);
      drawTaps(pen, shown.taps[this.part], now.kernel, shown.box, now.input);
      drawFrame(pen, shown.box, now.input);
    };
    const paintOutput = (pen) => {
      this.paintMap(pen, after, now.output);
      drawCells(pen, height, width);
      const coarse = screenCell(pen, width) >= GRID_FROM;
      if (coarse) drawFrame(pen, [shown.row, shown.column, 1, 1], now.output);
      else drawQuery(pen, shown.row, shown.column, width);
    };
    this.input.show({ ...place, paint: paintInput });
    this.output.show({ ...place, paint: paintOutput });
    const ratio = `${this.width} / ${this.height}`; // of the photo, not of the grid
    for (const { canvas } of [this.input, this.output]) canvas.style.aspectRatio = ratio;
  }

  /** A map over the photo: known tinted, unknown hatched, the first hole outlined. */
  paintMap(pen, map, grid) {
    const { width, height } = pen.canvas;
    let made = this.painted.get(map);
    if (made?.width !== width || made.height !== height) {
      made = element("canvas", { width, height });
      this.paintAnew(made.getContext("2d"), map, grid);
      this.painted.set(map, made);
    }
    pen.drawImage(made, 0, 0);
  }

  paintAnew(pen, map, [height, width]) {
    drawWhole(pen, this.ground);
    drawWhole(
      pen,
      paintedCanvas(width, height, (i) => (map[i] ? TEAL_TINT : null)),
      true,
    );
    drawHole(pen, map.map((known) => 1 - known), width, height);
    drawFirstHole(pen, this.hole, this.width, this.height);
  }

  showTables() {
    const { shown, now } = this;
    const places = now.kernel[0] * now.kernel[1];
    this.windowName.textContent = `The window, magnified: ${size(now.kernel)} places`;
    const figures = now.parts.map(({ name, channels }, k) => {
      const text = `${shown.known[k]} of ${places} known`;
      const counts = [UNKNOWN, KNOWN, PADDING].map(
        (kind) => `${shown.taps[k].filter((tap) => tap === kind).length} ${FOUND[kind]}`,
      );
      const label = `Window of the ${name}: ${counts.join(", ")}.`;
      return element(
        "figure",
        { "data-testid": `taps-${name}` },
        tapTable(shown.taps[k], now.kernel, label),
        element("figcaption", {}, element("b", {}, name), ` ${text}, ${channels} channels`),
      );
    });
    this.tables.replaceChildren(...figures, this.patchFigure());
  }

  /** The patch of the photo that the window covers, as far as it lies on the photo. */
  patchFigure() {
    const { shown, now, width, height } = this;
    const [sy, sx] = [height / now.input[0], width / now.input[1]];
    const [top, left, tall, wide] = shown.box;
    const from = [left * sx, top * sy, wide * sx, tall * sy];
    const canvas = element("canvas", {
      width: 240,
      height: Math.round((240 * from[3]) / from[2]),
      role: "img",
      "aria-label": "The patch of the photo that the window covers.",
      "data-testid": "patch",
    });
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.photo, ...from, 0, 0, canvas.width, canvas.height);
    const [x, y, w, h] = from.map(Math.round);
    const under = Uint8Array.from({ length: w * h }, (_, i) => {
      const [column, row] = [x + (i % w), y + Math.floor(i / w)];
      const inside = column >= 0 && row >= 0 && column < width && row < height;
      return inside ? this.hole[row * width + column] : 0;
    });
    if (under.includes(1)) drawHole(pen, under, w, h);
    const caption = `${h} × ${w} px under it`;
    const name = element("b", {}, "photo");
    const text = element("figcaption", {}, name, ` ${caption}`);
    return element("figure", {}, div("iw-patch", canvas), text);
  }

  showValues() {
    const { partial, zero, grey } = this.shown;
    const rows = [
      ["this layer, with the ratio", partial, "partial"],
      ["without it = plain, 0 in the hole", zero, "zero"],
      ["plain, 0.5 in the hole", grey, "grey"],
    ];
    const most = Math.max(1e-9, ...rows.map(([, value]) => Math.abs(value)));
    const made = rows.flatMap(([name, value, testid], k) => {
      const bar = element("span", { class: value < 0 ? "bar below" : "bar" });
      bar.style.setProperty("--weight", `${(50 * Math.abs(value)) / most}%`);
      const label = element("span", { class: k ? "" : "now" }, name);
      return [label, bar, element("b", { "data-testid": `value-${testid}` }, decimal(value))];
    });
    this.values.replaceChildren(...made);
    showFacts(this.steps, valueSteps(this.shown));
  }

  factRows() {
    const { read, total, ratio, padding, known, taps } = this.shown;
    const { kernel, parts, stride } = this.now;
    const places = kernel[0] * kernel[1];
    const each = parts.map(({ name, channels }, k) => {
      const count = `${known[k]} of ${places} × ${channels} channels`;
      return [parts.length > 1 ? `known in ${name}` : "known places", count];
    });
    const border = padding ? [["beyond the border", `${padding} places, count as missing`]] : [];
    const told =
      ratio === null
        ? "none: empty window, output 0, stays unknown"
        : `${total} / ${read} = ${ratio.toFixed(2)}`;
    return [
      ...each,
      ...border,
      ["known values", `${read} of ${total}`],
      ["ratio", told],
      ["step between windows", stride[0] === 1 ? "1 place" : `${stride[0]} places`],
    ];
  }
}

/** How the value comes about, in the numbers of the asked window. */
function valueSteps({ ratio, sum, bias, partial }) {
  if (ratio === null) return [["= output", "0, since nothing is known"]];
  return [
    ["weighted sum of the known", decimal(sum)],
    ["× ratio", ratio.toFixed(2)],
    ...(bias ? [["+ bias", decimal(bias)]] : []),
    ["= output", decimal(partial)],
  ];
}

function windowSentence({ row, column, ratio, read, total }, { name, kernel }) {
  const place = `${name}, row ${row}, column ${column}: `;
  if (ratio === null)
    return `${place}empty window: nothing known, so the output is 0 and stays unknown.`;
  if (read === total)
    return `${place}the whole ${size(kernel)} window is known, so this is a plain convolution.`;
  const part = `${share(read / total)} of the ${size(kernel)} window is known; `;
  const times = `the sum over it is multiplied by ${ratio.toFixed(2)}`;
  return `${place}${part}${times}, and the pixel counts as known.`;
}

function render({ model, el }) {
  const explorer = new WindowExplorer(model, el);
  return () => explorer.stop();
}

export default { render };

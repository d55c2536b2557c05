// The window explorer: what one output pixel of a layer reads, and how a hole closes.

const WINDOW_HINT =
  "Each output pixel reads a window of the input, and uses what is known there. Layer by " +
  "layer the hole closes (in %: still unknown). Click a pixel. Keys: arrows, with Shift " +
  "by eight, Home: the window that knows least.";
const TEAL_TINT = [...TEAL, 84];
const [UNKNOWN, KNOWN, PADDING] = [0, 1, 2];
const FOUND = ["missing", "known", "beyond the border"];
const GRID_FROM = 7; // screen pixels a cell: below that, no lines are drawn
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
class WindowExplorer extends PixelExplorer {
  build() {
    this.layers = this.model.get("layer_facts");
    this.part = 0; // of the input, on show
    this.painted = new WeakMap(); // a map: its picture
    this.takeMaps();
    this.makeControls();
    this.makeViews();
    this.layOut();
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
    const { hole, width, height, layers } = this;
    const missing = hole.reduce((a, b) => a + b, 0) / hole.length;
    const stage = (name, when, unknown) => ({
      name,
      note: unknown ? share(unknown) : "closed",
      title: `${when}: ${share(unknown)} unknown`,
    });
    this.film = new Film({
      label: "Layer",
      before: { ...stage("hole", "before any layer", missing), name: "the hole" },
      stages: layers.map(({ name, unknown }) => stage(name, `after ${name}`, unknown)),
      shape: [height, width],
      paint: (pen, k) => this.paintStage(pen, k),
      onPick: (k) => this.ask("layer", { name: layers[k].name }),
    });
    this.channel = new Sliders(
      () => this.ask("channel", this.channel.values),
      (_, value) => String(value),
    );
  }

  paintStage(pen, k) {
    if (k) return this.paintMap(pen, this.maps[k - 1].after, this.layers[k - 1].output);
    drawWhole(pen, this.photo);
    return drawHole(pen, this.hole, this.width, this.height);
  }

  makeViews() {
    const view = (testid, what) =>
      this.view(testid, what, "the window that knows least", WindowCanvas);
    this.input = view("input-view", "What the layer reads.");
    this.output = view("after-view", "What is known after the layer.");
    this.inputName = element("span", {});
    this.outputName = element("span", {});
    this.windowName = element("span", {});
    this.unknown = element("span", { class: "iw-part", "data-testid": "unknown" });
    this.parts = div("iw-seg-place");
    this.tables = div("iw-tables");
    this.facts = element("dl", { class: "iw-facts" });
    this.steps = element("dl", { class: "iw-facts iw-steps" });
    this.values = div("iw-rings iw-values");
  }

  layOut() {
    const keys = div(
      "iw-keys",
      key("window", "the window"),
      key("read", "known, used"),
      key("lost", "missing, left out"),
      key("outside", "beyond the border"),
      key("asked", "the asked pixel"),
      key("tint", "known or computed"),
      key("glass", "still unknown"),
      key("edge", "hole of the photo"),
    );
    const why =
      "The ratio, all values by the known ones, makes up for what is left out. Known is " +
      "also what an earlier layer computed.";
    const about =
      "With the same weights, before normalisation. A plain convolution reads what " +
      "stands in the hole.";
    this.body.append(
      this.film.box,
      div(
        "iw-trio",
        column([this.inputName, this.parts], this.input.canvas),
        column([this.outputName, this.unknown], this.output.canvas),
        keys,
        column(this.windowName, this.tables, div("iw-hint", why)),
      ),
      div(
        "iw-trio iw-foot",
        column("In numbers", this.facts),
        column("The value it computes", this.channel.box, this.steps),
        column("Against a plain convolution", this.values, div("iw-hint", about)),
      ),
    );
  }

  // ---- what Python says ----

  showAll() {
    const { shown } = this;
    const layer = (this.now = this.layers[shown.layer]);
    if (this.root.dataset.layer !== layer.name) this.showLayer(layer, shown.layer);
    this.channel.show({ channel: shown.channel });
    this.showPictures();
    this.showTables();
    this.showValues();
    showFacts(this.facts, this.factRows());
    this.say(windowSentence(shown, layer));
    const { row, column: across, channel } = shown;
    this.mark({ row, column: across, channel });
  }

  showLayer(layer, index) {
    this.film.show(index);
    this.inputName.textContent = `Input, ${size(layer.input)}`;
    this.outputName.textContent = `Output, ${size(layer.output)}`;
    this.unknown.textContent = layer.unknown
      ? `${share(layer.unknown)} unknown`
      : "all known";
    this.windowName.textContent = `The window: ${size(layer.kernel)} places`;
    const high = layer.channels - 1;
    const range = { name: "channel", label: "Channel", low: 0, high, step: 1 };
    this.channel.list([range]);
    this.part = layer.parts.length - 1;
    this.parts.replaceChildren();
    if (layer.parts.length > 1) this.parts.append(this.partChoice(layer));
    this.mark({ layer: layer.name });
  }

  partChoice({ parts }) {
    const option = ({ name }, value) => ({ value, label: name, testid: `part-${name}` });
    const made = segment("part of the input", parts.map(option), (part) => {
      this.part = part;
      this.showPictures();
    });
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
    const figures = now.parts.map(({ name, channels }, k) => {
      const counts = [UNKNOWN, KNOWN, PADDING].map(
        (kind) => `${shown.taps[k].filter((tap) => tap === kind).length} ${FOUND[kind]}`,
      );
      const label = `Window of the ${name}: ${counts.join(", ")}.`;
      const text = `${shown.known[k]} of ${places} known in ${channels} channels`;
      const table = tapTable(shown.taps[k], now.kernel, label);
      return figure(name, text, table, `taps-${name}`);
    });
    this.tables.replaceChildren(...figures, this.patchFigure());
  }

  /** The patch of the photo that the window covers, as far as it lies on the photo. */
  patchFigure() {
    const { shown, now, width, height, hole } = this;
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
      return inside ? hole[row * width + column] : 0;
    });
    if (under.includes(1)) drawHole(pen, under, w, h);
    return figure("photo", `${h} × ${w} px under it`, div("iw-patch", canvas));
  }

  showValues() {
    const { partial, zero, grey } = this.shown;
    const rows = [
      ["with the ratio", partial, "partial"],
      ["plain, hole = 0", zero, "zero"],
      ["plain, hole = 0.5", grey, "grey"],
    ];
    const most = Math.max(1e-9, ...rows.map(([, value]) => Math.abs(value)));
    showBars(
      this.values,
      rows.map(([name, value, testid], k) => ({
        name,
        share: Math.abs(value) / most / 2,
        below: value < 0,
        value: decimal(value),
        testid: `value-${testid}`,
        now: k === 0,
      })),
    );
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
    const border = padding ? [["beyond the border", `${padding} places: missing`]] : [];
    const told =
      ratio === null
        ? "none: an empty window"
        : `${total} / ${read} = ${ratio.toFixed(2)}`;
    return [
      ...each,
      ...border,
      ["known values", `${read} of ${total}: ${share(read / total)}`],
      ["ratio", told],
      ["step of windows", stride[0] === 1 ? "1 place" : `${stride[0]} places`],
    ];
  }
}

/** A table or picture with its caption. */
const figure = (name, text, view, testid) => {
  const caption = element("figcaption", {}, element("b", {}, name), ` ${text}`);
  return element("figure", { "data-testid": testid }, view, caption);
};

/** How the value comes about, in the numbers of the asked window. */
function valueSteps({ ratio, sum, bias, partial }) {
  if (ratio === null) return [["= output", "0, since nothing is known"]];
  return [
    ["weighted sum", decimal(sum)],
    ["× ratio", ratio.toFixed(2)],
    ...(bias ? [["+ bias", decimal(bias)]] : []),
    ["= output", decimal(partial)],
  ];
}

function windowSentence({ row, column: across, ratio, read, total }, { name, kernel }) {
  const place = `${name}, row ${row}, column ${across}: `;
  if (ratio === null)
    return `${place}empty window: nothing known, so the output is 0 and stays unknown.`;
  if (read === total)
    return `${place}the whole ${size(kernel)} window is known, so this is a plain convolution.`;
  const channels = total / (kernel[0] * kernel[1]);
  const part = `${read} of its ${size(kernel)} × ${channels} values are known (${share(read / total)}); `;
  const times = `their sum is multiplied by ${ratio.toFixed(2)}`;
  return `${place}${part}${times}, and the pixel counts as known.`;
}

export default shownBy(WindowExplorer, WINDOW_HINT);

// What explorers share that ask about one pixel of a photo: the twin of pixel_explorer.py.

/** Mark the pixel that is asked about: a yellow ring with four ticks. */
function drawQuery(pen, row, column, width) {
  const [scale, line] = [pen.canvas.width / width, pen.canvas.width / 360];
  const [x, y, radius] = [(column + 0.5) * scale, (row + 0.5) * scale, 5 * line];
  for (const [ink, thick] of [
    [DARK, 4],
    [YELLOW, 2],
  ]) {
    pen.strokeStyle = ink;
    pen.lineWidth = thick * line;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    drawTicks(pen, x, y, radius - line, line);
    pen.stroke();
  }
}

/** A frame, dark rimmed, around cells of a grid; it never leaves the picture. */
function drawFrame(pen, [top, left, height, width], [rows, columns], ink = YELLOW, dash) {
  const { canvas } = pen;
  const line = Math.max(canvas.width / 360, 0.8 * (window.devicePixelRatio || 1));
  const edge = (share, end) => clip(share * end, 1.8 * line, end - 1.8 * line);
  const [x0, x1] = [left, left + width].map((n) => edge(n / columns, canvas.width));
  const [y0, y1] = [top, top + height].map((n) => edge(n / rows, canvas.height));
  for (const [colour, thick] of [
    [DARK, 4.6],
    [ink, 2.2],
  ]) {
    pen.strokeStyle = colour;
    pen.lineWidth = thick * line;
    pen.setLineDash(dash ? [7 * line, 5 * line] : []);
    pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  pen.setLineDash([]);
}

/** The colour of a share of something wrong: dark where there is none. */
const heat = (share) => [
  ...WRONG.map((c, k) => share * c + (1 - share) * [22, 26, 38][k]),
  255,
];

/** A canvas from one RGBA colour a pixel: `colour(i)` gives it or null for clear. */
function paintedCanvas(width, height, colour) {
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const rgba = colour(i);
    if (rgba) picture.data.set(rgba, 4 * i);
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/** The photo pale and dark, as the ground for something more important. */
function dimmedCanvas(view, width, height) {
  const rgb = bytesOf(view);
  return paintedCanvas(width, height, (i) => {
    const [r, g, b] = rgb.subarray(3 * i, 3 * i + 3);
    const grey = 0.3 * r + 0.59 * g + 0.11 * b;
    return [...[r, g, b].map((c) => 0.5 * (0.4 * c + 0.6 * grey) + 14), 255];
  });
}

/** A photo that asks about its pixels: press, drag, or move by the arrow keys. */
class PixelCanvas {
  constructor({ testid, label, onAsk }) {
    this.onAsk = onAsk; // (row, column), or nulls for the deepest pixel of the hole
    this.held = null; // the id of the pointer that asks now
    this.canvas = element("canvas", {
      class: "iw-canvas iw-field-view",
      tabindex: "0",
      role: "application",
      "aria-label": label,
      "data-testid": testid,
    });
    this.draw = oncePerFrame(() => this.drawNow());
    this.canvas.addEventListener("keydown", (event) => this.keyDown(event));
    this.listen();
  }

  /** Everything on show: `width`, `height`, `row`, `column`, and `paint(pen)`. */
  show(state) {
    Object.assign(this, state);
    this.canvas.style.aspectRatio = `${this.width} / ${this.height}`;
    this.draw();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.held !== null) return;
      this.grab(event);
      this.held = event.pointerId;
      this.askAt(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.held === event.pointerId) this.askAt(event);
    });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, () => (this.held = null));
    }
  }

  grab(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
  }

  point(event) {
    return pointOf(event, this.canvas, this.width, this.height);
  }

  askAt(event) {
    const [x, y] = this.point(event);
    this.ask(Math.floor(y), Math.floor(x));
  }

  ask(row, column) {
    const place = [clip(row, 0, this.height - 1), clip(column, 0, this.width - 1)];
    if (place[0] === this.row && place[1] === this.column) return;
    [this.row, this.column] = place;
    this.draw();
    this.onAsk(...place);
  }

  keyDown(event) {
    const step = ARROWS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!step && event.key !== "Home") return;
    event.preventDefault();
    if (step) this.step(step, event.shiftKey);
    else this.onAsk(null, null);
  }

  step([across, down], far) {
    const by = far ? 8 : 1;
    this.ask(this.row + by * down, this.column + by * across);
  }

  drawNow() {
    if (!this.paint || !this.canvas.width) return;
    const pen = this.canvas.getContext("2d");
    this.paint(pen);
    drawQuery(pen, this.row, this.column, this.width);
  }
}

/** Draw a picture over a whole canvas; `sharp` keeps its pixels square. */
function drawWhole(pen, picture, sharp = false) {
  pen.imageSmoothingEnabled = !sharp;
  pen.drawImage(picture, 0, 0, pen.canvas.width, pen.canvas.height);
}

/** One row of a field as an SVG chart: a bar a pixel, and where the asked one is. */
class RowChart {
  constructor(size, testid) {
    this.size = size; // width, height, left, right, top, base
    this.svg = shape("svg", {
      class: "iw-chart",
      viewBox: `0 0 ${size.width} ${size.height}`,
      role: "img",
      "data-testid": testid,
    });
  }

  /** Show the columns from `first` to before `last`. */
  zoom(first, last) {
    const { width, left, right } = this.size;
    Object.assign(this, { first, last, step: (width - left - right) / (last - first) });
  }

  x = (column) => this.size.left + (column - this.first) * this.step;
  y = (value) => this.size.base - value * (this.size.base - this.size.top);

  /** Lines across at `[value, text]`, and numbers of columns below. */
  axes(levels) {
    const { left, right, width, base } = this.size;
    const lines = levels.flatMap(([value, text]) => [
      shape("path", { class: "grid", d: `M${left} ${this.y(value)}H${width - right}` }),
      shape("text", { class: "scale", x: left - 6, y: this.y(value) + 3.5 }, text),
    ]);
    const columns = [0, 0.25, 0.5, 0.75, 1].map((share) => {
      const column = Math.round(this.first + share * (this.last - this.first - 1));
      return shape("text", { x: this.x(column + 0.5), y: base + 14 }, column);
    });
    const middle = { x: (left + width) / 2, y: base + 29 };
    return [...lines, ...columns, shape("text", middle, "column of the photo")];
  }

  bar(column, value, name, fill = "") {
    const place = { x: this.x(column), y: this.y(value) };
    const extent = { width: this.step, height: this.y(0) - this.y(value) };
    return shape("rect", { class: name, fill, ...place, ...extent });
  }

  /** A bar for each column on show, made by `make(column)`. */
  bars(make) {
    return Array.from({ length: this.last - this.first }, (_, n) => make(this.first + n));
  }

  marker(column) {
    const x = this.x(column + 0.5);
    const made = shape("g", { class: "marker" });
    made.append(
      shape("path", { class: "stem", d: `M${x} 16V${this.size.base}` }),
      shape("path", { class: "head", d: `M${x - 6} 4h12l-6 11z` }),
    );
    return made;
  }
}

/** `make(view, …)`, made again only when the bytes of a trait are others. */
function kept(make) {
  let [last, made] = [null, null];
  return (view, ...rest) => {
    if (view !== last) [last, made] = [view, make(view, ...rest)];
    return made;
  };
}

/** Float32 values of a binary trait, copied so that they are aligned. */
const floatsOf = (view) => new Float32Array(bytesOf(view).slice().buffer);

/**
 * A film strip: a picture before all stages, one after each, and a slider below, which
 * is the keyboard's way. `paint(pen, k)` draws picture k, 0 the one before; a stage has
 * a `name`, a `note` below it and a `title`, and a `label` where the name is long. One
 * that `scrolls` has room for many stages: the chosen one is brought into view.
 */
class Film {
  constructor({ label, before, stages, shape, scrolls, paint, onPick }) {
    const [height, width] = shape;
    this.box = div(scrolls ? "iw-film iw-many" : "iw-film");
    this.box.style.setProperty("--count", stages.length);
    this.tiles = [before, ...stages].map((stage, k) => {
      const canvas = element("canvas", {
        width: 128,
        height: Math.round((128 * height) / width),
        "aria-hidden": "true",
      });
      paint(canvas.getContext("2d"), k);
      return this.tile(stage, canvas, k && (() => onPick(k - 1)));
    });
    this.name = label.toLowerCase();
    const told = (_, k) => `${stages[k].name}, ${stages[k].note}`;
    this.slider = new Sliders(() => onPick(this.slider.values[this.name]), told);
    const range = { low: 0, high: stages.length - 1, step: 1 };
    this.slider.list([{ name: this.name, label, ...range }]);
    this.reel = scrolls ? div("iw-reel", ...this.tiles) : null;
    if (scrolls) new ResizeObserver(() => this.reveal()).observe(this.reel);
    this.box.append(...(this.reel ? [this.reel] : this.tiles), this.slider.box);
  }

  tile({ name, label = name, note, title }, canvas, onclick) {
    const attributes = { class: "iw-frame-of-film", "data-testid": `film-${name}`, title };
    if (onclick) Object.assign(attributes, { type: "button", tabindex: "-1", onclick });
    return element(
      onclick ? "button" : "div",
      attributes,
      canvas,
      element("span", { class: "iw-name" }, label),
      element("span", {}, note),
    );
  }

  show(stage) {
    this.slider.show({ [this.name]: stage });
    this.tiles.forEach((tile, k) => tile.classList.toggle("now", k === stage + 1));
    this.chosen = this.tiles[stage + 1];
    this.reveal();
  }

  /** Bring the chosen tile into view, with a neighbour, without moving the page. */
  reveal() {
    const { reel, chosen: tile } = this;
    if (!reel || !tile) return;
    const wide = tile.offsetWidth + 10;
    const from = tile.offsetLeft - reel.offsetLeft;
    const most = from - wide;
    const least = from + 2 * wide - reel.clientWidth;
    reel.scrollLeft = clip(reel.scrollLeft, least, Math.max(least, most));
  }
}

/** The photos to choose from, small: `controls` names them, a trait holds their bytes. */
function thumbnails(model, onPick) {
  const { photos, thumbnail: side } = model.get("controls");
  const bytes = bytesOf(model.get("thumbnails_bytes"));
  const each = 3 * side * side;
  const picture = (value, k) => {
    const image = rgbCanvas(bytes.subarray(k * each, (k + 1) * each), side, side);
    const name = value.replaceAll("_", " ");
    image.setAttribute("role", "img");
    image.setAttribute("aria-label", name);
    image.setAttribute("title", name);
    return { value, label: image, testid: `photo-${value}` };
  };
  return choice("photo", photos.map(picture), onPick);
}

/** The card of an explorer that asks about one pixel of a photo with a hole. */
class PixelExplorer extends Explorer {
  get width() {
    return this.model.get("width");
  }

  get height() {
    return this.model.get("height");
  }

  /** One byte a pixel, 1 = missing. */
  get hole() {
    return bytesOf(this.model.get("hole_bytes"));
  }

  /** A picture that asks Python to `look`; `home` is what the key Home asks about. */
  view(testid, what, home, Kind = PixelCanvas) {
    const label =
      `${what} Arrow keys move the asked pixel, with Shift by eight; ` +
      `Home asks about ${home}.`;
    const onAsk = (row, column) => this.ask("look", { row, column });
    return this.watch(new Kind({ testid, label, onAsk }));
  }
}

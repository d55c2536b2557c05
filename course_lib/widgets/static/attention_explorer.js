// The attention explorer: where each patch of a hole is copied from, and how surely.

const ATTENTION_HINT =
  "Each place compares its patch with every wholly known one and copies from those that " +
  "look most like it. Click or drag to ask a place; arrow keys walk, Home asks in the " +
  "middle. Drag the hole in the small picture.";
const GLOW = 0.6; // how teal a source becomes, at most
const ARROW_OF = ["↓", "↘", "→", "↗", "↑", "↖", "←", "↙"]; // as the wheel's names

const percentOf = (share) => `${(100 * share).toFixed(share < 0.001 ? 2 : 1)} %`;
const bits = (value) => value.toFixed(2);
const pixelsOff = ({ far, way }) =>
  way === "here" ? "its own place" : `${far.toFixed(0)} px off, ${way}`;
const scaleText = (value) => `${Number(value.toPrecision(3))}`;

/** The compared patch around a cell, as cells of the grid. */
const patchBox = ({ patch }, [row, column]) => {
  const reach = Math.floor(patch / 2);
  return [row - reach, column - reach, patch, patch];
};

/**
 * `frozen(paint)` draws what `paint(pen)` drew last for the same keys and size: a click
 * must not paint a hole again that nobody moved.
 */
function frozen(paint) {
  const layer = element("canvas");
  let last = [];
  return (pen, ...keys) => {
    const { width, height } = pen.canvas;
    const now = [width, height, ...keys];
    if (now.some((key, i) => key !== last[i])) {
      [layer.width, layer.height] = [width, height]; // which clears it
      paint(layer.getContext("2d"), ...keys);
      last = now;
    }
    pen.drawImage(layer, 0, 0);
  };
}

/** Yellow around the asked patch: on every picture of the card the same. */
function drawAsked({ canvas, asked }) {
  if (asked && canvas.width) drawFrame(canvas.getContext("2d"), asked.box, asked.grid);
}

/** A picture to ask about, patch by patch. */
class PatchCanvas extends PixelCanvas {
  drawNow() {
    if (!this.paint || !this.canvas.width) return;
    this.paint(this.canvas.getContext("2d"));
    drawAsked(this);
  }

  step([across, down], far) {
    const by = (far ? 4 : 1) * this.asked.step;
    this.ask(this.row + by * down, this.column + by * across);
  }
}

/** The photo whose hole can be dragged. */
class AskedPhoto extends PhotoCanvas {
  drawNow() {
    if (!this.photo || !this.canvas.width) return;
    const pen = this.canvas.getContext("2d");
    this.still ??= frozen((under, photo, bytes) => {
      drawWhole(under, photo);
      drawHole(under, bytesOf(bytes), this.width, this.height);
    });
    this.still(pen, this.photo, this.bytes);
    if (this.resizable) this.drawFrame(pen);
    drawAsked(this);
  }
}

/** A patch of a picture as a small canvas that can be painted anew. */
function thumbnail() {
  const canvas = element("canvas", { width: 80, height: 80, "aria-hidden": "true" });
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  const paint = (picture, [top, left, height, width]) => {
    pen.clearRect(0, 0, 80, 80);
    pen.drawImage(picture, left, top, width, height, 0, 0, 80, 80);
  };
  return { canvas, paint };
}

/** The strongest sources: thumbnail, share, how far; pointing at one shows which. */
class SourceList {
  constructor(onPoint) {
    this.onPoint = onPoint;
    this.items = [];
    this.list = element("ol", {
      class: "iw-sources",
      "aria-label": "strongest sources",
      "data-testid": "sources",
    });
  }

  /** `paint(thumbnail, source)` puts the patch of a source into its thumbnail. */
  show(top, paint) {
    while (this.items.length < top.length) this.items.push(this.item(this.items.length));
    if (this.list.childElementCount !== top.length)
      this.list.replaceChildren(...this.items.slice(0, top.length).map(({ row }) => row));
    top.forEach((source, k) => {
      const { row, piece, bar, share, off } = this.items[k];
      paint(piece, source);
      bar.style.setProperty("--weight", `${100 * source.share}%`);
      share.textContent = percentOf(source.share);
      off.textContent = pixelsOff(source);
      const told = `${share.textContent}, ${off.textContent}`;
      row.setAttribute("aria-label", `source ${k + 1}: ${told}`);
    });
  }

  item(k) {
    const point = (which) => () => this.onPoint(which);
    const piece = thumbnail();
    const bar = element("span", { class: "bar" });
    const share = element("b", { "data-testid": `share-${k}` });
    const off = element("span", { class: "iw-off" });
    const listens = { onmouseenter: point(k), onmouseleave: point(null) };
    Object.assign(listens, { onfocus: point(k), onblur: point(null) });
    const parts = [piece.canvas, bar, share, off];
    return { row: element("li", { tabindex: "0", ...listens }, ...parts), piece, bar, share, off };
  }
}

/** The whole card: keeps the photo, the settings and the asked patch in step. */
class AttentionExplorer extends PixelExplorer {
  build() {
    this.given = kept(rgbCanvas);
    this.rough = kept(rgbCanvas);
    this.pasted = kept(rgbCanvas);
    this.ground = kept(dimmedCanvas);
    this.glass = frozen((pen, bytes) =>
      drawHole(pen, bytesOf(bytes), this.width, this.height),
    );
    this.pointed = null; // the source that the reader points at
    this.makeControls();
    this.makeViews();
    this.makeNumbers();
    this.layOut();
  }

  makeControls() {
    this.photos = thumbnails(this.model, (photo) => this.ask("photo", { photo }));
    const sources = [
      { value: "colours", label: "colours", testid: "source-colours" },
      { value: "features", label: "features", testid: "source-features" },
    ];
    this.sources = segment("what is compared", sources, (source) =>
      this.ask("source", { source }),
    );
    this.scale = new Sliders(
      () => this.askScale(),
      (_, value) => scaleText(10 ** value),
    );
    const range = { low: 0, high: 2, step: 0.05 };
    this.scale.list([{ name: "scale", label: "Softmax scale", ...range }]);
    this.scale.box.title =
      "Scores times this go into the softmax: high is sure, low spreads evenly. One over " +
      "it is called the temperature.";
    this.fuse = element("input", {
      type: "checkbox",
      "data-testid": "propagation",
      onchange: ({ target }) => this.ask("propagation", { propagation: target.checked }),
    });
  }

  makeViews() {
    const view = (testid, what) =>
      this.view(testid, what, "the deepest pixel of the hole", PatchCanvas);
    this.field = view("attention-view", "Where the asked patch copies from.");
    this.paste = view("pasted-view", "The photo with what attention pastes in its hole.");
    this.pastedStill = frozen((pen, pasted, bytes) => {
      drawWhole(pen, pasted);
      drawRim(pen, bytesOf(bytes), this.width, this.height);
    });
    this.waysStill = frozen((...given) => this.paintWays(...given));
    this.ways = view("wheel-view", "Where the best source of each missing place lies.");
    const label =
      "Photo with its hole. Arrow keys move the asked place, Shift and arrow keys the " +
      "hole, plus and minus resize a rectangle; Home asks about the deepest pixel.";
    const onAsk = (row, column) => this.ask("look", { row, column });
    const onPlace = (box) => this.ask("place", { box });
    const asks = { testid: "hole-photo", label, onAsk, onPlace };
    this.photo = this.watch(new AskedPhoto(asks));
    this.list = new SourceList((which) => {
      this.pointed = which;
      this.field.draw();
    });
  }

  makeNumbers() {
    this.spread = element("span", { class: "iw-part", "data-testid": "spread" });
    this.missing = element("span", { class: "iw-part", "data-testid": "missing" });
    this.facts = element("dl", { class: "iw-facts" });
    [this.askedPiece, this.madePiece] = [thumbnail(), thumbnail()];
    [this.askedText, this.madeText] = [element("span"), element("span")];
    const figure = (name, ...parts) => element("figure", { class: name }, ...parts);
    this.turn = div(
      "iw-turn",
      figure("asked", this.askedPiece.canvas, this.askedText),
      element("span", { class: "to", "aria-hidden": "true" }, "→"),
      figure("made", this.madePiece.canvas, this.madeText),
    );
    const { disc, full, names } = this.model.get("controls");
    const wheel = rgbCanvas(this.model.get("colours"), disc, disc);
    wheel.setAttribute("role", "img");
    wheel.setAttribute(
      "aria-label",
      `Colour wheel: ${names.map((name, k) => `${name} ${ARROW_OF[k]}`).join(", ")}.`,
    );
    const [down, lowRight, right, upRight, up, upLeft, left, lowLeft] = names.map(
      (name, k) => element("span", {}, `${ARROW_OF[k]} ${name}`),
    );
    this.wheel = div(
      "iw-wheel",
      ...[upLeft, up, upRight, left, wheel, right, lowLeft, down, lowRight],
    );
    this.near = div("iw-hint", `White: 0 px. Full colour: ${full} px.`);
  }

  layOut() {
    const { network } = this.model.get("controls");
    const check = element("label", { class: "iw-check" }, this.fuse, "propagation");
    check.title = "A match counts more where the neighbours match alike.";
    const photos = div("iw-strip", div("iw-photos", this.photos.row));
    const controls = div("iw-row iw-asks", photos);
    if (network) controls.append(this.sources.row);
    controls.append(this.scale.box, check);
    const keys = div(
      "iw-keys",
      key("window", "asked patch"),
      key("square", "its best sources"),
      key("glass", "hole"),
    );
    const side = column("Copies mostly from", this.turn, this.list.list, this.facts);
    const main = column(
      ["Where it copies from", this.spread],
      this.field.canvas,
      this.scaleRow(),
      keys,
    );
    this.body.append(
      controls,
      div("iw-attention", main, side),
      div(
        "iw-four",
        column(["Hole", this.missing], this.photo.canvas),
        column("Its shares, on pixels", this.paste.canvas),
        column("Way to best source", this.ways.canvas),
        column("What a colour means", this.wheel, this.near),
      ),
    );
  }

  /** What a brightness means; the scale is fixed, whatever is asked. */
  scaleRow() {
    const bar = div("iw-glow");
    const { faintest } = this.model.get("controls");
    const count = Math.round(-Math.log10(faintest));
    const ticks = Array.from({ length: count + 1 }, (_, k) => {
      const share = 100 * faintest * 10 ** k;
      return element("span", {}, `${k ? "" : "share "}${Number(share.toPrecision(1))} %`);
    });
    return div("iw-shares", bar, div("iw-ticks", ...ticks));
  }

  // ---- what Python says ----

  showAll() {
    const { shown, model, width, height } = this;
    this.photos.show(shown.photo);
    this.sources.show(shown.source);
    this.fuse.checked = shown.propagation;
    this.showScale();
    this.showField();
    this.showPictures();
    const photo = this.given(model.get("image_bytes"), width, height);
    this.list.show(shown.top, (piece, { row, column: across }) =>
      piece.paint(photo, this.patch([row, across])),
    );
    this.showTurn();
    this.showNumbers();
    this.say(attentionSentence(shown));
    const { row, column: across, source, propagation, box, top } = shown;
    this.mark({
      row,
      column: across,
      source,
      propagation,
      photo: shown.photo,
      scale: scaleText(shown.softmax_scale),
      box: box.join(" "),
      best: `${top[0].row} ${top[0].column}`,
      share: top[0].share.toFixed(4),
      entropy: bits(shown.entropy),
    });
  }

  /** A slider that is being moved is ahead of Python: it is left alone. */
  showScale() {
    const { softmax_scale: scale } = this.shown;
    if (this.wanted && Math.abs(Math.log(this.wanted / scale)) > 1e-6) return;
    this.wanted = null;
    this.scale.show({ scale: Math.log10(scale) });
  }

  askScale() {
    this.wanted = Number((10 ** this.scale.values.scale).toPrecision(4));
    this.ask("scale", { softmax_scale: this.wanted });
  }

  /** The asked patch, in what every canvas of the card needs. */
  asked() {
    const { shown } = this;
    return { box: patchBox(shown, shown.cell), grid: shown.grid, step: shown.step };
  }

  place() {
    const { width, height, shown } = this;
    const { row, column: across } = shown;
    return { width, height, row, column: across, asked: this.asked() };
  }

  showField() {
    const { shown, model, width, height } = this;
    const [tall, wide] = shown.grid;
    const light = this.lit(floatsOf(model.get("row_bytes")), wide, tall);
    const photo = this.given(model.get("image_bytes"), width, height);
    const ground = this.ground(model.get("image_bytes"), width, height);
    const hole = model.get("hole_bytes");
    const paint = (pen) => {
      drawWhole(pen, ground);
      this.drawSeen(pen, photo, light);
      pen.globalAlpha = GLOW;
      drawWhole(pen, light, true);
      pen.globalAlpha = 1;
      this.glass(pen, hole);
      this.drawSources(pen);
    };
    this.field.show({ ...this.place(), paint });
  }

  /** The shares of a row as teal light, on a logarithmic scale. */
  lit(row, width, height) {
    const { faintest } = this.model.get("controls");
    this.light ??= element("canvas");
    if (this.light.width !== width || this.light.height !== height)
      [this.light.width, this.light.height] = [width, height];
    const pen = this.light.getContext("2d");
    const picture = pen.createImageData(width, height);
    const least = Math.log10(faintest);
    row.forEach((share, i) => {
      if (share <= faintest) return;
      picture.data.set([...TEAL, 255 * (1 - Math.log10(share) / least)], 4 * i);
    });
    pen.putImageData(picture, 0, 0);
    return this.light;
  }

  /** The photo, as far as there is light. */
  drawSeen(pen, photo, light) {
    const { width, height } = pen.canvas;
    this.layer ??= element("canvas");
    if (this.layer.width !== width || this.layer.height !== height)
      [this.layer.width, this.layer.height] = [width, height];
    const over = this.layer.getContext("2d");
    over.globalCompositeOperation = "copy";
    drawWhole(over, light, true);
    over.globalCompositeOperation = "source-in";
    drawWhole(over, photo);
    pen.drawImage(this.layer, 0, 0);
  }

  /** Lines from the best sources to the asked patch; one has the frame of its patch. */
  drawSources(pen) {
    const { shown, pointed } = this;
    const order = shown.top.map((_, k) => k).reverse();
    if (pointed !== null && pointed < order.length)
      order.push(...order.splice(order.indexOf(pointed), 1));
    for (const k of order) {
      const source = shown.top[k];
      pen.globalAlpha = pointed === null || pointed === k ? 1 : 0.3;
      this.drawLine(pen, source);
      const whole = k === (pointed ?? 0); // overlapping frames would hide each other
      const cell = [source.row, source.column];
      const box = whole ? patchBox(shown, cell) : [...cell, 1, 1];
      drawFrame(pen, box, shown.grid, `rgb(${TEAL})`);
    }
    pen.globalAlpha = 1;
  }

  drawLine(pen, { row, column: across, share }) {
    const { shown } = this;
    const cell = pen.canvas.width / shown.grid[1];
    const [y, x] = [row, across].map((k) => (k + 0.5) * cell);
    const [v, u] = shown.cell.map((k) => (k + 0.5) * cell);
    const bend = [(x + u) / 2 + (y - v) * 0.16, (y + v) / 2 - (x - u) * 0.16];
    const line = pen.canvas.width / 360;
    pen.lineCap = "round";
    for (const [ink, thick] of [
      [DARK, 2.6],
      [`rgb(${TEAL})`, 1],
    ]) {
      pen.strokeStyle = ink;
      pen.lineWidth = (thick + 3.5 * Math.sqrt(share)) * line;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.quadraticCurveTo(...bend, u, v);
      pen.stroke();
    }
  }

  showPictures() {
    const { model, shown, width, height } = this;
    const bytes = model.get("hole_bytes");
    const photo = this.given(model.get("image_bytes"), width, height);
    const state = { hole: bytesOf(bytes), bytes, photo, resizable: shown.rectangle };
    if (!this.photo.moving) state.box = shown.box;
    this.photo.show({ ...this.place(), ...state });
    const pasted = this.pasted(model.get("pasted_bytes"), width, height);
    this.paste.show({
      ...this.place(),
      paint: (pen) => this.pastedStill(pen, pasted, bytes),
    });
    const [wheel, cells] = ["wheel_bytes", "cells_bytes"].map((name) => model.get(name));
    const ground = this.ground(model.get("image_bytes"), width, height);
    const paint = (pen) => this.waysStill(pen, ground, wheel, cells);
    this.ways.show({ ...this.place(), paint });
  }

  paintWays(pen, ground, wheel, cells) {
    const [tall, wide] = this.shown.grid;
    const [rgb, missing] = [bytesOf(wheel), bytesOf(cells)];
    const map = paintedCanvas(wide, tall, (i) =>
      missing[i] ? [...rgb.subarray(3 * i, 3 * i + 3), 255] : null,
    );
    drawWhole(pen, ground);
    drawWhole(pen, map, true);
  }

  /** The patch around a cell in pixels of the photo. */
  patch(cell) {
    return patchBox(this.shown, cell).map((k) => k * this.shown.step);
  }

  /** What was asked with, and what came of it. */
  showTurn() {
    const { model, shown, width, height } = this;
    const { missing_here: missing } = shown;
    const colours = shown.source === "colours";
    const box = this.patch(shown.cell);
    const rough = this.rough(model.get("rough_bytes"), width, height);
    const pasted = this.pasted(model.get("pasted_bytes"), width, height);
    this.askedPiece.paint(rough, box);
    this.madePiece.paint(pasted, box);
    this.askedPiece.canvas.classList.toggle("iw-hidden", !colours);
    const own = missing ? "asked: the first fill" : "asked";
    this.askedText.textContent = colours ? own : `asked: features of ${shown.name}`;
    this.madeText.textContent = missing ? "pasted: their mix" : "known: it stays";
  }

  showNumbers() {
    const { shown } = this;
    const { entropy, entropy_most: most, even, usable, own, average } = shown;
    this.spread.textContent = `${shown.most} patches give 90 %`;
    this.missing.textContent = `${percentOf(shown.share)} missing`;
    const trained = [
      "as trained",
      `scale ${scaleText(own[0])}, ${own[1] ? "with" : "without"} propagation`,
    ];
    showFacts(this.facts, [
      ["entropy", `${bits(entropy)} of at most ${bits(most)} bits`],
      ["as an even choice of", `${even < 10 ? even.toFixed(1) : even.toFixed(0)} patches`],
      ["90 % come from", `${shown.most} of ${usable} patches`],
      ["mean over the hole", average === null ? "nothing missing" : `${bits(average)} bits`],
      ["temperature", `1 / softmax scale = ${scaleText(1 / shown.softmax_scale)}`],
      ...(shown.source === "features" ? [trained] : []),
    ]);
  }
}

function attentionSentence(shown) {
  const { row, column: across, missing_here: missing, top, step, usable } = shown;
  const [best] = top;
  const at = [best.row, best.column].map((k) => Math.floor((k + 0.5) * step));
  const where = `row ${at[0]}, column ${at[1]}, ${pixelsOff(best)}`;
  const five = top.reduce((sum, { share }) => sum + share, 0);
  return (
    `Row ${row}, column ${across} (${missing ? "missing" : "known"}): most, ` +
    `${percentOf(best.share)}, comes from ${where}; the ${top.length} best give ` +
    `${percentOf(five)}, and ${shown.most} of ${usable} patches make up 90 %. Entropy ` +
    `${bits(shown.entropy)} of at most ${bits(shown.entropy_most)} bits.`
  );
}

export default shownBy(AttentionExplorer, ATTENTION_HINT);

// The sampling explorer: where the window of a place reads, and what it finds there.

const SAMPLING_HINT =
  "A read is known on layer 1 where the photo is; deeper, where at least half of what the " +
  "layer below gives is. Click or drag to ask; arrows walk (Shift: four places), Home asks " +
  "the deepest. The hole is dragged in the small photo.";

const ofAll = (part, all) => `${part} of ${all}`;
const pixels = (value) => `${value.toFixed(1)} px`;
const share2 = (value) => value.toFixed(2);
const across2 = ([height, width]) => `${height} × ${width}`;

/** A photo to ask about, place by place of the layer on show. */
class PlaceCanvas extends PixelCanvas {
  drawNow() {
    if (this.paint && this.canvas.width) this.paint(this.canvas.getContext("2d"));
  }

  step([across, down], far) {
    const by = (far ? 4 : 1) * this.stride;
    this.ask(this.row + by * down, this.column + by * across);
  }
}

/** The small photo whose hole can be dragged. */
class SmallPhoto extends PhotoCanvas {
  drawNow() {
    if (!this.photo || !this.canvas.width) return;
    const pen = this.canvas.getContext("2d");
    this.paint(pen);
    drawQuery(pen, this.row, this.column, this.width);
  }
}

/** The whole card: keeps the networks, the layers and the asked place in step. */
class SamplingExplorer extends PixelExplorer {
  build() {
    this.given = kept(rgbCanvas);
    this.makeControls();
    this.makeViews();
    this.makeNumbers();
    this.layOut();
  }

  makeControls() {
    const { networks } = this.model.get("controls");
    this.photos = thumbnails(this.model, (photo) => this.ask("photo", { photo }));
    const labels = Object.keys(networks).map((value) => ({
      value,
      label: value,
      testid: `network-${value}`,
    }));
    this.networks = segment("network", labels, (network) => this.ask("network", { network }));
    this.layer = new Sliders(
      () => this.askLayer(),
      (_, value) => ofAll(this.layers[value - 1].number, this.layers.at(-1).number),
    );
    this.follow = element("input", {
      type: "checkbox",
      "data-testid": "follow",
      onchange: ({ target }) => this.ask("follow", { follow: target.checked }),
    });
  }

  makeViews() {
    const what = "The photo with the reads of the asked place.";
    const home = "the deepest pixel of the hole";
    this.asked = this.view("sampling-view", what, home, PlaceCanvas);
    const canvas = element("canvas", {
      class: "iw-canvas",
      role: "img",
      "data-testid": "enlarged-view",
    });
    const drawNow = () => this.paintEnlarged(canvas);
    this.enlarged = this.watch({ canvas, drawNow, draw: oncePerFrame(drawNow) });
    const label =
      "Small photo with its hole. Arrow keys move the asked pixel, Shift and arrow keys " +
      "the hole, plus and minus resize a rectangle; Home asks about the deepest pixel.";
    const onAsk = (row, column) => this.ask("look", { row, column });
    const onPlace = (box) => this.ask("place", { box });
    this.small = this.watch(new SmallPhoto({ testid: "hole-photo", label, onAsk, onPlace }));
  }

  makeNumbers() {
    const part = (testid) => element("span", { class: "iw-part", "data-testid": testid });
    this.missing = part("missing");
    this.zoomed = part("zoomed");
    this.about = part("about");
    this.counted = element("span", {});
    this.caption = element("span", {});
    this.facts = element("dl", { class: "iw-facts" });
    this.rivals = div("iw-rings iw-bars iw-known");
    this.shares = div("iw-rings iw-bars");
    this.noShares = div("iw-hint");
    this.noShares.textContent = "This layer has one kernel: there is nothing to select.";
  }

  layOut() {
    const check = element("label", { class: "iw-check" }, this.follow, "reads of reads");
    check.title =
      "What a read finds was itself read, one layer finer: those reads as smaller signs.";
    const controls = div(
      "iw-row iw-asks iw-sampling-asks",
      div("iw-strip", div("iw-photos", this.photos.row)),
      this.networks.row,
      this.layer.box,
      check,
    );
    const keys = div(
      "iw-keys",
      key("asked", "asked"),
      key("start", "unmoved"),
      key("dot", "known"),
      key("cross", "unknown"),
      element("span", {}, "size: how much it counts"),
    );
    const photo = column(["Its reads, joined to the asked pixel", this.missing], this.asked.canvas);
    const enlarged = column(
      ["Enlarged: how each read moved", this.zoomed],
      this.enlarged.canvas,
      keys,
    );
    this.body.append(
      controls,
      div("iw-sampling", photo, enlarged),
      div(
        "iw-sampled",
        column("Hole", this.small.canvas),
        column([this.caption, this.about], this.facts),
        column(this.counted, this.rivals),
        column("Kernel shares here", this.shares, this.noShares),
      ),
    );
  }

  // ---- what Python says ----

  showAll() {
    const { shown, model } = this;
    this.layers = model.get("controls").networks[shown.network];
    this.now = this.layers.find(({ number }) => number === shown.layer);
    this.photos.show(shown.photo);
    this.networks.show(shown.network);
    this.showLayer();
    this.showPictures();
    this.showNumbers();
    this.say(samplingSentence(shown, this.now));
    const { row, column: across, network, layer, before, after, box, follow, photo } = shown;
    const facts = { row, column: across, network, layer, before, after, follow, photo };
    this.mark({ ...facts, box: box.join(" "), length: shown.length.toFixed(2) });
  }

  /** A slider that is being moved is ahead of Python: it is left alone. */
  showLayer() {
    const { shown, layers } = this;
    if (this.listed !== shown.network) {
      this.listed = shown.network;
      const range = { low: 1, high: layers.length, step: 1 };
      this.layer.list([{ name: "layer", label: "Layer", ...range }]);
    }
    if (this.wanted === shown.layer) this.wanted = null;
    if (!this.wanted) this.layer.show({ layer: layers.indexOf(this.now) + 1 });
    const finer = layers.some(({ number }) => number === shown.layer - 1);
    this.follow.checked = shown.follow && finer;
    this.follow.disabled = !finer;
    this.follow.parentNode.classList.toggle("iw-off", !finer);
  }

  askLayer() {
    this.wanted = this.layers[this.layer.values.layer - 1].number;
    this.ask("layer", { layer: this.wanted });
  }

  showPictures() {
    const { shown, model, width, height, hole, now } = this;
    const names = ["row", "column", "ownRow", "ownColumn", "seen", "weight", "kind"];
    this.reads = recordsOf(model.get("reads_bytes"), names);
    const further = ["row", "column", "seen", "weight", "parent"];
    this.further = recordsOf(model.get("further_bytes"), further);
    const photo = this.given(model.get("image_bytes"), width, height);
    const { row, column: across } = shown;
    const place = { width, height, row, column: across };
    const paint = (pen) => this.paintPhoto(pen, photo);
    this.asked.show({ ...place, stride: now.stride, paint });
    const state = { hole, photo, resizable: shown.rectangle };
    if (!this.small.moving) state.box = shown.box;
    this.small.show({ ...place, ...state });
    this.enlarged.draw();
  }

  /** How large a read is drawn that counts once: unmoved reads do not cover each other. */
  radius(scale, unit) {
    return clip(0.42 * this.now.scale * scale, 1.8 * unit, 5.5 * unit);
  }

  paintPhoto(pen, photo) {
    const { width, height, shown, model } = this;
    const scale = pen.canvas.width / width;
    const unit = pen.canvas.width / Math.max(1, pen.canvas.clientWidth);
    const at = (row, column) => [(column + 0.5) * scale, (row + 0.5) * scale];
    this.drawGround(pen, photo, model.get("hole_bytes"), width, height);
    const asked = at(shown.row, shown.column);
    const radius = this.radius(scale, unit);
    this.drawFurther(pen, at, 0.5 * radius, unit);
    drawLeaders(pen, this.reads.map(({ row, column }) => [asked, at(row, column)]), unit, 9);
    this.drawAll(pen, this.reads, at, radius, 0.7 * unit);
    drawAskedRing(pen, asked, Math.max(5 * unit, radius + 2 * unit), unit);
  }

  /** The photo below its glass, painted anew only when one of them or the size is new. */
  drawGround(pen, photo, bytes, width, height) {
    const { canvas } = pen;
    const now = [photo, bytes, canvas.width, canvas.height];
    if (!this.ground || now.some((value, k) => value !== this.groundOf[k])) {
      this.groundOf = now;
      this.ground = element("canvas", { width: canvas.width, height: canvas.height });
      const under = this.ground.getContext("2d");
      drawWhole(under, photo);
      drawHole(under, bytesOf(bytes), width, height);
    }
    pen.drawImage(this.ground, 0, 0);
  }

  drawAll(pen, reads, at, radius, rim) {
    // Crosses last: what is wrong is never hidden
    const order = [...reads].sort((a, b) => b.seen - a.seen);
    for (const read of order) drawRead(pen, at(read.row, read.column), read, radius, rim);
  }

  drawFurther(pen, at, radius, unit) {
    pen.globalAlpha = 0.75;
    this.drawAll(pen, this.further, at, Math.max(radius, 1.2 * unit), 0.35 * unit);
    pen.globalAlpha = 1;
  }

  paintEnlarged(canvas) {
    if (!canvas.width || !this.reads) return;
    const pen = canvas.getContext("2d");
    const { shown, width, height, model } = this;
    const { half, row, column: across } = shown;
    const side = 2 * half + 1;
    const scale = canvas.width / side;
    const unit = canvas.width / Math.max(1, canvas.clientWidth);
    const [top, left] = [row - half, across - half];
    const at = (y, x) => [(x - left + 0.5) * scale, (y - top + 0.5) * scale];
    pen.fillStyle = getComputedStyle(this.root).getPropertyValue("--paper2") || "#ddd";
    pen.fillRect(0, 0, canvas.width, canvas.height); // beyond the border
    pen.imageSmoothingEnabled = false;
    const photo = this.given(model.get("image_bytes"), width, height);
    pen.drawImage(photo, left, top, side, side, 0, 0, canvas.width, canvas.height);
    drawHole(pen, this.holeAround(top, left, side), side, side);
    const radius = this.radius(scale, unit);
    this.drawThreads(pen, at, unit);
    this.drawFurther(pen, at, 0.5 * radius, unit);
    const moved = this.reads.map((r) => [at(r.ownRow, r.ownColumn), at(r.row, r.column)]);
    drawLeaders(pen, moved, unit);
    drawStarts(pen, moved, Math.min(2.2 * unit, 0.5 * radius), unit);
    this.drawAll(pen, this.reads, at, radius, unit);
    drawAskedRing(pen, at(row, across), Math.max(7 * unit, radius + 3 * unit), unit);
  }

  /** Faint lines from each read to its own reads. */
  drawThreads(pen, at, unit) {
    const faint = clip(30 / Math.max(1, this.further.length), 0.1, 0.4);
    pen.strokeStyle = `rgba(255, 255, 255, ${faint})`;
    pen.lineWidth = 0.6 * unit;
    pen.beginPath();
    for (const { row, column, parent } of this.further) {
      const from = this.reads[parent];
      pen.moveTo(...at(from.row, from.column));
      pen.lineTo(...at(row, column));
    }
    pen.stroke();
  }

  /** The part of the hole in a square of pixels, which may leave the photo. */
  holeAround(top, left, side) {
    const { width, height, hole } = this;
    const part = new Uint8Array(side * side);
    for (let i = 0; i < part.length; i++) {
      const [y, x] = [top + Math.floor(i / side), left + (i % side)];
      const inside = y >= 0 && y < height && x >= 0 && x < width;
      part[i] = inside ? hole[y * width + x] : 0;
    }
    return part;
  }

  showNumbers() {
    const { shown, now } = this;
    const { count, before, after, missing, outside, further, half } = shown;
    this.missing.textContent = `${(100 * shown.share).toFixed(1)} % missing`;
    this.zoomed.textContent = `${2 * half + 1} px across`;
    this.caption.textContent = `Layer ${shown.layer}: ${across2(now.kernel)} reads`;
    this.about.textContent = `${across2(now.size)} places`;
    this.counted.textContent = `Known reads of ${count}`;
    showFacts(this.facts, [
      ["known unmoved", ofAll(before, count)],
      ["known moved", ofAll(after, count)],
      ["in hole, outside", `${missing}, ${ofAll(outside, count)}`],
      ["mean offset", pixels(shown.length)],
      ["spread (unmoved 1)", share2(shown.spread)],
      ["own reads known", further ? ofAll(further.known, further.count) : "–"],
    ]);
    this.showBarRows();
    const told = samplingSentence(shown, now);
    this.enlarged.canvas.setAttribute("aria-label", `The reads, enlarged. ${told}`);
  }

  showBarRows() {
    const { rivals, before, count, shares, network } = this.shown;
    const row = (name, known, all, now) => ({
      name,
      share: known / all,
      value: String(known),
      testid: `known-${name}`,
      now,
    });
    showBars(this.rivals, [
      row("unmoved", before, count, false),
      ...rivals.map((each) => row(each.network, each.known, each.count, each.network === network)),
    ]);
    this.noShares.classList.toggle("iw-hidden", shares !== null);
    this.shares.classList.toggle("iw-hidden", shares === null);
    const kernel = (share, k) => ({
      name: `kernel ${k}`,
      share,
      value: share2(share),
      testid: `share-${k}`,
    });
    showBars(this.shares, (shares ?? []).map(kernel));
  }
}

function samplingSentence(shown, now) {
  const { row, column: across, missing_here: missing, network, layer, further } = shown;
  const followed = further
    ? ` Of their ${further.count} own reads ${further.known} are known.`
    : "";
  return (
    `Row ${row}, column ${across} (${missing ? "missing" : "known"}), ${network}, layer ` +
    `${layer}: ${shown.after} of ${shown.count} reads are known, ${shown.before} of an ` +
    `unmoved window; ${shown.missing} lie in the hole, ${shown.outside} outside the photo. ` +
    `They moved ${pixels(shown.length)} on average, spread ${share2(shown.spread)}.${followed}`
  );
}

export default shownBy(SamplingExplorer, SAMPLING_HINT);

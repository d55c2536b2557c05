// The gate explorer: what each gate let through, beside partial convolution's rule.

const GATE_HINT =
  "1 is open, 0 is shut. AUC 1: more open at every place of the hole than outside; 0: the " +
  "reverse; 0.5: it does not care. Click a place, drag the hole. Keys: arrows, Home; on " +
  "the photo Shift + arrows move the hole, + and − resize a square.";
const MANY = 12; // layers: from here on the film scrolls
const GRID_FROM = 7; // screen pixels a cell: below that, the place is a ring
const HISTOGRAM = { width: 244, height: 88, left: 6, right: 6, top: 18, base: 62 };
const PLACES = { width: 244, height: 106, left: 26, right: 6, top: 20, base: 90 };
const TEAL_TINT = [...TEAL, 84];

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const decimal = (value) => (value === null ? "–" : value.toFixed(2));
const grid = ([height, width]) => `${height} × ${width}`;

/** What an AUC means, in a few words. */
function verdict(auc) {
  if (auc === null) return "needs missing and known places";
  if (auc > 0.9) return "more open in the hole, almost always";
  if (auc > 0.6) return "rather more open in the hole";
  if (auc >= 0.4) return "hardly cares about the hole";
  if (auc >= 0.1) return "rather less open in the hole";
  return "less open in the hole, almost always";
}

/** The outline of the hole at a layer's size, white with a dark rim. */
function drawOutline(pen, hole, [height, width]) {
  const { canvas } = pen;
  const layer = element("canvas", { width: canvas.width, height: canvas.height });
  const ink = layer.getContext("2d");
  drawRim(ink, hole, width, height);
  ink.globalCompositeOperation = "source-in";
  for (const [colour, grown] of [
    [DARK, 1.5],
    ["#ffffff", 0],
  ]) {
    ink.fillStyle = colour;
    ink.fillRect(0, 0, layer.width, layer.height);
    for (const [dx, dy] of grown ? Object.values(ARROWS) : [[0, 0]])
      pen.drawImage(layer, grown * dx, grown * dy);
  }
}

/** A map at its own size: the asked place is its cell where cells are large. */
class MapCanvas extends PixelCanvas {
  drawNow() {
    if (!this.paint || !this.canvas.width) return;
    const pen = this.canvas.getContext("2d");
    this.paint(pen);
    const { row, column, height, width } = this;
    const screen = this.canvas.getBoundingClientRect().width / width;
    if (screen < GRID_FROM) drawQuery(pen, row, column, width);
    else drawFrame(pen, [row, column, 1, 1], [height, width]);
  }
}

/** All channels of a layer as small maps, sorted; one of them is chosen. */
class Gallery {
  constructor(onPick) {
    this.onPick = onPick;
    this.row = div("iw-gates");
    this.row.setAttribute("role", "radiogroup");
    this.row.setAttribute("aria-label", "channel");
    this.row.dataset.testid = "gallery";
    this.group = `gate-${Math.random()}`;
    this.seen = new ResizeObserver(() => this.reveal()); // once it has a size
    this.seen.observe(this.row);
  }

  /** Tiles in the given order; `paint(k)` gives the picture of channel k. */
  list(order, aucs, paint) {
    this.inputs = new Map();
    this.row.replaceChildren(...order.map((k) => this.tile(k, aucs[k], paint(k))));
  }

  tile(k, auc, picture) {
    const told = `channel ${k}, AUC ${decimal(auc)}: ${verdict(auc)}`;
    const input = element("input", {
      type: "radio",
      name: this.group,
      value: k,
      "aria-label": told,
      "data-testid": `gate-${k}`,
      onchange: () => this.onPick(k),
    });
    this.inputs.set(k, input);
    return element("label", { title: told }, input, picture, decimal(auc));
  }

  show(channel) {
    this.chosen = this.inputs.get(channel);
    this.chosen.checked = true;
    this.reveal();
  }

  /** Bring the chosen tile into view, without moving the page. */
  reveal() {
    if (!this.chosen) return;
    const [box, tile] = [this.row, this.chosen.parentNode];
    const above = tile.offsetTop - box.offsetTop - 6;
    const below = above + tile.offsetHeight + 12 - box.clientHeight;
    if (above < box.scrollTop) box.scrollTop = above;
    else if (below > box.scrollTop) box.scrollTop = below;
  }
}

/** How often each value of a gate occurs in the hole (hatched) and outside (dashed). */
class GateHistogram extends RowChart {
  constructor(colours) {
    super(HISTOGRAM, "gate-histogram");
    this.id = `hatch-${Math.random().toString(36).slice(2)}`;
    const { left, right, width, base } = HISTOGRAM;
    this.scale = colours.map((fill, k) => {
      const step = (width - left - right) / colours.length;
      const place = { x: left + k * step, y: base + 2, width: step + 0.5, height: 9 };
      return shape("rect", { fill, ...place });
    });
    const hatch = shape("pattern", {
      id: this.id,
      width: 5,
      height: 5,
      patternUnits: "userSpaceOnUse",
      patternTransform: "rotate(45)",
    });
    hatch.append(shape("path", { class: "hatch", d: "M0 0V5" }));
    this.hatch = hatch;
  }

  show({ bins: [inside, outside] }) {
    this.zoom(0, inside.length);
    const { left, right, width, base, top } = HISTOGRAM;
    const ends = ["0 shut", "0.5", "1 open"].map((text, k) => {
      const x = [left, width / 2, width - right][k];
      return shape("text", { class: ["start", "", "scale"][k], x, y: base + 23 }, text);
    });
    const level = { class: "start", x: left, y: top - 6 };
    const line = (share) => `M${left} ${this.y(share)}H${width - right}`;
    this.svg.replaceChildren(
      this.hatch,
      shape("path", { class: "grid", d: line(0.5) + line(1) }),
      shape("text", level, "100 %"),
      ...this.legend(),
      shape("path", {
        class: "inside",
        fill: `url(#${this.id})`,
        d: this.steps(inside),
      }),
      shape("path", { class: "outside", d: this.steps(outside) }),
      ...this.scale,
      ...ends,
    );
    const told = (shares) => shares.map((part) => Math.round(100 * part)).join(", ");
    const text =
      `Percent of the places by the value of the gate, in tenths from 0 to 1. In the ` +
      `hole: ${told(inside)}. Outside: ${told(outside)}.`;
    this.svg.setAttribute("aria-label", text);
  }

  legend() {
    const { width, right, top } = HISTOGRAM;
    const [line, text] = [top - 9, top - 6];
    const box = { x: width - right - 142, y: top - 15, width: 13, height: 9 };
    return [
      shape("rect", { class: "inside", fill: `url(#${this.id})`, ...box }),
      shape("text", { class: "start named", x: box.x + 18, y: text }, "in the hole"),
      shape("path", { class: "outside", d: `M${width - right - 56} ${line}h13` }),
      shape("text", { class: "start named", x: width - right - 38, y: text }, "outside"),
    ];
  }

  steps(shares) {
    if (!shares.some(Boolean)) return "";
    const parts = shares.map((part, k) => `V${this.y(part)}H${this.x(k + 1)}`);
    return `M${this.x(0)} ${this.y(0)}${parts.join("")}V${this.y(0)}`;
  }
}

/** The gate of every channel at one place, the most open first. */
class PlaceBars extends RowChart {
  constructor() {
    super(PLACES, "place-bars");
  }

  show({ here, channel }, colour) {
    const order = here.map((_, k) => k).sort((a, b) => here[b] - here[a]);
    this.zoom(0, order.length);
    const { left, right, width, base } = PLACES;
    const lines = [0, 0.5, 1].flatMap((value) => [
      shape("path", { class: "grid", d: `M${left} ${this.y(value)}H${width - right}` }),
      shape("text", { class: "scale", x: left - 6, y: this.y(value) + 3.5 }, value),
    ]);
    const half = `M${left} ${this.y(0.5)}H${width - right}`;
    const bars = order.map((k, place) =>
      this.bar(place, here[k], "bar", colour(here[k])),
    );
    const place = order.indexOf(channel);
    const middle = { x: (left + width - right) / 2, y: base + 13 };
    const name = `${order.length} channels, the most open first`;
    this.svg.replaceChildren(
      ...lines,
      ...bars,
      shape("path", { class: "half", d: half }),
      this.marker(place),
      shape("text", middle, name),
    );
    const text =
      `Gates of ${order.length} channels at the place, the most open first: ` +
      `${order.slice(0, 8).map((k) => `channel ${k} ${decimal(here[k])}`).join(", ")}. ` +
      `Channel ${channel} is number ${place + 1} with ${decimal(here[channel])}.`;
    this.svg.setAttribute("aria-label", text);
  }
}

/** The whole card: keeps photo, hole, layer, channel and place in step. */
class GateExplorer extends PixelExplorer {
  build() {
    const colours = bytesOf(this.model.get("colours"));
    this.rgb = (value) => {
      const k = 3 * Math.round(255 * clip(value, 0, 1));
      return [colours[k], colours[k + 1], colours[k + 2]];
    };
    this.css = (value) => `rgb(${this.rgb(value)})`;
    this.given = kept(rgbCanvas);
    this.ground = kept(dimmedCanvas);
    this.makeChoices();
    this.makeViews();
    this.layOut();
  }

  makeChoices() {
    const { holes } = this.model.get("controls");
    this.photos = thumbnails(this.model, (name) => this.ask("photo", { name }));
    const hole = (value) => ({ value, label: value, testid: `hole-${value}` });
    this.forms = segment("hole", holes.map(hole), (name) => this.ask("hole", { name }));
    this.gallery = new Gallery((channel) => this.ask("channel", { channel }));
    this.stops.push(() => this.gallery.seen.disconnect());
  }

  makeViews() {
    const label =
      "Photo with its hole. Arrow keys move the asked place, Shift and arrow keys the " +
      "hole, plus and minus resize a square; Home asks about the deepest pixel.";
    const onAsk = (row, column) => this.ask("look", { row, column });
    const onPlace = (box) => this.ask("place", { box });
    const asks = { testid: "photo-view", label, onAsk, onPlace };
    this.photo = this.watch(new PhotoCanvas(asks));
    const view = (testid, what) => {
      const made = this.view(testid, what, "the deepest pixel of the hole", MapCanvas);
      made.onAsk = (row, column) => this.askCell(row, column);
      return made;
    };
    this.gate = view("gate-view", "The gate of the chosen channel.");
    this.rule = view("rule-view", "The hard rule of partial convolution.");
    const scale = Array.from({ length: 64 }, (_, k) => this.css(k / 63));
    this.histogram = new GateHistogram(scale);
    this.bars = new PlaceBars();
    this.missing = element("span", { class: "iw-part", "data-testid": "missing" });
    this.gateName = element("span", {});
    this.area = element("span", { class: "iw-part", "data-testid": "auc" });
    this.ruleOpen = element("span", { class: "iw-part", "data-testid": "rule-open" });
    this.spread = element("span", { class: "iw-part", "data-testid": "spread" });
    this.noRule = div("iw-hint");
    const { rival } = this.model.get("controls");
    this.versusName = rival ? "Partial convolution" : "The gate in numbers";
    this.versus = div("iw-versus");
    this.count = element("span", {});
    this.here = element("span", {});
    this.open = element("span", { class: "iw-part", "data-testid": "open-here" });
    this.filmPlace = div("iw-film-place");
  }

  layOut() {
    const strip = div("iw-photos", this.photos.row);
    const photo = column(
      ["Photo and hole", this.missing],
      this.photo.canvas,
      div("iw-strip", strip),
      this.forms.row,
    );
    const gallery = column([this.count, this.spread], this.gallery.row);
    gallery.classList.add("iw-all");
    this.body.append(
      this.filmPlace,
      div(
        "iw-three",
        photo,
        gallery,
        column([this.gateName, this.area], this.gate.canvas, this.histogram.svg),
        column([this.versusName, this.ruleOpen], this.rule.canvas, this.noRule, this.versus),
        column([this.here, this.open], this.bars.svg),
      ),
    );
  }

  // ---- what Python says ----

  showAll() {
    const { shown, model } = this;
    this.now = model.get("layer_facts")[shown.layer];
    this.photos.show(shown.photo);
    this.forms.show(shown.hole);
    this.showFilm();
    this.showGallery();
    this.showPictures();
    this.showNumbers();
    this.say(gateSentence(shown, this.now));
    const { row, column: across, channel, photo, hole, box } = shown;
    const place = { row, column: across, box: box.join(" ") };
    this.mark({ layer: this.now.name, channel, photo, hole, ...place });
  }

  /** Built anew when the maps are others: the photo or the hole changed. */
  showFilm() {
    const bytes = this.model.get("film_bytes");
    if (bytes !== this.filmed) {
      this.filmed = bytes;
      this.film = this.makeFilm(bytesOf(bytes));
      this.filmPlace.replaceChildren(this.film.box);
    }
    this.film.show(this.shown.layer);
  }

  makeFilm(bytes) {
    const { width, height, hole } = this;
    const layers = this.model.get("layer_facts");
    let at = 0;
    const maps = layers.map(({ size }) => bytes.subarray(at, (at += size[0] * size[1])));
    const photo = this.given(this.model.get("image_bytes"), width, height);
    return new Film({
      label: "Layer",
      scrolls: layers.length > MANY,
      before: {
        name: "the hole",
        note: percent(this.shown.share),
        title: `${percent(this.shown.share)} of the photo is missing`,
      },
      stages: layers.map(({ name, size, channels, strongest, auc }) => ({
        name,
        label: layers.length > MANY ? name.replaceAll(".", " ") : name,
        note: `AUC ${decimal(auc)}`,
        title:
          `${name}: ${channels} channels of ${grid(size)}; the one that tells the hole ` +
          `best is ${strongest}, AUC ${decimal(auc)}`,
      })),
      shape: [height, width],
      paint: (pen, k) => {
        if (k) return drawWhole(pen, this.map(maps[k - 1], layers[k - 1].size), true);
        drawWhole(pen, photo);
        return drawHole(pen, hole, width, height);
      },
      onPick: (k) => this.ask("layer", { name: layers[k].name }),
    });
  }

  /** A map of bytes in colours, at its own size. */
  map(bytes, [height, width]) {
    return paintedCanvas(width, height, (i) => [...this.rgb(bytes[i] / 255), 255]);
  }

  showGallery() {
    const { shown, now } = this;
    const bytes = this.model.get("gates_bytes");
    if (bytes !== this.listed) {
      this.listed = bytes;
      const each = now.size[0] * now.size[1];
      const all = bytesOf(bytes);
      const cut = (k) => this.map(all.subarray(k * each, (k + 1) * each), now.size);
      this.maps = shown.order.map(() => null);
      this.gallery.list(shown.order, shown.aucs, (k) => (this.maps[k] = cut(k)));
    }
    this.gallery.show(shown.channel);
  }

  showPictures() {
    const { model, shown, now, width, height, hole } = this;
    const photo = this.given(model.get("image_bytes"), width, height);
    const state = { width, height, hole, photo, resizable: shown.rectangle };
    if (!this.photo.moving) state.box = shown.box;
    this.photo.show({ ...state, row: shown.row, column: shown.column });
    const small = bytesOf(model.get("small_hole_bytes"));
    const [row, column] = shown.cell;
    const place = { height: now.size[0], width: now.size[1], row, column };
    const map = this.maps[shown.channel];
    this.gate.show({
      ...place,
      paint: (pen) => {
        drawWhole(pen, map, true);
        drawOutline(pen, small, now.size);
      },
    });
    if (shown.rule) this.rule.show({ ...place, paint: this.rulePainter(small) });
    this.rule.canvas.classList.toggle("iw-hidden", !shown.rule);
    const ratio = `${width} / ${height}`; // of the photo, not of the grid
    for (const { canvas } of [this.gate, this.rule]) canvas.style.aspectRatio = ratio;
  }

  ruleShare() {
    const open = bytesOf(this.model.get("rule_bytes"));
    return open.reduce((a, b) => a + b, 0) / open.length;
  }

  rulePainter(small) {
    const { model, now, width, height } = this;
    const open = bytesOf(model.get("rule_bytes"));
    const ground = this.ground(model.get("image_bytes"), width, height);
    const [tall, wide] = now.size;
    const tint = paintedCanvas(wide, tall, (i) => (open[i] ? TEAL_TINT : null));
    const shut = open.map((value) => 1 - value);
    return (pen) => {
      drawWhole(pen, ground);
      drawWhole(pen, tint, true);
      drawHole(pen, shut, wide, tall);
      drawOutline(pen, small, now.size);
    };
  }

  showNumbers() {
    const { shown, now } = this;
    const { channel, auc, rule, here } = shown;
    this.missing.textContent = `${percent(shown.share)} missing`;
    this.gateName.textContent = `Gate of channel ${channel}`;
    this.area.textContent = `AUC ${decimal(auc)}`;
    const { rival } = this.model.get("controls");
    this.noRule.textContent = rule || !rival
      ? ""
      : `No rule to show: there is no layer ${now.name} of this size in the rival network.`;
    this.noRule.classList.toggle("iw-hidden", Boolean(rule) || !rival);
    this.ruleOpen.textContent = rule ? `${percent(this.ruleShare())} open` : "";
    this.histogram.show(shown);
    const rows = [
      ["mean in the hole", shown.inside, rule?.inside, "inside"],
      ["mean outside", shown.outside, rule?.outside, "outside"],
      ["AUC", auc, rule?.auc, "area"],
      ["at the place", here[channel], rule?.here, "place"],
    ];
    this.versus.replaceChildren(...versusHead(rule), ...rows.flatMap(versusRow));
    this.count.textContent = `${now.name}: ${now.channels} channels, ${grid(now.size)}`;
    const [most, least] = [shown.order[0], shown.order.at(-1)].map((k) => shown.aucs[k]);
    this.spread.textContent =
      auc === null
        ? `AUC undefined: ${shown.inside === null ? "nothing" : "all"} missing`
        : `sorted by AUC, ${decimal(most)} to ${decimal(least)}`;
    this.here.textContent = "All gates here";
    this.open.textContent = `${shown.open_here} of ${here.length} above ½`;
    this.bars.show(shown, this.css);
  }

  // ---- what the reader does ----

  askCell(row, column) {
    if (row === null) return this.ask("look", { row, column });
    const [tall, wide] = this.now.size;
    const at = (k, cells, pixels) => Math.floor(((k + 0.5) * pixels) / cells);
    const place = [at(row, tall, this.height), at(column, wide, this.width)];
    return this.ask("look", { row: place[0], column: place[1] });
  }
}

const versusHead = (rule) => [
  rule ? div("iw-keys", key("tint", "open"), key("glass", "shut")) : element("span", {}),
  element("b", {}, "gate"),
  element("b", {}, rule ? "rule" : ""),
];

const versusRow = ([name, gate, rule, testid]) => [
  element("span", {}, name),
  element("b", { "data-testid": `gate-${testid}` }, decimal(gate)),
  element("span", { "data-testid": `rule-${testid}` }, rule === undefined ? "" : decimal(rule)),
];

function gateSentence({ channel, auc, row, column, here, open_here, missing_here, rule }, now) {
  const about =
    auc === null
      ? "AUC is undefined, because it needs missing and known places"
      : `AUC ${decimal(auc)}, ${verdict(auc)}`;
  const where = missing_here ? "missing" : "known";
  const hard = rule ? `; the hard rule says ${rule.here ? "open" : "shut"}` : "";
  return (
    `${now.name}, channel ${channel}: ${about}. At row ${row}, column ${column} ` +
    `(${where}) its gate is ${decimal(here[channel])}, and ${open_here} of ` +
    `${here.length} channels are more than half open${hard}.`
  );
}

export default shownBy(GateExplorer, GATE_HINT);

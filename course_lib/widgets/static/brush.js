// A picture to paint on: strokes of a brush by mouse, touch and keys, with undo.

const BRUSH = { min: 2, max: 64, step: 2 };
const HISTORY = 100; // strokes that can be taken back
const PAINT_LABEL = "Photo to paint on. Arrow keys move the brush, Space paints.";
const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);

/** The picture that is painted on: owns the hole or sketch, its history and the brush. */
class BrushCanvas {
  constructor({ onStroke, onMove, testid = "paint-view", label = PAINT_LABEL }) {
    this.onStroke = onStroke;
    this.onMove = onMove;
    this.brush = BRUSH.min;
    this.steps = [4, 24]; // pixels that an arrow key moves, without and with Shift
    this.erasing = false;
    this.cursor = null; // [x, y] in pixels of the picture
    this.stroke = null; // what paints now: a pointer's id, or "keys"
    this.canvas = element("canvas", {
      class: "iw-canvas iw-paint",
      tabindex: "0",
      role: "application",
      "aria-label": label,
      "data-testid": testid,
    });
    this.draw = oncePerFrame(() => this.drawNow());
    this.listen();
  }

  /** Start with another picture; a hole of another size is dropped. */
  setPicture(picture) {
    const { width, height } = picture;
    if (width !== this.width || height !== this.height) {
      Object.assign(this, { width, height, undone: [], done: [], cursor: null });
      this.hole = new Uint8Array(width * height);
      this.canvas.style.aspectRatio = `${width} / ${height}`;
    }
    this.picture = picture;
    this.draw();
  }

  count() {
    return this.hole.reduce((sum, missing) => sum + missing, 0);
  }

  /** Take a hole from Python; it can be undone like a stroke. */
  adopt(hole) {
    if (this.stroke !== null || hole.length !== this.hole.length) return;
    if (same(hole, this.hole)) return;
    this.remember();
    this.hole = hole.slice();
    this.draw();
  }

  undo() {
    this.travel(this.done, this.undone);
  }

  redo() {
    this.travel(this.undone, this.done);
  }

  clear() {
    if (!this.count()) return;
    this.remember();
    this.hole = new Uint8Array(this.hole.length);
    this.changed();
  }

  travel(from, to) {
    if (!from.length || this.stroke !== null) return;
    to.push(this.hole);
    this.hole = from.pop();
    this.changed();
  }

  remember() {
    this.done.push(this.hole.slice());
    if (this.done.length > HISTORY) this.done.shift();
    this.undone.length = 0;
  }

  changed() {
    this.draw();
    this.onStroke();
  }

  begin(who, point) {
    this.stroke = who;
    this.remember();
    this.cursor = point;
    this.paint(point, point);
  }

  moveTo(point) {
    if (this.stroke !== null) this.paint(this.cursor, point);
    this.cursor = point;
    this.draw();
  }

  finish(who) {
    if (this.stroke === null || this.stroke !== who) return;
    this.stroke = null;
    if (same(this.done.at(-1), this.hole)) this.done.pop();
    this.changed();
  }

  /** Set every pixel whose centre is within half a brush of the line from a to b. */
  paint(a, b) {
    const radius = this.brush / 2;
    const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
    const length2 = dx * dx + dy * dy || 1;
    const low = (i) => Math.max(0, Math.floor(Math.min(a[i], b[i]) - radius));
    const high = (i) => Math.ceil(Math.max(a[i], b[i]) + radius);
    const [left, right] = [low(0), Math.min(this.width, high(0))];
    const [top, bottom] = [low(1), Math.min(this.height, high(1))];
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const [px, py] = [x + 0.5 - a[0], y + 0.5 - a[1]];
        const along = clip((px * dx + py * dy) / length2, 0, 1);
        const [ex, ey] = [px - along * dx, py - along * dy];
        if (ex * ex + ey * ey <= radius * radius) this.mark(y * this.width + x);
      }
    }
    this.draw();
  }

  /** What the brush does to one pixel. */
  mark(pixel) {
    this.hole[pixel] = this.erasing ? 0 : 1;
  }

  listen() {
    const { canvas } = this;
    const at = (event) => pointOf(event, canvas, this.width, this.height);
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || this.stroke !== null) return;
      canvas.setPointerCapture(event.pointerId);
      canvas.focus({ preventScroll: true });
      this.begin(event.pointerId, at(event));
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.stroke !== null && this.stroke !== event.pointerId) return;
      const steps = event.getCoalescedEvents?.() ?? [];
      for (const step of steps.length ? steps : [event]) this.moveTo(at(step));
    });
    for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, (event) => this.finish(event.pointerId));
    }
    canvas.addEventListener("pointerleave", () => this.hideCursor());
    canvas.addEventListener("keydown", (event) => this.keyDown(event));
    canvas.addEventListener("keyup", (event) => {
      if (event.key === " ") this.liftKey();
    });
    canvas.addEventListener("blur", () => {
      this.finish("keys");
      this.hideCursor();
    });
  }

  hideCursor() {
    if (this.stroke !== null) return;
    this.cursor = null;
    this.draw();
  }

  keyDown(event) {
    const step = ARROWS[event.key];
    if ((!step && event.key !== " ") || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const [x, y] = this.cursor ?? [this.width / 2, this.height / 2];
    if (step) {
      const far = this.steps[event.shiftKey ? 1 : 0];
      const across = clip(x + far * step[0], 0, this.width);
      const down = clip(y + far * step[1], 0, this.height);
      this.moveTo([across, down]);
      this.onMove(across, down);
    } else if (!event.repeat) {
      this.pressKey([x, y]);
    }
  }

  /** Space was pressed, and let go: it paints while it is held. */
  pressKey(point) {
    if (this.stroke === null) this.begin("keys", point);
  }

  liftKey() {
    this.finish("keys");
  }

  /** Show the brush in the middle, in its true size, while its size is chosen. */
  showBrush() {
    this.sample = true;
    clearTimeout(this.sampleTimer);
    this.sampleTimer = setTimeout(() => {
      this.sample = false;
      this.draw();
    }, 900);
    this.draw();
  }

  drawNow() {
    const pen = this.canvas.getContext("2d");
    if (!this.picture || !this.canvas.width) return;
    pen.drawImage(this.picture, 0, 0, this.canvas.width, this.canvas.height);
    this.drawPainted(pen);
    const middle = [this.width / 2, this.height / 2];
    const point = this.cursor ?? (this.sample ? middle : null);
    if (point) this.drawCursor(pen, point);
  }

  /** How strokes look: as a hole. */
  drawPainted(pen) {
    drawHole(pen, this.hole, this.width, this.height);
  }

  // A ring as large as the brush; a small one gets four ticks so that it can be seen.
  drawCursor(pen, [x, y]) {
    const scale = this.canvas.width / this.width;
    const line = this.canvas.width / 360;
    const radius = Math.max(1.5 * line, (this.brush / 2) * scale);
    const inks = [
      ["rgba(10, 12, 20, 0.85)", 3.6],
      [this.erasing ? "#ffffff" : "#ffd84d", 1.7],
    ];
    for (const [ink, width] of inks) {
      pen.strokeStyle = ink;
      pen.lineWidth = width * line;
      pen.setLineDash(this.erasing && ink[0] === "#" ? [4 * line, 3 * line] : []);
      pen.beginPath();
      pen.arc(x * scale, y * scale, radius, 0, 7);
      if (radius < 8 * line) drawTicks(pen, x * scale, y * scale, radius, line);
      pen.stroke();
    }
    pen.setLineDash([]);
  }
}

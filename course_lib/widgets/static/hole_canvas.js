// A photo whose hole can be dragged: click to ask, drag the hole, pull at its edges.

const NEAR = { mouse: 7, touch: 16 }; // how far from an edge still grips it, in pixels
const CLICK = 4; // pixels that a click may move without becoming a drag

/**
 * Asks about pixels, moves the hole and resizes it. `show` needs, beside the size and
 * the asked pixel: `hole`, one byte a pixel; its `box`, top, left, height and width; and
 * `resizable`, whether the box may take other sides, as a rectangle may.
 */
class HoleCanvas extends PixelCanvas {
  constructor({ testid, label, onAsk, onPlace }) {
    super({ testid, label, onAsk });
    this.onPlace = onPlace;
  }

  /** Whether the hole follows the hand now; its `box` is then ahead of Python's. */
  get moving() {
    return Boolean(this.held?.moved && this.held.grip !== null);
  }

  // What a pointer holds: its id, its grip, where it started, and the box then.
  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => {
      if (this.held?.id === event.pointerId) this.drag(event);
      else canvas.style.cursor = this.cursor(this.gripAt(event));
    });
    canvas.addEventListener("pointerup", (event) => this.release(event));
    for (const name of ["pointercancel", "lostpointercapture"]) {
      canvas.addEventListener(name, () => (this.held = null));
    }
  }

  /** Which sides of the box a pointer grips: [-1, 0 or 1 across, and down], or null. */
  gripAt(event) {
    const scale = this.canvas.getBoundingClientRect().width / this.width;
    const near = (NEAR[event.pointerType] ?? NEAR.mouse) / scale;
    const [x, y] = this.point(event);
    const [top, left, height, width] = this.box;
    const side = (value, low, length) => {
      const [first, last] = [Math.abs(value - low), Math.abs(value - low - length)];
      if (Math.min(first, last) > Math.min(near, length / 3 + 1)) return 0;
      return first < last ? -1 : 1;
    };
    const reach = (value, low, length) => value > low - near && value < low + length + near;
    if (!reach(x, left, width) || !reach(y, top, height)) return null;
    if (!this.resizable) return this.missingAt(x, y) ? [0, 0] : null;
    const grip = [side(x, left, width), side(y, top, height)];
    const inside = x > left && x < left + width && y > top && y < top + height;
    return grip[0] || grip[1] || inside ? grip : null;
  }

  missingAt(x, y) {
    return this.hole[Math.floor(y) * this.width + Math.floor(x)] === 1;
  }

  cursor(grip) {
    if (grip === null) return "crosshair";
    const [across, down] = grip;
    if (!across && !down) return "move";
    if (!across) return "ns-resize";
    if (!down) return "ew-resize";
    return across === down ? "nwse-resize" : "nesw-resize";
  }

  press(event) {
    if (event.button !== 0 || this.held) return;
    this.grab(event);
    const grip = this.gripAt(event);
    this.held = {
      id: event.pointerId,
      grip,
      from: this.point(event),
      page: [event.clientX, event.clientY],
      box: [...this.box],
      moved: false,
    };
    if (grip === null) this.askAt(event);
  }

  drag(event) {
    const { held } = this;
    const far = Math.hypot(event.clientX - held.page[0], event.clientY - held.page[1]);
    held.moved ||= far >= CLICK;
    if (held.grip === null) this.askAt(event);
    else if (held.moved) {
      const [x, y] = this.point(event);
      const [dx, dy] = [Math.round(x - held.from[0]), Math.round(y - held.from[1])];
      this.place(this.pulled(held.box, held.grip, dx, dy));
    }
  }

  release(event) {
    const { held } = this;
    this.held = null;
    if (held?.id === event.pointerId && held.grip !== null && !held.moved)
      this.askAt(event);
  }

  /** The box after its gripped sides, or the whole of it, went by (dx, dy). */
  pulled([top, left, height, width], [across, down], dx, dy) {
    if (!across && !down) {
      const lowest = this.height - height;
      const rightmost = this.width - width;
      return [clip(top + dy, 0, lowest), clip(left + dx, 0, rightmost), height, width];
    }
    const one = (first, length, side, by, end) => {
      if (side === 0) return [first, length];
      if (side > 0) return [first, clip(length + by, 1, end - first)];
      const moved = clip(first + by, 0, first + length - 1);
      return [moved, first + length - moved];
    };
    const [y, h] = one(top, height, down, dy, this.height);
    const [x, w] = one(left, width, across, dx, this.width);
    return [y, x, h, w];
  }

  place(box) {
    if (box.every((value, i) => value === this.box[i])) return;
    this.box = box; // the frame follows the hand, the weights follow Python
    this.draw();
    this.onPlace(box);
  }

  step(by, far) {
    if (far) this.place(this.pulled(this.box, [0, 0], ...by));
    else super.step(by, false);
  }

  // A thin frame with eight squares to pull at.
  drawFrame(pen) {
    const [scale, line] = [this.canvas.width / this.width, this.canvas.width / 360];
    const [top, left, height, width] = this.box.map((value) => value * scale);
    pen.lineWidth = line;
    pen.strokeStyle = "#ffffff";
    pen.setLineDash([4 * line, 3 * line]);
    pen.strokeRect(left, top, width, height);
    pen.setLineDash([]);
    pen.fillStyle = "#ffffff";
    pen.strokeStyle = "rgba(10, 12, 20, 0.85)";
    const side = 6.5 * line;
    for (const x of [0, 0.5, 1]) {
      for (const y of [0, 0.5, 1]) {
        if (x === 0.5 && y === 0.5) continue;
        if ((x === 0.5 ? width : height) < 5 * side && (x === 0.5 || y === 0.5)) continue;
        const corner = [left + x * width - side / 2, top + y * height - side / 2];
        pen.fillRect(...corner, side, side);
        pen.strokeRect(...corner, side, side);
      }
    }
  }
}

/** The photo with its hole, which can be dragged; + and - resize it. */
class PhotoCanvas extends HoleCanvas {
  paint(pen) {
    drawWhole(pen, this.photo);
    drawHole(pen, this.hole, this.width, this.height);
    if (this.resizable) this.drawFrame(pen);
  }

  step(by, far) {
    if (!far || this.box[2]) super.step(by, far);
  }

  keyDown(event) {
    const by = { "+": 1, "=": 1, "-": -1, "−": -1 }[event.key];
    if (!by || event.ctrlKey || event.metaKey) return super.keyDown(event);
    event.preventDefault();
    if (this.resizable) this.grow(by);
  }

  grow(by) {
    const [top, left, height, width] = this.box;
    const tall = clip(height + 2 * by, 1, this.height);
    const wide = clip(width + 2 * by, 1, this.width);
    const down = clip(top - by, 0, this.height - tall);
    this.place([down, clip(left - by, 0, this.width - wide), tall, wide]);
  }
}

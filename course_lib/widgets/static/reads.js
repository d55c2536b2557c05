// Reads of a layer as signs on a photo: dots for known pixels, crosses for others.

const KNOWN = 0.5; // of validity: from there a read counts as known
const FAINT = 0.05; // the least modulation that is drawn: a read of no weight is still seen
const TEAL_INK = `rgb(${TEAL})`;
const WRONG_INK = `rgb(${WRONG})`;
const PALE = "rgba(255, 255, 255, 0.9)";

/** The rows of a float trait, each with the given names. */
function recordsOf(view, names) {
  const values = floatsOf(view);
  return Array.from({ length: values.length / names.length }, (_, k) =>
    Object.fromEntries(names.map((name, i) => [name, values[k * names.length + i]])),
  );
}

/** A dot for a known read, a cross for another; its area is how much it counts. */
function drawRead(pen, [x, y], { seen, weight }, radius, rim) {
  const size = radius * Math.sqrt(Math.max(FAINT, weight));
  pen.beginPath();
  if (seen >= KNOWN) {
    pen.arc(x, y, size, 0, 7);
    pen.fillStyle = TEAL_INK;
    pen.fill();
    pen.strokeStyle = DARK;
    pen.lineWidth = rim;
    pen.stroke();
    return;
  }
  for (const side of [-1, 1]) {
    pen.moveTo(x - size, y - side * size);
    pen.lineTo(x + size, y + side * size);
  }
  for (const [ink, wide] of [
    [DARK, 0.55 * size + 2 * rim],
    [WRONG_INK, 0.5 * size + 0.5 * rim],
  ]) {
    pen.strokeStyle = ink;
    pen.lineWidth = wide;
    pen.stroke();
  }
}

/** Thin lines between pairs of points, pale with a dark rim; many are drawn fainter. */
function drawLeaders(pen, pairs, unit, many = 25) {
  pen.globalAlpha = Math.min(1, Math.sqrt(many / pairs.length));
  pen.lineCap = "round";
  pen.beginPath();
  for (const [from, to] of pairs) {
    pen.moveTo(...from);
    pen.lineTo(...to);
  }
  for (const [ink, wide] of [
    ["rgba(10, 12, 20, 0.5)", 2.2],
    [PALE, 0.9],
  ]) {
    pen.strokeStyle = ink;
    pen.lineWidth = wide * unit;
    pen.stroke();
  }
  pen.globalAlpha = 1;
}

/** The asked pixel: a yellow ring with a dark rim. */
function drawAskedRing(pen, [x, y], radius, unit) {
  for (const [ink, wide] of [
    [DARK, 4],
    [YELLOW, 2],
  ]) {
    pen.strokeStyle = ink;
    pen.lineWidth = wide * unit;
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.stroke();
  }
}

/** Small squares where an unmoved window would read. */
function drawStarts(pen, pairs, reach, unit) {
  pen.fillStyle = PALE;
  pen.strokeStyle = DARK;
  pen.lineWidth = 0.8 * unit;
  for (const [[x, y]] of pairs) {
    pen.fillRect(x - reach, y - reach, 2 * reach, 2 * reach);
    pen.strokeRect(x - reach, y - reach, 2 * reach, 2 * reach);
  }
}

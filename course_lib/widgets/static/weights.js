// The weights of a kernel as colours and as texts.

const MINUS = [31, 84, 158];
const PLUS = [150, 79, 10];
const NEUTRAL = [245, 245, 243];

const two = (value) => value.toFixed(2).replace("-", "−");
const signedText = (value) => {
  const text = Math.abs(value).toFixed(3);
  return `${value < 0 ? "−" : "+"}${text}`;
};

/** A weight's colour: blue below 0, brown above, the end of the scale at 1. */
function signedColour(value) {
  const share = Math.min(1, Math.abs(value));
  const end = value < 0 ? MINUS : PLUS;
  return [...NEUTRAL.map((c, k) => c + share * (end[k] - c)), 255];
}

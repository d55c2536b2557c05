// A strip of photos to choose from, the reader's own among them, and its way to Python;
// and the small controls of a card with tools.

const PART = 2 ** 21; // bytes of an upload in one message
const spoken = (label) => label.replaceAll("_", " ");

/** The photos to choose from, and the reader's own. */
class PhotoStrip {
  constructor({ onPick, onFile }) {
    this.urls = [];
    this.onPick = onPick;
    this.grid = element("div", { class: "iw-photos" });
    this.file = element("input", {
      type: "file",
      accept: "image/*",
      class: "iw-hidden",
      tabindex: "-1",
      "aria-hidden": "true",
      "data-testid": "upload",
      onchange: () => {
        if (this.file.files.length) onFile(this.file.files[0]);
        this.file.value = "";
      },
    });
    const open = () => this.file.click();
    this.own = element(
      "button",
      { type: "button", class: "iw-own", "data-testid": "own-photo", onclick: open },
      element("span", { "aria-hidden": "true" }, "+"),
      "Your photo",
    );
    this.row = element("div", { class: "iw-strip" }, this.grid, this.own, this.file);
  }

  list(labels, thumbnails) {
    this.stop();
    const options = labels.map((label, i) => {
      const blob = new Blob([bytesOf(thumbnails[i])], { type: "image/jpeg" });
      this.urls.push(URL.createObjectURL(blob));
      const alt = spoken(label);
      const image = element("img", { src: this.urls.at(-1), alt, title: alt });
      return { value: label, label: image, testid: `photo-${i}` };
    });
    const { row, show } = choice("photo", options, this.onPick);
    this.grid.replaceChildren(row);
    this.show = show;
  }

  stop() {
    this.urls.splice(0).forEach((url) => URL.revokeObjectURL(url));
  }
}

/** Sends a file to Python in parts, each after the one before was answered. */
class Upload {
  constructor(model, asker, say) {
    Object.assign(this, { model, asker, say });
  }

  async start(file) {
    const limit = this.model.get("upload_limit");
    if (file.size > limit) {
      const [given, most] = [file.size / 1e6, limit / 1e6];
      const text = `${file.name} has ${given.toFixed(1)} MB, more than ${most} MB.`;
      this.say(text, "bad");
      return;
    }
    this.file = { name: file.name, data: await file.arrayBuffer(), sent: 0 };
    this.say(`Reading ${file.name} …`, "wait");
    this.send();
  }

  /** After an answer: send the next part, or false when all have arrived. */
  next() {
    if (this.file.sent >= this.file.data.byteLength) return false;
    this.send();
    return true;
  }

  send() {
    this.asker.ask("upload", () => {
      const { name, data, sent } = this.file;
      const part = new Uint8Array(data.slice(sent, sent + PART));
      this.file.sent += PART;
      const last = this.file.sent >= data.byteLength;
      return { name, first: sent === 0, last, binary: { part } };
    });
  }
}

const button = (label, testid, onclick) =>
  element(
    "button",
    { type: "button", class: "iw-btn", "data-testid": testid, onclick },
    label,
  );

function slider(label, { min, max, step = 1 }, testid, onValue) {
  const attributes = {
    type: "range",
    class: "iw-range",
    "aria-label": label,
    min,
    max,
    step,
  };
  const input = element("input", { ...attributes, "data-testid": testid });
  input.addEventListener("input", () => onValue(Number(input.value)));
  return input;
}

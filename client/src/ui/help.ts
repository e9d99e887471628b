/** The keys, and what a newcomer should know first. */

import { h } from "./dom";

export const KEYS: [string, string][] = [
  ["Space", "play or pause; held, drag to move the picture"],
  ["← →", "one frame back, on (with Shift: ten)"],
  ["Home End", "first, last frame"],
  ["I O", "begin, end playing here"],
  ["B E S", "brush, eraser, clone"],
  ["G V H", "fill; place words and pictures; move the picture"],
  ["Alt-arrows", "move what is placed by a pixel (with Shift: ten)"],
  ["[ ]", "smaller, larger brush"],
  ["Alt-click", "pick a colour; with clone, set where to copy from"],
  ["1 2 3", "edited, source, wipe"],
  ["4 5 6", "matte, uv map, light of the chosen layer"],
  ["T", "frame, texture, both side by side"],
  ["Tab", "to the next control"],
  ["Ctrl-Z, Ctrl-Shift-Z", "undo, redo"],
  ["F", "fit the picture"],
  ["Escape", "give a stroke up"],
  ["?", "this list"],
];

export function openHelp(): void {
  openKeys(KEYS, "What you paint is kept as you paint it; there is nothing to save.");
}

/** A list of keys, and a word on how work is kept. */
export function openKeys(listed: [string, string][], word: string): void {
  const dialog = h(
    "dialog",
    { "aria-label": "Keys" },
    h("h2", {}, "Keys"),
    h("table", {}, ...listed.map(([keys, what]) => h("tr", {}, h("td", {}, h("kbd", {}, keys)), h("td", {}, what)))),
    h("p", { class: "quiet" }, word),
    h("form", { method: "dialog" }, h("button", { type: "submit" }, "Close")),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** The keys of the page for footage. */

import { openKeys } from "../ui/help";

const KEYS: [string, string][] = [
  ["B P D", "box, points, brush"],
  ["Alt, right button", "with points and brush: beside the object"],
  ["X", "points and brush take away, or add again"],
  ["[ ]", "smaller, larger brush"],
  ["N", "a new object"],
  ["A", "the object is not in this frame"],
  ["Delete", "forget what was said in this frame"],
  ["M", "masks shown or hidden"],
  ["Space", "play or pause"],
  ["← →", "one frame back, on (with Shift: ten)"],
  ["Home End", "first, last frame"],
  ["I O", "begin, end playing here"],
  ["H F", "move the picture, fit it"],
  ["Ctrl-Z, Ctrl-Shift-Z", "undo, redo"],
];

export function openFootageHelp(): void {
  openKeys(KEYS, "What you say of the objects is kept at once, and they are followed again from there.");
}

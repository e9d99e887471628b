/** The keys for footage. */

import type { FootageApp } from "./app";

/** Do what a key stands for. */
export function keyOf(app: FootageApp, event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  if (target.matches("input[type=text], select, dialog *")) return;
  const isCommand = event.ctrlKey || event.metaKey;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const act = isCommand ? commands(app, event)[key] : plain(app, event)[key];
  if (!act || (key === " " && target.matches("button, input"))) return;
  event.preventDefault();
  act();
}

function commands(app: FootageApp, { shiftKey }: KeyboardEvent): Record<string, () => void> {
  const redo = () => void app.request({ type: "redo" });
  return { z: shiftKey ? redo : () => void app.request({ type: "undo" }), y: redo };
}

function plain(app: FootageApp, { shiftKey, repeat }: KeyboardEvent): Record<string, () => void> {
  const { timeline, player, pointer } = app;
  return {
    b: () => app.setTool("box"),
    p: () => app.setTool("point"),
    d: () => app.setTool("brush"),
    h: () => app.setTool("hand"),
    x: () => app.takeAway(),
    m: () => app.showMasks(),
    n: () => app.choose(""),
    a: () => app.chosen && app.give({ absent: true }),
    Delete: () => app.forget(),
    "[": () => app.setRadius(1 / 1.2),
    "]": () => app.setRadius(1.2),
    f: () => {
      app.stage.view.fit();
      app.stage.draw();
    },
    i: () => timeline.setIn(),
    o: () => timeline.setOut(),
    ArrowLeft: () => timeline.step(shiftKey ? -10 : -1),
    ArrowRight: () => timeline.step(shiftKey ? 10 : 1),
    Home: () => player.seek(player.range[0]),
    End: () => player.seek(player.range[1]),
    Escape: () => pointer.giveUp(),
    "?": () => document.querySelector<HTMLButtonElement>('.top button[title="Keys (?)"]')?.click(),
    " ": () => {
      if (!repeat) pointer.holdSpace();
    },
  };
}

/** The panel for footage: the objects from front to back, what can be said of the chosen one, and learning. */

import { button, h } from "../ui/dom";
import type { FootageApp } from "./app";
import type { Following, Learning, ObjectState } from "./protocol";
import { tintOf } from "./stage";

const STAGES: Record<string, string> = {
  follow: "following the objects to the end",
  start: "starting",
  read: "reading the footage",
  flow: "finding how everything moves",
  masks: "reading the masks",
  motion: "fitting each layer's motion",
  train: "learning the layers",
  bake: "making the layers' images",
  store: "storing the project",
};
const DOES: Record<Following["stage"], string> = {
  reading: "Reading the footage",
  ready: "",
  motion: "Finding what moves; masks come after it",
  finding: "Looking for objects",
  following: "Following",
  followed: "Followed through all frames",
  failed: "",
};

export class FootagePanel {
  readonly element = h("aside", { class: "panel", "aria-label": "Objects and learning" });
  private readonly list = h("div", { role: "list", "aria-label": "Objects" });
  private readonly adding = h("div", { class: "row wrap" });
  private readonly said = h("div", { class: "row wrap" });
  private readonly status = h("div", { class: "following", role: "status" });
  private readonly find: HTMLButtonElement;
  private readonly quality = h("select", { id: "quality" },
    h("option", { value: "draft" }, "Draft: minutes"),
    h("option", { value: "standard" }, "Standard"),
    h("option", { value: "fine" }, "Fine: long"));
  private readonly begin: HTMLButtonElement;
  private readonly resume: HTMLButtonElement;
  private readonly stop: HTMLButtonElement;
  private readonly progress = h("div", { class: "learning", role: "status" });
  private readonly note = h("p", { class: "quiet" });
  private readonly looks = h("div", { class: "looks" });
  private readonly advice = h("p", { class: "quiet" });
  private looksShown = -1;
  private listed = "";

  constructor(private readonly app: FootageApp) {
    this.find = button("Find objects", "Look for what moves by itself", () => void app.request({ type: "find" }));
    this.begin = button("Learn the layers", "Learn the layers of these objects", () => this.learn(false));
    this.begin.classList.add("deed");
    this.resume = button("Go on", "Go on learning from where it stopped", () => this.learn(true));
    this.stop = button("Stop", "Stop learning; what was learned is kept", () => void app.request({ type: "stop" }));
    this.adding.append(button("New object", "Select another object (N)", () => app.choose("")), this.find);
    this.element.append(
      h("h2", {}, "Objects, front to back"),
      this.list,
      this.adding,
      this.said,
      this.status,
      h("h2", {}, "Layers"),
      this.advice,
      h("div", { class: "row" }, h("label", { for: "quality" }, "Quality"), this.quality),
      h("div", { class: "row" }, this.begin, this.resume, this.stop),
      this.progress,
      this.looks,
      this.note,
    );
  }

  private learn(resume: boolean): void {
    void this.app.request({ type: "learn", quality: this.quality.value as "draft" | "standard" | "fine", resume });
  }

  show(): void {
    const { objects, chosen, isLearning } = this.app;
    const wanted = JSON.stringify([objects.map(({ name, hints }) => [name, hints.length]), chosen, isLearning]);
    if (wanted !== this.listed) {
      this.listed = wanted;
      this.list.replaceChildren(...objects.map((object, index) => this.row(object, index)));
      if (!objects.length) this.list.append(h("p", { class: "quiet", role: "listitem" }, "None yet: draw a box around one."));
    }
    this.adding.hidden = this.said.hidden = this.status.hidden = isLearning;
    const hints = objects.find(({ name }) => name === chosen)?.hints.filter(({ frame }) => frame === this.app.frame) ?? [];
    this.said.replaceChildren(
      ...(chosen
        ? [
            button("Not in this frame", `${chosen} is not to be seen in this frame (A)`, () => this.app.give({ absent: true }), {
              disabled: isLearning || hints.some(({ absent }) => absent),
            }),
            button("Forget here", `Take back what was said of ${chosen} in this frame (Delete)`, () => this.app.forget(), {
              disabled: isLearning || !hints.length,
            }),
          ]
        : []),
    );
    this.showFollowing(this.app.following);
    this.showLearning(this.app.learning);
  }

  private row({ name, hints }: ObjectState, index: number): HTMLElement {
    const { app } = this;
    const { colour } = tintOf(name, index);
    const sign = h("span", { class: "sign", "aria-hidden": "true" });
    sign.style.background = `rgb(${colour.join()})`;
    const frames = new Set(hints.map(({ frame }) => frame)).size;
    const entry = h("input", { type: "text", value: name, "aria-label": `Name of ${name}`, disabled: app.isLearning, class: "grow" });
    entry.addEventListener("change", () => {
      const wanted = entry.value.trim();
      if (wanted !== name) void app.rename(name, wanted).then((isDone) => isDone || (entry.value = name));
    });
    entry.addEventListener("focus", () => app.choose(name));
    const row = h("div", { class: `row layer${name === app.chosen ? " chosen" : ""}`, role: "listitem", "aria-current": name === app.chosen },
      sign, entry, h("span", { class: "quiet" }, `${frames} frame${frames === 1 ? "" : "s"}`),
      button("↑", `${name}: nearer to the front`, () => void app.request({ type: "reorder", object: name, index: index - 1 }), { disabled: index === 0 || app.isLearning }),
      button("✕", `Remove ${name}`, () => void app.request({ type: "remove", object: name }), { disabled: app.isLearning }));
    row.addEventListener("pointerdown", (event) => event.target === row && app.choose(name));
    return row;
  }

  private showFollowing(following: Following): void {
    const words = following.message || DOES[following.stage];
    const share = following.stage === "reading" || following.stage === "following" ? following.done : undefined;
    const isBusy = ["reading", "motion", "finding", "following"].includes(following.stage);
    this.find.disabled = this.app.isLearning || following.stage === "finding" || following.stage === "reading";
    this.status.replaceChildren(
      ...(words ? [h("span", { class: following.stage === "failed" ? "warn" : "quiet" }, words)] : []),
      ...(isBusy ? [h("progress", share === undefined ? { "aria-label": words } : { max: 1, value: share, "aria-label": words })] : []),
    );
  }

  private showLearning(learning: Learning): void {
    const { isLearning, objects } = this.app;
    this.advice.hidden = isLearning || learning.state === "failed";
    this.advice.textContent = objects.length
      ? "When the masks fit in all frames, learn. Afterwards the editor opens here."
      : "Without objects, what moves is found by itself.";
    this.begin.hidden = isLearning;
    this.quality.disabled = isLearning;
    this.resume.hidden = isLearning || !learning.can_resume;
    this.stop.hidden = !isLearning;
    this.stop.disabled = learning.state === "stopping";
    this.note.textContent = isLearning ? (learning.message ?? "") : "";
    this.progress.replaceChildren(...this.progressOf(learning));
    if (learning.looks !== this.looksShown) {
      this.looksShown = learning.looks ?? 0;
      this.looks.replaceChildren(...(learning.layers ?? []).flatMap((name, layer) => [
        h("h3", {}, name),
        h("div", { class: "row" }, ...(["texture", "matte"] as const).map((kind) =>
          h("img", { alt: `The ${kind} of ${name} as it is learned`, src: `/api/look/${layer}/${kind}?${learning.looks}` }))),
      ]));
    }
  }

  private progressOf({ state, stage, done, seconds_left, psnr_db, message }: Learning): Node[] {
    if (state === "idle") return [];
    if (state === "failed") return [h("p", { class: "warn", role: "alert" }, `It failed: ${message}`)];
    if (state === "stopped") return [h("p", { class: "quiet" }, "Stopped.")];
    if (state === "ended") return [h("p", {}, "Learned; the editor opens.")];
    const left = seconds_left == null ? "" : ` · ${time(seconds_left)} left in this step`;
    const words = state === "stopping" ? "Stopping; what was learned is put away" : (STAGES[stage ?? ""] ?? stage ?? "");
    return [
      h("div", {}, words + left),
      h("progress", { max: 1, value: done ?? 0, "aria-label": words }),
      ...(psnr_db == null ? [] : [h("div", { class: "quiet" }, "The layers explain the film at "), h("strong", { class: "psnr" }, `${psnr_db.toFixed(1)} dB`)]),
    ];
  }
}

export function time(seconds: number): string {
  const whole = Math.ceil(seconds);
  return whole < 90 ? `${whole} s` : `${Math.ceil(whole / 60)} min`;
}

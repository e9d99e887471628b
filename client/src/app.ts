/** Puts the page together: stage, tools, panel, timeline, keys. */

import { Frames } from "./frames";
import { Compositor } from "./gl/compositor";
import { openContext } from "./gl/context";
import { unpack, type ArrayEntry } from "./packet";
import { Player } from "./player";
import { Session, type Facts } from "./session";
import { Stage, type Panes, type Show } from "./stage";
import { Pointer } from "./pointer";
import type { BrushSettings } from "./tools/paint";
import { button, h } from "./ui/dom";
import { openHelp } from "./ui/help";
import { Jobs } from "./ui/jobs";
import { askWords, chooseFile, placeFile, replaceTexture, type Aim } from "./ui/add";
import { AdjustPanel } from "./ui/adjust";
import { Panel } from "./ui/panel";
import { ShotPanel } from "./ui/shot";
import { Timeline } from "./ui/timeline";

const BUDGET_BYTES = 768 * 2 ** 20;
/** A frame that is looked at for so long is fetched again, without loss. */
const REST_MILLISECONDS = 120;
const SHOWS: [Show, string, string][] = [
  ["edited", "Edited", "The edited film (1)"],
  ["source", "Source", "The source (2)"],
  ["wipe", "Wipe", "Both, with a wipe between them (3)"],
  ["matte", "Matte", "The layer's matte (4)"],
  ["uv", "Map", "A checkerboard that the layer's map carries (5)"],
  ["light", "Light", "The layer's light (6)"],
];
const PANES: [Panes, string, string][] = [
  ["frame", "Frame", "The frame alone (T)"],
  ["texture", "Texture", "The layer's texture alone (T)"],
  ["both", "Both", "Frame and texture side by side (T)"],
];

export class App {
  readonly session: Session;
  readonly player: Player;
  readonly stage: Stage;
  readonly frames: Frames;
  readonly panel: Panel;
  readonly pointer: Pointer;
  readonly settings: BrushSettings = {
    radius: 14,
    hardness: 0.7,
    opacity: 1,
    colour: [1, 0.83, 0],
    smoothing: 0.35,
    pressureSize: true,
  };
  private readonly jobs: Jobs;
  private readonly timeline: Timeline;
  private readonly adjusting: AdjustPanel;
  private readonly shot: ShotPanel;
  private resting = 0;
  private readonly top = h("header", { class: "top" });
  private readonly badge = h("div", { class: "badge", role: "status", hidden: true });
  private readonly offline = h("span", { class: "offline", role: "alert", hidden: true }, "The program does not answer; trying again…");
  private readonly undoing = button("↶ Undo", "Undo (Ctrl-Z)", () => this.undo());
  private readonly redoing = button("↷ Redo", "Redo (Ctrl-Shift-Z)", () => this.redo());

  constructor(root: HTMLElement, facts: Facts) {
    const canvas = h("canvas", { id: "picture", "aria-label": "The film" });
    const overlay = h("canvas", { class: "over", "aria-hidden": "true" });
    const area = h("main", { class: "stage", tabIndex: 0, "aria-label": "Stage" }, canvas, overlay, this.badge);
    const gl = openContext(canvas);
    const size: [number, number] = [facts.width, facts.height];
    const compositor = new Compositor(gl, facts.layers, size);
    this.session = new Session(gl, facts, compositor);
    this.player = new Player(facts.seconds, facts.fps);
    const worker = new Worker(new URL("./decode.worker.ts", import.meta.url), { type: "module" });
    this.frames = new Frames(worker, facts.frames, BUDGET_BYTES);
    this.timeline = new Timeline(facts, this.player);
    this.stage = new Stage(canvas, overlay, gl, this.session, compositor, this.frames, this.player);
    this.pointer = new Pointer(area, this);
    this.panel = new Panel(this.session, this.settings, this.pointer.panelActions());
    this.jobs = new Jobs(this.session);
    this.panel.adding.append(...this.adders());
    const { chosenEdit, chooseEdit } = this.pointer.panelActions();
    this.adjusting = new AdjustPanel(this.session, () => facts.layers[this.stage.layer].name, chosenEdit, chooseEdit);
    this.shot = new ShotPanel(this.session, () => this.stage.layer, () => facts.first_frame + this.player.frame);
    this.panel.parts.append(this.adjusting.element, this.shot.element);
    this.panel.element.append(this.jobs.element);
    this.acceptFiles(area);
    root.replaceChildren(this.header(facts), this.tools(), area, this.panel.element, this.timeline.element);
    this.listen();
    void this.load(facts, compositor);
  }

  setShow(show: Show): void {
    this.stage.show = show;
    this.refresh();
  }

  setPanes(panes: Panes): void {
    this.stage.panes = panes;
    this.stage.lay();
    this.refresh();
  }

  /** Show again whatever depends on settings. */
  refresh(): void {
    for (const button of this.top.querySelectorAll<HTMLButtonElement>("[data-show]")) {
      button.setAttribute("aria-pressed", String(button.dataset.show === this.stage.show));
    }
    for (const button of this.top.querySelectorAll<HTMLButtonElement>("[data-panes]")) {
      button.setAttribute("aria-pressed", String(button.dataset.panes === this.stage.panes));
    }
    this.pointer.showTool();
    this.undoing.disabled = !this.session.state?.can_undo;
    this.redoing.disabled = !this.session.state?.can_redo;
    const reason = this.session.state?.server_draws ?? "";
    this.badge.hidden = !reason;
    this.badge.textContent = `Drawn by the server: ${reason}.`;
    this.panel.show();
    this.adjusting.show();
    this.shot.show();
    this.stage.draw();
  }

  problem(message: string): void {
    document.querySelector(".problem")?.remove();
    const note = h("div", { class: "problem", role: "alert" }, h("span", {}, message));
    note.append(button("OK", "Close this message", () => note.remove()));
    document.body.append(note);
  }

  undo(): void {
    void this.session.request({ type: "undo" });
  }

  redo(): void {
    void this.session.request({ type: "redo" });
  }

  private header(facts: Facts): HTMLElement {
    this.top.append(
      h("h1", { title: facts.name }, facts.name),
      h("div", { class: "group", role: "group", "aria-label": "What is shown" }, ...SHOWS.map(([show, sign, label]) =>
        button(sign, label, () => this.setShow(show), { "data-show": show }))),
      h("div", { class: "group", role: "group", "aria-label": "Panes" }, ...PANES.map(([panes, sign, label]) =>
        button(sign, label, () => this.setPanes(panes), { "data-panes": panes }))),
      h("span", { class: "gap" }),
      this.offline,
      this.undoing,
      this.redoing,
      button("Export…", "Export the film or its layers", () => this.jobs.ask()),
      button("?", "Keys (?)", openHelp),
    );
    return this.top;
  }

  private tools(): HTMLElement {
    return h("nav", { class: "tools", "aria-label": "Tools" }, ...this.pointer.buttons());
  }

  /** Where something new is to lie: in the middle of the frame, on the chosen layer. */
  private aim(at?: [number, number]): Aim {
    const { facts } = this.session;
    return {
      layer: facts.layers[this.stage.layer].name,
      frame: facts.first_frame + this.player.frame,
      at: at ?? [Math.round(facts.width / 2), Math.round(facts.height / 2)],
    };
  }

  private adders(): HTMLButtonElement[] {
    const choose = (id: string | null) => id && this.pointer.chooseEdit(id);
    return [
      button("Words…", "Words on the chosen layer", () => void askWords(this.session, this.aim()).then(choose)),
      button("Picture…", "A picture or video on the chosen layer", async () => {
        const file = await chooseFile("image/*,video/*");
        if (file) choose(await placeFile(this.session, file, this.aim()));
      }),
      button("Texture…", "An edited copy of the chosen layer's texture", async () => {
        const file = await chooseFile("image/*,.psd,.ora,.exr");
        if (file) await replaceTexture(this.session, file, this.aim().layer);
      }),
    ];
  }

  /** Pictures and videos may be dropped on the frame, or pasted. */
  private acceptFiles(area: HTMLElement): void {
    area.addEventListener("dragover", (event) => event.preventDefault());
    area.addEventListener("drop", (event) => {
      event.preventDefault();
      const { left, top } = area.getBoundingClientRect();
      const at = this.stage.frameView.toPicture([(event.clientX - left) * devicePixelRatio, (event.clientY - top) * devicePixelRatio]);
      const [file] = event.dataTransfer?.files ?? [];
      if (file) void this.takeFile(file, at);
    });
    window.addEventListener("paste", (event) => {
      const [file] = event.clipboardData?.files ?? [];
      if (file) void this.takeFile(file);
    });
  }

  private async takeFile(file: File, at?: [number, number]): Promise<void> {
    const id = await placeFile(this.session, file, this.aim(at));
    if (id) this.pointer.chooseEdit(id);
  }

  private listen(): void {
    this.session.onChange = () => this.refresh();
    this.session.onProblem = (message) => this.problem(message);
    this.session.connection.onLink = (isUp) => (this.offline.hidden = isUp);
    this.player.onFrame = (frame) => void this.showFrame(frame);
    this.frames.onExact = (frame) => frame === this.player.frame && this.stage.draw();
    const loop = () => {
      this.player.tick();
      requestAnimationFrame(loop);
    };
    requestAnimationFrame(loop);
    window.addEventListener("keydown", (event) => this.key(event));
  }

  private async load(facts: Facts, compositor: Compositor): Promise<void> {
    void this.showFrame(0);
    await Promise.all(
      facts.layers.map(async (_, layer) => {
        const answer = await fetch(`/api/texture/${layer}`);
        const { head, array } = unpack<{ texture: ArrayEntry }>(await answer.arrayBuffer());
        compositor.setTexels(layer, array(head.texture) as Uint16Array);
        this.stage.draw();
      }),
    );
    document.body.dataset.ready = "true";
    if (facts.recovered) this.problem("The program was ended while it kept a change; all changes before it are here.");
  }

  private async showFrame(frame: number): Promise<void> {
    this.timeline.show();
    this.frames.moveTo(frame);
    const [found] = await Promise.all([this.frames.get(frame), this.session.showFrame(frame)]);
    if (!found) this.problem(this.frames.problem);
    if (frame !== this.player.frame) return;
    this.pointer.showPlace();
    this.stage.draw();
    clearTimeout(this.resting);
    this.resting = window.setTimeout(() => !this.player.isPlaying && this.frames.makeExact(frame), REST_MILLISECONDS);
  }

  private key(event: KeyboardEvent): void {
    const target = event.target as HTMLElement;
    if (target.matches("input[type='text'], input[type='number'], textarea, select") || document.querySelector("dialog[open]")) return;
    if (event.ctrlKey || event.metaKey) {
      if (event.key.toLowerCase() === "z") {
        event.preventDefault();
        if (event.shiftKey) this.redo();
        else this.undo();
      }
      return;
    }
    // What a control does with a key comes first, where the keyboard has led to it.
    const isMoved = event.key.startsWith("Arrow") || ["Home", "End", "PageUp", "PageDown"].includes(event.key);
    if (isMoved && target.matches("input[type='range']")) return;
    if (event.key === " " && target.matches("button:focus-visible, input, summary")) return;
    const action = this.actions()[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (event.altKey && event.key.startsWith("Arrow")) {
      event.preventDefault();
      this.pointer.nudge(event.key, event.shiftKey ? 10 : 1);
      return;
    }
    if (!action) return;
    event.preventDefault();
    action(event);
  }

  private actions(): Record<string, (event: KeyboardEvent) => void> {
    const step = (event: KeyboardEvent) => (event.shiftKey ? 10 : 1);
    const panes = PANES.map(([name]) => name);
    return {
      " ": (event) => !event.repeat && this.pointer.space(true),
      ArrowLeft: (event) => this.timeline.step(-step(event)),
      ArrowRight: (event) => this.timeline.step(step(event)),
      Home: () => this.player.seek(this.player.range[0]),
      End: () => this.player.seek(this.player.range[1]),
      i: () => this.timeline.setIn(),
      o: () => this.timeline.setOut(),
      "[": () => this.pointer.resize(1 / 1.2),
      "]": () => this.pointer.resize(1.2),
      f: () => {
        this.stage.frameView.fit();
        this.stage.canvasView.fit();
        this.stage.draw();
      },
      t: () => this.setPanes(panes[(panes.indexOf(this.stage.panes) + 1) % panes.length]),
      "?": () => openHelp(),
      ...Object.fromEntries(SHOWS.map(([show], number) => [String(number + 1), () => this.setShow(show)])),
      ...this.pointer.keys(),
    };
  }

  togglePlaying(): void {
    this.timeline.toggle();
  }
}

/** Footage without a project: objects are selected and followed, the layers learned; then the editor opens. */

import { Link, type Told } from "../link";
import { Player } from "../player";
import { button, h, slider } from "../ui/dom";
import { icon } from "../ui/icons";
import { Timeline, type FilmFacts } from "../ui/timeline";
import { openFootageHelp } from "./help";
import { Marks } from "./marks";
import { FootagePanel } from "./panel";
import { Pictures } from "./pictures";
import { FootagePointer, type Tool } from "./pointer";
import type { Answer, Following, Learning, Objects, PageHint, Request } from "./protocol";
import { FootageStage } from "./stage";
import { keyOf } from "./keys";

export interface FootageFacts extends FilmFacts {
  footage: true;
  name: string;
  project: string;
}

type Unsent = Request extends infer One ? (One extends { operation: string } ? Omit<One, "operation"> : never) : never;

class FootageLink extends Link<Request, Answer> {
  onTold: (told: Told<Answer>) => void = () => {};

  protected hear(told: Told<Answer>): void {
    this.onTold(told);
  }
}

const TOOLS: [Tool, Parameters<typeof icon>[0], string][] = [
  ["box", "box", "Box around an object (B)"],
  ["point", "point", "Points on the object; with Alt or the right button beside it (P)"],
  ["brush", "brush", "Brush over the object; with Alt or the right button beside it (D)"],
  ["hand", "hand", "Move the picture (H, or hold space)"],
];

export class FootageApp {
  readonly link = new FootageLink();
  readonly player: Player;
  readonly stage: FootageStage;
  readonly pointer: FootagePointer;
  readonly timeline: Timeline;
  chosen = "";
  following: Following = { type: "following", stage: "reading", done: 0, revision: 0 };
  learning: Learning = { type: "learning", state: "idle" };
  state: Objects = { type: "objects", revision: 0, objects: [], can_undo: false, can_redo: false };
  private readonly pictures: Pictures;
  private readonly marks: Marks;
  private readonly panel: FootagePanel;
  private readonly buttons = new Map<Tool, HTMLButtonElement>();
  private readonly away = h("input", { type: "checkbox", id: "away" });
  private readonly size = slider("Brush", { value: 14, min: 2, max: 100, step: 1, unit: " px" }, (value) => (this.pointer.radius = value));
  private readonly settings = h("div", {}, h("h2", {}, "Tool"), this.size,
    h("div", { class: "row" }, this.away, h("label", { for: "away" }, "Points and brush take away (X)")));
  private readonly hint = h("div", { class: "hint", role: "note", hidden: true });
  private readonly offline = h("span", { class: "offline", role: "alert", hidden: true }, "The program does not answer; trying again…");
  private readonly undoing = button("↶ Undo", "Undo (Ctrl-Z)", () => void this.request({ type: "undo" }));
  private readonly redoing = button("↷ Redo", "Redo (Ctrl-Shift-Z)", () => void this.request({ type: "redo" }));
  private readonly masking = button("Masks", "Show or hide the masks (M)", () => this.showMasks());

  constructor(root: HTMLElement, readonly facts: FootageFacts) {
    const canvas = h("canvas", { "aria-label": "The footage" });
    const area = h("main", { class: "stage", tabIndex: 0, "aria-label": "Stage" }, canvas, this.hint);
    this.player = new Player(facts.seconds, facts.fps);
    this.pictures = new Pictures(facts.frames);
    this.stage = new FootageStage(canvas, this.pictures, this.player, [facts.width, facts.height], facts.first_frame);
    this.pointer = new FootagePointer(area, this.stage, (hint) => this.give(hint), () => this.player.pause());
    this.timeline = new Timeline(facts, this.player);
    this.marks = new Marks(this.pictures, facts.frames, facts.first_frame);
    this.timeline.element.append(this.marks.element);
    this.panel = new FootagePanel(this);
    this.away.addEventListener("change", () => (this.pointer.takesAway = this.away.checked));
    this.panel.element.prepend(this.settings);
    root.replaceChildren(this.header(), this.tools(), area, this.panel.element, this.timeline.element);
    this.listen();
    this.refresh();
    document.body.dataset.ready = "true";
  }

  get objects() {
    return this.state.objects;
  }

  /** The source's number of the frame that is shown. */
  get frame(): number {
    return this.facts.first_frame + this.player.frame;
  }

  get isLearning(): boolean {
    return ["waiting", "running", "stopping", "ended"].includes(this.learning.state);
  }

  async request(request: Unsent): Promise<boolean> {
    try {
      await this.link.send(request as Parameters<FootageLink["send"]>[0]);
      return true;
    } catch (error) {
      this.problem(error instanceof Error ? error.message : String(error));
      return false;
    }
  }

  /** Say something of the chosen object, or of a new one, in the frame that is shown. */
  give(hint: Omit<PageHint, "frame">): void {
    if (this.isLearning) {
      this.problem("Stop learning to change the objects.");
      return;
    }
    const object = this.chosen || this.freeName();
    if (!this.chosen && hint.exclude) {
      this.problem("Say first where the object is: a box around it, or a point on it.");
      return;
    }
    void this.request({ type: "hint", object, hint: { ...hint, frame: this.frame } }).then((isKept) => isKept && this.choose(object));
  }

  forget(): void {
    if (this.chosen) void this.request({ type: "forget", object: this.chosen, frame: this.frame });
  }

  async rename(object: string, name: string): Promise<boolean> {
    const isDone = await this.request({ type: "rename", object, name });
    if (isDone) this.choose(name);
    return isDone;
  }

  /** An object that is spoken of from now on; a new one without a name. */
  choose(name: string): void {
    this.chosen = name;
    this.refresh();
  }

  setTool(tool: Tool): void {
    this.pointer.tool = tool;
    this.refresh();
  }

  takeAway(): void {
    this.away.checked = this.pointer.takesAway = !this.pointer.takesAway;
  }

  showMasks(): void {
    this.stage.showsMasks = !this.stage.showsMasks;
    this.refresh();
  }

  setRadius(factor: number): void {
    this.pointer.radius = Math.min(Math.max(Math.round(this.pointer.radius * factor), 2), 100);
    this.size.set(this.pointer.radius);
  }

  problem(message: string): void {
    document.querySelector(".problem")?.remove();
    const note = h("div", { class: "problem", role: "alert" }, h("span", {}, message));
    note.append(button("OK", "Close this message", () => note.remove()));
    document.body.append(note);
  }

  refresh(): void {
    if (this.chosen && !this.objects.some(({ name }) => name === this.chosen)) this.chosen = "";
    this.buttons.forEach((each, tool) => each.setAttribute("aria-pressed", String(tool === this.pointer.tool)));
    this.masking.setAttribute("aria-pressed", String(this.stage.showsMasks));
    this.undoing.disabled = !this.state.can_undo || this.isLearning;
    this.redoing.disabled = !this.state.can_redo || this.isLearning;
    this.settings.hidden = this.isLearning;
    this.hint.hidden = this.objects.length > 0 || this.isLearning;
    this.hint.textContent = "Draw a box around each thing that is to be a layer of its own. It is followed through all frames; correct it in any of them.";
    this.stage.objects = this.objects;
    this.stage.chosen = this.chosen;
    this.panel.show();
    this.marks.show(this.objects, this.state.revision);
    this.pointer.show();
    this.stage.draw();
  }

  private freeName(): string {
    let number = 1;
    while (this.objects.some(({ name }) => name === `object${number}`)) number++;
    return `object${number}`;
  }

  private header(): HTMLElement {
    return h("header", { class: "top" },
      h("h1", { title: this.facts.name }, this.facts.name),
      h("span", { class: "quiet" }, `no project yet; it will be ${this.facts.project}`),
      h("span", { class: "gap" }),
      this.offline, this.masking, this.undoing, this.redoing,
      button("?", "Keys (?)", openFootageHelp));
  }

  private tools(): HTMLElement {
    for (const [tool, sign, label] of TOOLS) this.buttons.set(tool, button(icon(sign), label, () => this.setTool(tool)));
    return h("nav", { class: "tools", "aria-label": "Tools" }, ...this.buttons.values());
  }

  private listen(): void {
    this.link.onTold = (told) => this.take(told);
    this.link.onLink = (isUp) => (this.offline.hidden = isUp);
    this.link.connect();
    this.pictures.onCome = () => this.stage.draw();
    this.player.onFrame = () => {
      this.timeline.show();
      this.refresh();
    };
    document.addEventListener("keydown", (event) => keyOf(this, event));
    document.addEventListener("keyup", (event) => {
      if (event.key === " " && this.pointer.releaseSpace()) this.timeline.toggle();
    });
    const tick = () => {
      if (this.player.isPlaying) this.player.tick();
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  private take(told: Told<Answer>): void {
    if (told.type === "opened") {
      location.reload();
      return;
    }
    if (told.type === "masks") this.pictures.take(told.masks);
    else if (told.type === "following") this.following = told;
    else if (told.type === "learning") this.learning = told;
    else {
      this.state = told;
      this.pictures.keepOnly(told.objects.map(({ name }) => name));
    }
    this.refresh();
  }
}

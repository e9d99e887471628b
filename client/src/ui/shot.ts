/** The panel's part on what is behind the layers, the camera and time: each control is an edit of its own. */

import type { PlacedEdit } from "../protocol";
import type { Session } from "../session";
import { add, setBackground, chooseFile, upload } from "./add";
import { button, h } from "./dom";

type Edit = PlacedEdit["edit"];
type Kind = Edit["kind"];

export class ShotPanel {
  readonly element = h("details", { class: "shot" }, h("summary", {}, "Background, camera, time"));
  private readonly colour = h("input", { type: "color", class: "swatch", value: "#20c040", "aria-label": "Colour of the background" });
  private readonly speed = h("input", { type: "number", id: "shot-speed", min: 0.05, max: 20, step: 0.05, value: 1 });
  private readonly steadied = h("select", { id: "shot-steady" });
  private readonly strength = h("input", { type: "range", min: 0, max: 1, step: 0.05, value: 1, "aria-label": "How strongly it is held" });
  private readonly held = h("input", { type: "checkbox", id: "shot-held" });
  private readonly crop = h("input", { type: "checkbox", id: "shot-crop" });
  private readonly shadow = h("input", { type: "checkbox", id: "shot-shadow" });
  private readonly time = h("select", { id: "shot-time" }, ...options(["runs", "runs"], ["freeze", "stays as in this frame"], ["reverse", "runs backwards"]));
  private readonly timeLabel = h("label", { for: "shot-time" });
  private readonly shadowRow: HTMLElement;
  private readonly length = h("p", { class: "quiet", role: "status" });

  /** layer: the chosen one, by number. frame: the one that is shown, counted as the source's. */
  constructor(
    private readonly session: Session,
    private readonly layer: () => number,
    private readonly frame: () => number,
  ) {
    const { layers } = session.facts;
    this.steadied.append(...options(["", "nothing"], ...layers.map(({ name }): [string, string] => [name, name])));
    this.shadowRow = row(this.shadow, h("label", { for: "shot-shadow" }, "Take its shadow away"));
    this.element.append(
      row(h("span", { class: "grow" }, "Background"), this.colour, ...this.backgrounds()),
      this.shadowRow,
      row(this.timeLabel, this.time),
      row(h("label", { for: "shot-steady", class: "grow" }, "Hold in the frame"), this.steadied),
      row(h("span", { class: "grow" }, "How strongly"), this.strength),
      row(this.held, h("label", { for: "shot-held" }, "Camera stands as in this frame")),
      row(this.crop, h("label", { for: "shot-crop" }, "Crop to what was seen")),
      row(h("label", { for: "shot-speed", class: "grow" }, "Speed"), this.speed),
      this.length,
    );
    this.listen();
  }

  show(): void {
    const { facts, state } = this.session;
    const layer = facts.layers[this.layer()];
    const steady = this.edit("stabilize");
    this.shadowRow.hidden = layer.kind === "background";
    this.shadow.checked = this.find("unshadow", layer.name) !== undefined;
    this.timeLabel.textContent = `${layer.name} `;
    this.time.setAttribute("aria-label", `How ${layer.name} runs`);
    this.time.value = (["freeze", "reverse"] as const).find((kind) => this.find(kind, layer.name)) ?? "runs";
    this.steadied.value = steady?.kind === "stabilize" ? steady.layer : "";
    this.strength.value = String(steady?.kind === "stabilize" ? (steady.strength ?? 1) : 1);
    this.strength.disabled = !steady;
    const camera = this.edit("camera");
    this.held.checked = camera?.kind === "camera" && camera.lock != null;
    this.crop.checked = this.edit("crop") !== undefined;
    const speed = this.edit("speed");
    if (document.activeElement !== this.speed) this.speed.value = String(speed?.kind === "speed" ? speed.factor : 1);
    const frames = state?.frames ?? facts.frames;
    this.length.textContent = frames === facts.frames ? "" : `The film has ${frames} frames; here they are shown at the source's times.`;
    this.length.hidden = frames === facts.frames;
  }

  private listen(): void {
    const { session } = this;
    this.colour.addEventListener("change", () => void setBackground(session, { colour: this.colour.value }));
    this.speed.addEventListener("change", () => {
      const factor = Math.min(20, Math.max(0.05, Number(this.speed.value) || 1));
      this.set("speed", factor === 1 ? null : { kind: "speed", factor });
    });
    const steady = () => {
      const layer = this.steadied.value;
      this.set("stabilize", layer ? { kind: "stabilize", layer, strength: Number(this.strength.value) } : null);
    };
    this.steadied.addEventListener("change", steady);
    this.strength.addEventListener("change", steady);
    this.held.addEventListener("change", () => this.set("camera", this.held.checked ? { kind: "camera", lock: this.frame() } : null));
    this.crop.addEventListener("change", () => this.set("crop", this.crop.checked ? { kind: "crop" } : null));
    this.shadow.addEventListener("change", () => this.set("unshadow", this.shadow.checked ? { kind: "unshadow", layer: this.name } : null, this.name));
    this.time.addEventListener("change", () => void this.setTime(this.time.value));
  }

  private get name(): string {
    return this.session.facts.layers[this.layer()].name;
  }

  private async setTime(chosen: string): Promise<void> {
    const layer = this.name;
    const frame = this.frame();
    await this.set("freeze", chosen === "freeze" ? { kind: "freeze", layer, frame } : null, layer);
    await this.set("reverse", chosen === "reverse" ? { kind: "reverse", layer } : null, layer);
  }

  private backgrounds(): HTMLButtonElement[] {
    const picture = button("Picture…", "A picture in place of the background", async () => {
      const file = await chooseFile("image/*");
      const name = file && (await upload(this.session, file));
      if (name) await setBackground(this.session, { file: name });
    });
    return [picture, button("Own", "The clip's own background again", () => void this.set("background", null))];
  }

  /** The edit that a control stands for: of its kind, and of a layer where it is one's. */
  private find(kind: Kind, layer?: string): PlacedEdit | undefined {
    return this.session.state?.edits.find(
      ({ edit, enabled }) => enabled && edit.kind === kind && (layer === undefined || ("layer" in edit && edit.layer === layer)),
    );
  }

  private edit(kind: Kind): Edit | undefined {
    return this.find(kind)?.edit;
  }

  private async set(kind: Kind, edit: Edit | null, layer?: string): Promise<void> {
    const old = this.find(kind, layer);
    if (old && edit) await this.session.request({ type: "replace", placed: { ...old, edit } });
    else if (old) await this.session.request({ type: "remove", id: old.id });
    else if (edit) await add(this.session, edit);
    this.show();
  }
}

function row(...children: (Node | string)[]): HTMLElement {
  return h("div", { class: "row" }, ...children);
}

function options(...entries: [string, string][]): HTMLOptionElement[] {
  return entries.map(([value, words]) => h("option", { value }, words));
}

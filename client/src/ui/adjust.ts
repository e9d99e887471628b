/** The panel's part that adjusts the chosen layer: colours and light, live while a slider moves. */

import type { Adjust, PlacedEdit } from "../protocol";
import type { Session } from "../session";
import { Previews } from "../tools/place";
import { add, chooseFile, upload } from "./add";
import { button, h } from "./dom";

type Name = "hue" | "saturation" | "brightness" | "contrast" | "light";

const SLIDERS: [Name, string, number, number, number, number][] = [
  ["hue", "Hue", -180, 180, 1, 0],
  ["saturation", "Saturation", 0, 4, 0.01, 1],
  ["brightness", "Brightness", -1, 1, 0.01, 0],
  ["contrast", "Contrast", 0, 4, 0.01, 1],
  ["light", "Light", 0, 4, 0.01, 1],
];

export class AdjustPanel {
  readonly element = h("section", { "aria-label": "Adjust the chosen layer" });
  private readonly title = h("h2", {}, "Adjust");
  private readonly inputs = new Map<Name, { range: HTMLInputElement; number: HTMLInputElement }>();
  private readonly where = h("p", { class: "quiet" });
  private readonly previews: Previews;
  private adding: Promise<unknown> | null = null;

  /** layer, chosen: of the page: the chosen layer's name, and the chosen edit's. */
  constructor(
    private readonly session: Session,
    private readonly layer: () => string,
    private readonly chosen: () => string | null,
    private readonly choose: (id: string) => void,
  ) {
    this.previews = new Previews(session.connection);
    const reset = button("Reset", "Take the layer's adjustment away", () => void this.reset());
    const painted = button("Painted part", "Adjust what is painted on the layer: the painting becomes the region", () => void this.takePainting());
    const region = button("Region…", "Adjust a part: a picture of the texture's shape that is white, or opaque, there", () => void this.addRegion());
    this.element.append(this.title, ...SLIDERS.map((one) => this.slider(...one)), this.where, h("div", { class: "row wrap" }, painted, region, reset));
  }

  show(): void {
    const edit = this.edit();
    this.title.textContent = `Adjust ${this.layer()}`;
    for (const [name, , , , , neutral] of SLIDERS) {
      const { range, number } = this.inputs.get(name)!;
      const value = String(edit?.[name] ?? neutral);
      if (document.activeElement !== number) number.value = value;
      if (document.activeElement !== range || !this.adding) range.value = value;
      range.disabled = number.disabled = name === "light" && edit?.region != null;
    }
    this.where.textContent = edit?.region ? "In its region alone; light is the whole layer's." : "";
    this.where.hidden = !edit?.region;
  }

  /** The adjustment that is shown: the chosen one, or that of the whole chosen layer. */
  private placed(): PlacedEdit | undefined {
    const edits = this.session.state?.edits.filter(({ edit }) => edit.kind === "adjust" && edit.layer === this.layer()) ?? [];
    return edits.find(({ id }) => id === this.chosen()) ?? edits.find(({ edit }) => edit.kind === "adjust" && !edit.region);
  }

  private edit(): Adjust | undefined {
    return this.placed()?.edit as Adjust | undefined;
  }

  private slider(name: Name, label: string, min: number, max: number, step: number, value: number): HTMLElement {
    const range = h("input", { type: "range", min, max, step, value, "aria-label": label });
    const number = h("input", { type: "number", min, max, step, value, "aria-label": `${label}, as a number` });
    this.inputs.set(name, { range, number });
    range.addEventListener("input", () => {
      number.value = range.value;
      void this.change(name, Number(range.value), false);
    });
    range.addEventListener("change", () => void this.change(name, Number(range.value), true));
    number.addEventListener("change", () => {
      const held = Math.min(max, Math.max(min, Number(number.value) || 0));
      number.value = range.value = String(held);
      void this.change(name, held, true);
    });
    range.addEventListener("dblclick", () => void this.change(name, value, true));
    return h("div", { class: "slider exact" }, h("span", { "aria-hidden": "true" }, label), range, number);
  }

  /** The first move of a slider makes the edit; more of them are shown, and kept when it is let go of. */
  private async change(name: Name, value: number, isDone: boolean): Promise<void> {
    const placed = this.placed();
    if (placed) {
      const changed: PlacedEdit = { ...placed, enabled: true, edit: { ...(placed.edit as Adjust), [name]: value } };
      if (isDone) await this.previews.keep(this.session, changed);
      else this.previews.show(changed);
      return;
    }
    if (this.adding) {
      await this.adding;
      if (isDone && this.placed()) await this.change(name, value, true);
      return;
    }
    this.adding = add(this.session, { kind: "adjust", layer: this.layer(), [name]: value });
    await this.adding;
    this.adding = null;
  }

  private async reset(): Promise<void> {
    const placed = this.placed();
    if (placed) await this.session.request({ type: "remove", id: placed.id });
  }

  private async takePainting(): Promise<void> {
    const id = `region-${Date.now().toString(36)}`;
    if (await this.session.request({ type: "adjust_painted", id, layer: this.layer() })) this.choose(id);
  }

  private async addRegion(): Promise<void> {
    const file = await chooseFile("image/*,.psd,.ora,.exr");
    const name = file && (await upload(this.session, file));
    const id = name && (await add(this.session, { kind: "adjust", layer: this.layer(), saturation: 0, region: name }));
    if (id) this.choose(id);
  }
}

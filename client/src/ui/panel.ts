/** The panel beside the stage: what the tool is set to, the layers, the edits. */

import type { PlacedEdit } from "../protocol";
import type { BrushSettings } from "../tools/paint";
import type { Session } from "../session";
import { placeOf } from "../tools/place";
import { button, h, keepFocus, slider } from "./dom";

export interface PanelActions {
  chooseLayer(layer: number): void;
  chosenLayer(): number;
  autoLayer(): boolean;
  setAutoLayer(on: boolean): void;
  hideLayer(layer: number, hidden: boolean): void;
  soloLayer(layer: number): void;
  brushChanged(): void;
  chosenEdit(): string | null;
  chooseEdit(id: string | null): void;
}

export class Panel {
  readonly element = h("aside", { class: "panel", "aria-label": "Settings, layers and edits" });
  private readonly layers = h("div", { role: "list", "aria-label": "Layers" });
  private readonly edits = h("div", { role: "list", "aria-label": "Edits" });
  private readonly auto = h("input", { type: "checkbox", id: "auto-layer" });
  private readonly size: ReturnType<typeof slider>;
  readonly colour = h("input", { type: "color", class: "swatch", value: "#ffd400", "aria-label": "Colour" });
  readonly extra = h("div", {});
  /** What adjusts the chosen layer, and the shot: the page puts it here. */
  readonly parts = h("div", {});
  /** What adds edits: buttons that the page puts here. */
  readonly adding = h("div", { class: "row wrap" });

  constructor(
    private readonly session: Session,
    private readonly settings: BrushSettings,
    private readonly actions: PanelActions,
  ) {
    const change = (name: "radius" | "hardness" | "opacity" | "smoothing") => (value: number) => {
      settings[name] = value;
      actions.brushChanged();
    };
    this.size = slider("Size", { value: settings.radius, min: 1, max: 200, step: 1, unit: " px" }, change("radius"));
    this.colour.addEventListener("input", () => this.takeColour());
    this.takeColour();
    const pressure = h("input", { type: "checkbox", id: "pressure", checked: settings.pressureSize });
    pressure.addEventListener("change", () => (settings.pressureSize = pressure.checked));
    this.auto.addEventListener("change", () => actions.setAutoLayer(this.auto.checked));
    this.element.append(
      h("h2", {}, "Brush"),
      h("div", { class: "row" }, this.colour, h("span", { class: "quiet" }, "Colour (Alt-click picks)")),
      this.size,
      slider("Hardness", { value: settings.hardness, min: 0, max: 1, step: 0.01 }, change("hardness")),
      slider("Opacity", { value: settings.opacity, min: 0.02, max: 1, step: 0.01 }, change("opacity")),
      slider("Steadying", { value: settings.smoothing, min: 0, max: 0.9, step: 0.01 }, change("smoothing")),
      h("div", { class: "row" }, pressure, h("label", { for: "pressure" }, "Pen pressure changes the size")),
      this.extra,
      h("h2", {}, "Layers, front to back"),
      this.layers,
      h("div", { class: "row" }, this.auto, h("label", { for: "auto-layer" }, "Paint on the layer under the pointer")),
      h("h2", {}, "Edits"),
      this.edits,
      this.adding,
      this.parts,
    );
  }

  setSize(radius: number): void {
    this.size.set(radius);
  }

  setColour(colour: [number, number, number]): void {
    this.settings.colour = colour;
    this.colour.value = `#${colour.map((part) => Math.round(part * 255).toString(16).padStart(2, "0")).join("")}`;
  }

  show(): void {
    this.auto.checked = this.actions.autoLayer();
    const chosen = this.actions.chosenLayer();
    keepFocus(this.layers, () => this.layers.replaceChildren(
      ...this.session.facts.layers.map((layer, number) => {
        const hidden = this.session.state?.layers[number].hidden ?? false;
        return h(
          "div",
          {
            class: `row layer${number === chosen ? " chosen" : ""}`,
            role: "listitem",
            onclick: () => this.actions.chooseLayer(number),
          },
          button(`${layer.name}${hidden ? " (hidden)" : ""}`, `Layer ${layer.name}`, () => this.actions.chooseLayer(number), {
            class: "grow name",
            "aria-pressed": number === chosen,
          }),
          button(hidden ? "Show" : "Hide", `${hidden ? "Show" : "Hide"} ${layer.name}`, () => {
            this.actions.hideLayer(number, !hidden);
          }),
          button("Solo", `Show ${layer.name} alone`, () => this.actions.soloLayer(number)),
        );
      }),
    ));
    const edits = this.session.state?.edits ?? [];
    const rows = edits.map((placed, index) => this.edit(placed, index, edits.length));
    const none = h("p", { class: "quiet", role: "listitem" }, "None besides painting.");
    keepFocus(this.edits, () => this.edits.replaceChildren(...(rows.length ? rows : [none])));
  }

  private edit(placed: PlacedEdit, index: number, count: number): HTMLElement {
    const { session } = this;
    const name = describe(placed);
    const box = h("input", { type: "checkbox", checked: placed.enabled, "aria-label": `${name}: on` });
    box.addEventListener("change", () => {
      void session.request({ type: "replace", placed: { ...placed, enabled: box.checked } });
    });
    const reorder = (to: number) => void session.request({ type: "reorder", id: placed.id, index: to });
    return h(
      "div",
      { class: `row edit${this.actions.chosenEdit() === placed.id ? " chosen" : ""}`, role: "listitem" },
      box,
      button(name, `Choose ${name}`, () => this.actions.chooseEdit(placed.id), {
        class: "grow name",
        "aria-pressed": this.actions.chosenEdit() === placed.id,
      }),
      this.corners(placed, name),
      button("↑", `${name}: lower in the stack`, () => reorder(index - 1), { disabled: index === 0 }),
      button("↓", `${name}: higher in the stack`, () => reorder(index + 1), { disabled: index === count - 1 }),
      button("✕", `${name}: remove`, () => void session.request({ type: "remove", id: placed.id })),
    );
  }

  /** What is placed can have a handle at each corner. */
  private corners(placed: PlacedEdit, name: string): HTMLElement | null {
    const place = placeOf(placed);
    if (!place || place.corners || this.actions.chosenEdit() !== placed.id) return null;
    return button("Corners", `${name}: a handle at each corner`, () => void this.session.request({ type: "pin", id: placed.id }));
  }

  private takeColour(): void {
    const value = parseInt(this.colour.value.slice(1), 16);
    this.settings.colour = [(value >> 16) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255];
  }
}

/** An edit in a few words. */
export function describe({ edit }: PlacedEdit): string {
  const values = edit as unknown as Record<string, unknown>;
  const layer = typeof values.layer === "string" ? ` on ${values.layer}` : "";
  const what = typeof values.text === "string" ? ` “${values.text}”` : "";
  return `${edit.kind.replaceAll("_", " ")}${what}${layer}`;
}

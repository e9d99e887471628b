/** Elements by one call each. */

type Child = Node | string | null | undefined | false;
type Properties = Record<string, unknown>;

/** `on…` are listeners, `class` and `aria-…` attributes, all else properties of the element. */
export function h<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  properties: Properties = {},
  ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value as EventListener);
    else if (key === "class" || key === "role" || key === "for" || key.startsWith("aria-") || key.startsWith("data-")) {
      element.setAttribute(key, String(value));
    } else (element as unknown as Properties)[key] = value;
  }
  element.append(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
  return element;
}

/** A button with a sign on it and words for those who do not see it. */
export function button(sign: string | Node, label: string, press: () => void, properties: Properties = {}): HTMLButtonElement {
  return h("button", { type: "button", title: label, "aria-label": label, onclick: press, ...properties }, sign);
}

/** Make a part of the page anew; whoever had the keyboard's focus in it has it again, found by its label. */
export function keepFocus(part: HTMLElement, make: () => void): void {
  const label = part.contains(document.activeElement) ? document.activeElement!.getAttribute("aria-label") : null;
  make();
  if (label) part.querySelector<HTMLElement>(`[aria-label="${CSS.escape(label)}"]`)?.focus();
}

/** A slider with its name and value. */
export function slider(
  label: string,
  { value, min, max, step, unit = "" }: { value: number; min: number; max: number; step: number; unit?: string },
  change: (value: number, isDone: boolean) => void,
): HTMLElement & { set(value: number): void } {
  const shown = h("output", {}, format(value, step) + unit);
  const input = h("input", { type: "range", min, max, step, value, "aria-label": label });
  const told = (isDone: boolean) => {
    shown.textContent = format(Number(input.value), step) + unit;
    change(Number(input.value), isDone);
  };
  input.addEventListener("input", () => told(false));
  input.addEventListener("change", () => told(true));
  const row = h("label", { class: "slider" }, h("span", {}, label), input, shown);
  return Object.assign(row, {
    set(next: number) {
      input.value = String(next);
      shown.textContent = format(next, step) + unit;
    },
  });
}

function format(value: number, step: number): string {
  return value.toFixed(step >= 1 ? 0 : step >= 0.1 ? 1 : 2);
}

/** Dialogs that bring something in: words, pictures and videos, another background. */

import type { At, PlacedEdit } from "../protocol";
import type { Session } from "../session";
import { button, h } from "./dom";

type Edit = PlacedEdit["edit"];

export interface Aim {
  layer: string;
  frame: number;
  /** Where the middle is to lie, in pixels of the frame. */
  at: [number, number];
}

let count = 0;

function placedOf(edit: Edit): PlacedEdit {
  return { id: `${edit.kind}-${Date.now().toString(36)}-${count++}`, edit, enabled: true };
}

/** Send an edit; its name once it is kept. */
export async function add(session: Session, edit: Edit): Promise<string | null> {
  const placed = placedOf(edit);
  return (await session.request({ type: "add", placed })) ? placed.id : null;
}

export async function upload(session: Session, file: File): Promise<string | null> {
  const answer = await fetch(`/api/files/${encodeURIComponent(file.name)}`, { method: "POST", body: file });
  if (answer.ok) return ((await answer.json()) as { file: string }).file;
  const reason = answer.status === 413 ? "it is too large" : ((await answer.json()) as { message: string }).message;
  session.onProblem(`${file.name}: ${reason}`);
  return null;
}

/** A picture or video on a layer, a fifth of the frame high. */
export async function placeFile(session: Session, file: File, aim: Aim): Promise<string | null> {
  const name = await upload(session, file);
  if (!name) return null;
  const place: At = { x: aim.at[0], y: aim.at[1], frame: aim.frame, height: Math.round(session.facts.height / 5) };
  return add(session, { kind: "place", layer: aim.layer, file: name, place });
}

/** An edited copy of a layer's texture. */
export async function replaceTexture(session: Session, file: File, layer: string): Promise<string | null> {
  const name = await upload(session, file);
  return name && add(session, { kind: "texture", layer, file: name });
}

export async function setBackground(session: Session, background: { file: string } | { colour: string }): Promise<void> {
  const old = session.state?.edits.find(({ edit }) => edit.kind === "background");
  const edit: Edit = { kind: "background", ...background };
  if (old) await session.request({ type: "replace", placed: { ...old, edit, enabled: true } });
  else await add(session, edit);
}

export function chooseFile(accept: string): Promise<File | null> {
  return new Promise((resolve) => {
    const input = h("input", { type: "file", accept });
    input.addEventListener("change", () => resolve(input.files?.[0] ?? null));
    input.addEventListener("cancel", () => resolve(null));
    input.click();
  });
}

/** Asks for words; the edit's name once they are placed. */
export function askWords(session: Session, aim: Aim): Promise<string | null> {
  const words = h("input", { type: "text", id: "words", required: true, maxLength: 200, size: 36 });
  const colour = h("input", { type: "color", class: "swatch", value: "#ffffff", "aria-label": "Colour of the words" });
  const rigid = h("input", { type: "checkbox", id: "rigid" });
  return ask(
    "Words on the layer",
    [
      h("div", { class: "row" }, h("label", { for: "words" }, "Words"), words, colour),
      h("div", { class: "row" }, rigid, h("label", { for: "rigid" }, "Stay flat instead of bending with the surface")),
    ],
    "Place",
    () =>
      add(session, {
        kind: "text",
        layer: aim.layer,
        text: words.value,
        colour: colour.value,
        place: { x: aim.at[0], y: aim.at[1], frame: aim.frame, height: Math.round(session.facts.height / 9), rigid: rigid.checked },
      }),
  );
}

/** A dialog with one thing to do; null where it is left. */
export function ask(title: string, content: Node[], deed: string, act: () => Promise<string | null>): Promise<string | null> {
  return new Promise((resolve) => {
    const form = h("form", { method: "dialog" }, h("h2", {}, title), ...content);
    const leave = button("Cancel", "Cancel", () => dialog.close());
    form.append(h("div", { class: "row" }, h("button", { type: "submit" }, deed), leave));
    const dialog = h("dialog", { "aria-label": title }, form);
    let result: Promise<string | null> = Promise.resolve(null);
    form.addEventListener("submit", () => (result = act()));
    dialog.addEventListener("close", () => {
      dialog.remove();
      void result.then(resolve);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

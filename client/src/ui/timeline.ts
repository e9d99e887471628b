/** The timeline: thumbnails, the playhead, in and out, and the player's controls. */

import type { Player } from "../player";
import type { Facts } from "../session";
import { button, h } from "./dom";
import { icon } from "./icons";

/** What the timeline has to know of a film. */
export type FilmFacts = Pick<Facts, "width" | "height" | "frames" | "first_frame" | "seconds" | "fps">;

export class Timeline {
  readonly element: HTMLElement;
  private readonly canvas = h("canvas", { "aria-hidden": "true" });
  private readonly strip: HTMLElement;
  private readonly clock = h("span", { role: "timer" });
  private readonly rate = h("span", { class: "quiet" });
  private readonly playing: HTMLButtonElement;
  private readonly looping: HTMLButtonElement;
  private readonly thumbnails = new Map<number, ImageBitmap | null>();

  constructor(
    private readonly facts: FilmFacts,
    private readonly player: Player,
  ) {
    this.playing = button(icon("play"), "Play or pause (space)", () => this.toggle());
    this.looping = button(icon("loop"), "Loop", () => {
      player.loops = !player.loops;
      this.show();
    });
    this.strip = h(
      "div",
      {
        class: "strip",
        role: "slider",
        tabIndex: 0,
        "aria-label": "Frame",
        "aria-valuemin": 0,
        "aria-valuemax": facts.frames - 1,
        onpointerdown: (event: PointerEvent) => this.scrub(event),
      },
      this.canvas,
    );
    this.element = h(
      "section",
      { class: "time", "aria-label": "Timeline" },
      h(
        "div",
        { class: "controls" },
        button(icon("first"), "First frame (Home)", () => player.seek(player.range[0])),
        button(icon("back"), "One frame back (←)", () => this.step(-1)),
        this.playing,
        button(icon("on"), "One frame on (→)", () => this.step(1)),
        button(icon("last"), "Last frame (End)", () => player.seek(player.range[1])),
        this.looping,
        button(icon("begin"), "Begin playing here (I)", () => this.setIn()),
        button(icon("end"), "End playing here (O)", () => this.setOut()),
        this.clock,
        h("span", { class: "grow" }),
        this.rate,
      ),
      this.strip,
    );
    new ResizeObserver(() => this.show()).observe(this.strip);
  }

  toggle(): void {
    if (this.player.isPlaying) this.player.pause();
    else this.player.play();
    this.show();
  }

  step(frames: number): void {
    this.player.pause();
    this.player.seek(this.player.frame + frames);
    this.show();
  }

  setIn(): void {
    this.player.range = [this.player.frame, Math.max(this.player.frame, this.player.range[1])];
    this.show();
  }

  setOut(): void {
    this.player.range = [Math.min(this.player.frame, this.player.range[0]), this.player.frame];
    this.show();
  }

  show(): void {
    const { frame, isPlaying, range, rate, dropped } = this.player;
    const number = this.facts.first_frame + frame;
    this.clock.textContent = `frame ${number} · ${this.facts.seconds[frame].toFixed(2)} s`;
    this.playing.replaceChildren(icon(isPlaying ? "pause" : "play"));
    this.looping.setAttribute("aria-pressed", String(this.player.loops));
    const late = dropped ? ` · ${dropped} dropped` : "";
    this.rate.textContent = isPlaying ? `${rate} of ${this.facts.fps.toFixed(2)} frames a second${late}` : "";
    this.strip.setAttribute("aria-valuenow", String(frame));
    this.strip.setAttribute("aria-valuetext", `frame ${number}`);
    this.draw(range);
  }

  private draw([first, last]: [number, number]): void {
    const width = (this.canvas.width = Math.max(1, Math.round(this.strip.clientWidth * devicePixelRatio)));
    const height = (this.canvas.height = Math.max(1, Math.round(this.strip.clientHeight * devicePixelRatio)));
    const context = this.canvas.getContext("2d")!;
    const shown = Math.max(1, Math.round((height * this.facts.width) / this.facts.height));
    for (let left = 0; left < width; left += shown) {
      const frame = Math.min(this.facts.frames - 1, Math.floor(((left + shown / 2) / width) * this.facts.frames));
      const picture = this.thumbnail(frame);
      if (picture) context.drawImage(picture, left, 0, shown, height);
    }
    const at = (frame: number) => (frame / this.facts.frames) * width;
    context.fillStyle = "#000a";
    context.fillRect(0, 0, at(first), height);
    context.fillRect(at(last + 1), 0, width, height);
    context.fillStyle = "#fff";
    context.fillRect(at(this.player.frame + 0.5) - 1, 0, 2 * devicePixelRatio, height);
  }

  private thumbnail(frame: number): ImageBitmap | null {
    if (!this.thumbnails.has(frame)) {
      this.thumbnails.set(frame, null);
      void fetch(`/api/thumbnail/${frame}`)
        .then((answer) => (answer.ok ? answer.blob() : Promise.reject(new Error(String(answer.status)))))
        .then((blob) => createImageBitmap(blob))
        .then((picture) => {
          this.thumbnails.set(frame, picture);
          requestAnimationFrame(() => this.show());
        })
        .catch(() => this.thumbnails.delete(frame));
    }
    return this.thumbnails.get(frame) ?? null;
  }

  private scrub(event: PointerEvent): void {
    this.player.pause();
    const move = ({ clientX }: PointerEvent) => {
      const { left, width } = this.strip.getBoundingClientRect();
      this.player.seek(Math.floor(((clientX - left) / width) * this.facts.frames));
      this.show();
    };
    move(event);
    this.strip.setPointerCapture(event.pointerId);
    this.strip.addEventListener("pointermove", move);
    const end = () => {
      this.strip.removeEventListener("pointermove", move);
      this.strip.removeEventListener("pointerup", end);
      this.strip.removeEventListener("pointercancel", end);
    };
    this.strip.addEventListener("pointerup", end);
    this.strip.addEventListener("pointercancel", end);
  }
}

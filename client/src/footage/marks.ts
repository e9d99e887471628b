/** Under the timeline: for each object, the frames that are followed by now, and those in which something was said. */

import { h } from "../ui/dom";
import type { Pictures } from "./pictures";
import type { ObjectState } from "./protocol";
import { tintOf } from "./stage";

const ROW = 8;

export class Marks {
  readonly element = h("canvas", { class: "marks", role: "img", "aria-label": "Frames in which the objects are followed" });

  constructor(
    private readonly pictures: Pictures,
    private readonly frames: number,
    private readonly firstFrame: number,
  ) {
    new ResizeObserver(() => this.show(this.objects, this.revision)).observe(this.element);
  }

  private objects: ObjectState[] = [];
  private revision = 0;

  show(objects: ObjectState[], revision: number): void {
    this.objects = objects;
    this.revision = revision;
    this.element.hidden = !objects.length;
    const height = `${Math.max(1, objects.length) * ROW}px`;
    if (this.element.style.height !== height) this.element.style.height = height;
    const scale = devicePixelRatio;
    const width = (this.element.width = Math.max(1, Math.round(this.element.clientWidth * scale)));
    this.element.height = Math.round(Math.max(1, objects.length) * ROW * scale);
    const context = this.element.getContext("2d")!;
    const step = width / this.frames;
    objects.forEach(({ name, hints }, index) => {
      const { colour } = tintOf(name, index);
      const top = index * ROW * scale;
      for (let frame = 0; frame < this.frames; frame++) {
        const place = this.pictures.place(name, this.firstFrame + frame);
        const isNew = place?.revision === this.revision;
        context.fillStyle = place ? `rgba(${colour.join()}, ${isNew ? 0.75 : 0.25})` : "#282b32";
        context.fillRect(frame * step, top + 2 * scale, Math.max(step - (step > 4 ? 1 : 0), 1), (ROW - 4) * scale);
      }
      for (const { frame } of hints) {
        context.fillStyle = "#fff";
        const middle = (frame - this.firstFrame + 0.5) * step;
        context.fillRect(middle - 1.5 * scale, top, 3 * scale, ROW * scale);
      }
    });
  }
}

/** The footage's frames and the objects' masks as images, fetched when they are wanted, within a budget. */

import type { MaskPlace } from "./protocol";

const BUDGET_BYTES = 512 * 2 ** 20;
const AT_ONCE = 4;
const AHEAD = 16;

export interface Tint {
  name: string;
  colour: [number, number, number];
}

interface Kept {
  image: CanvasImageSource;
  bytes: number;
}

export class Pictures {
  /** Called when an image has come. */
  onCome: () => void = () => {};
  private readonly kept = new Map<string, Kept>();
  private readonly asked = new Set<string>();
  private readonly places = new Map<string, MaskPlace>();
  private readonly shown = new Map<string, string>();
  private bytes = 0;

  constructor(private readonly count: number) {}

  /** A frame's picture, counted from the first; undefined until it has come. */
  frame(index: number): CanvasImageSource | undefined {
    return this.get(`frame ${index}`, () => fetchBitmap(`/api/source/${index}`));
  }

  /** Fetch what comes next. */
  lookAhead(index: number): void {
    for (let step = 1; step <= AHEAD; step++) this.frame((index + step) % this.count);
  }

  take(places: MaskPlace[]): void {
    for (const place of places) this.places.set(`${place.object} ${place.frame}`, place);
  }

  /** Forget the masks of objects that are gone. */
  keepOnly(names: string[]): void {
    for (const [key, { object }] of this.places) if (!names.includes(object)) this.places.delete(key);
  }

  place(object: string, frame: number): MaskPlace | undefined {
    return this.places.get(`${object} ${frame}`);
  }

  /** An object's mask, tinted, with its outline; the one before while a newer one comes. */
  mask({ name, colour }: Tint, frame: number): CanvasImageSource | undefined {
    const place = this.place(name, frame);
    if (!place) return undefined;
    const key = `mask ${name} ${frame} ${place.version} ${colour.join()}`;
    const found = this.get(key, () => fetchMask(`/api/mask/${encodeURIComponent(name)}/${frame}`, colour));
    const before = `${name} ${frame}`;
    if (found) this.shown.set(before, key);
    return found ?? this.kept.get(this.shown.get(before) ?? "")?.image;
  }

  private get(key: string, fetched: () => Promise<Kept>): CanvasImageSource | undefined {
    const found = this.kept.get(key);
    if (found) {
      this.kept.delete(key);
      this.kept.set(key, found);
      return found.image;
    }
    if (!this.asked.has(key) && this.asked.size < AT_ONCE) {
      this.asked.add(key);
      void fetched()
        .then((image) => this.keep(key, image))
        .catch(() => undefined) // gone meanwhile: asked for again while it is wanted
        .finally(() => {
          this.asked.delete(key);
          this.onCome();
        });
    }
    return undefined;
  }

  private keep(key: string, kept: Kept): void {
    this.kept.set(key, kept);
    this.bytes += kept.bytes;
    for (const [oldest, { image, bytes }] of this.kept) {
      if (this.bytes <= BUDGET_BYTES || oldest === key) break;
      if (image instanceof ImageBitmap) image.close();
      this.kept.delete(oldest);
      this.bytes -= bytes;
    }
  }
}

async function fetchBitmap(address: string): Promise<Kept> {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(String(answer.status));
  const image = await createImageBitmap(await answer.blob());
  return { image, bytes: 4 * image.width * image.height };
}

async function fetchMask(address: string, colour: [number, number, number]): Promise<Kept> {
  const { image } = await fetchBitmap(address);
  const bitmap = image as ImageBitmap;
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  tint(pixels, colour);
  context.putImageData(pixels, 0, 0);
  return { image: canvas, bytes: 4 * canvas.width * canvas.height };
}

/** Grey levels to a see-through colour, opaque along the outline. */
export function tint({ data, width, height }: { data: Uint8ClampedArray; width: number; height: number }, [r, g, b]: [number, number, number]): void {
  const levels = new Uint8Array(width * height);
  for (let at = 0; at < levels.length; at++) levels[at] = data[4 * at];
  const isIn = (x: number, y: number) => x >= 0 && y >= 0 && x < width && y < height && levels[y * width + x] > 127;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      let alpha = 0.42 * levels[at];
      if (levels[at] > 127 && !(isIn(x - 1, y) && isIn(x + 1, y) && isIn(x, y - 1) && isIn(x, y + 1))) alpha = 255;
      data[4 * at] = r;
      data[4 * at + 1] = g;
      data[4 * at + 2] = b;
      data[4 * at + 3] = alpha;
    }
  }
}

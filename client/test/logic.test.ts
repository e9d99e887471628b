import { describe, expect, it } from "vitest";
import { fill } from "../src/fill";
import { Frames, type Reply, type Request } from "../src/frames";
import { toPremultiplied, toStraight } from "../src/gl/painting";
import { lightAt, readMaps, sharesAt, uvAt, xyOf, type FrameMaps, type Point } from "../src/maps";
import { halfToNumber, unpack } from "../src/packet";
import { Player } from "../src/player";
import type { At } from "../src/protocol";
import { Smoothing, Spacing } from "../src/stroke";
import { dragged, handleAt, handles } from "../src/tools/place";
import { View } from "../src/view";

function pack(head: object, ...arrays: ArrayBufferView[]): ArrayBuffer {
  let text = JSON.stringify(head);
  text += " ".repeat((8 - (text.length % 8)) % 8);
  const parts = [new Uint32Array([text.length, 0]), new TextEncoder().encode(text)];
  const padded = arrays.flatMap((array) => {
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    return [bytes, new Uint8Array((8 - (bytes.length % 8)) % 8)];
  });
  const all = [new Uint8Array(parts[0].buffer), parts[1] as Uint8Array, ...padded];
  const whole = new Uint8Array(all.reduce((sum, part) => sum + part.length, 0));
  all.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole.buffer;
}

/** A frame of 8 × 4 pixels, an object in front, whose map turns, shifts and bends. */
function someMaps(): FrameMaps {
  const levels = Uint16Array.from({ length: 3 * 2 * 2 }, (_, at) => (at % 5) * 10);
  const light = new Uint16Array(2 * 2 * 4).fill(0x3c00);
  light[0] = 0x3800;
  const alpha = new Uint8Array([255, 128]);
  const layer = {
    affine: [1.1, 0.2, 3, -0.1, 0.9, 5],
    low: [-1, 2],
    step: [0.01, 0.02],
    offsets: { at: 0, shape: [2, 3, 2], type: "uint16" },
    light: { at: 24, shape: [2, 2, 4], type: "float16" },
  };
  const object = { ...layer, alpha_size: [8, 4], alpha_corner: [2, 1], alpha: { at: 56, shape: [1, 2], type: "uint8" } };
  return readMaps(pack({ frame: 3, layers: [object, layer] }, levels, light, alpha));
}

describe("packets", () => {
  it("hold arrays where the head says", () => {
    const { head, array } = unpack<{ one: { at: number; shape: number[]; type: "uint16" } }>(
      pack({ one: { at: 0, shape: [2], type: "uint16" } }, new Uint16Array([7, 65535])),
    );
    expect([...array(head.one)]).toEqual([7, 65535]);
  });

  it.each([[0x3c00, 1], [0xc000, -2], [0x3555, 0.333251953125], [0x0001, 2 ** -24], [0, 0], [0x7c00, Infinity]])(
    "read half %i as %f",
    (bits, value) => expect(halfToNumber(bits)).toBe(value),
  );
});

describe("maps", () => {
  const maps = someMaps();
  const size: Point = [8, 4];

  it("spread an alpha's part over the frame", () => {
    const { levels } = maps.layers[0].alpha!;
    expect(levels[1 * 8 + 2]).toBe(255);
    expect(levels[1 * 8 + 3]).toBe(128);
    expect(levels.reduce((sum, level) => sum + level, 0)).toBe(383);
    expect(maps.layers[1].alpha).toBeNull();
  });

  it("have the derivative that differences have", () => {
    const at: Point = [3.3, 1.7];
    const { uv, jacobian } = uvAt(maps.layers[0], size, at);
    const step = 1e-4;
    const right = uvAt(maps.layers[0], size, [at[0] + step, at[1]]).uv;
    const down = uvAt(maps.layers[0], size, [at[0], at[1] + step]).uv;
    const differences = [right[0] - uv[0], down[0] - uv[0], right[1] - uv[1], down[1] - uv[1]].map((d) => d / step);
    jacobian.forEach((value, entry) => expect(value).toBeCloseTo(differences[entry], 5));
  });

  it.each([[1, 1], [4.2, 2.9], [7.9, 0.2]])("lead back from where they lead: %f, %f", (x, y) => {
    const back = xyOf(maps.layers[0], size, uvAt(maps.layers[0], size, [x, y]).uv)!;
    expect(Math.hypot(back[0] - x, back[1] - y)).toBeLessThan(1e-3);
  });

  it("lead nowhere from a texel that the frame does not show", () => {
    expect(xyOf(maps.layers[0], size, [500, 500])).toBeNull();
  });

  it("share a pixel front to back", () => {
    expect(sharesAt(maps, size, [2.5, 1.5])).toEqual([1, 0]);
    expect(sharesAt(maps, size, [7.5, 3.5])).toEqual([0, 1]);
  });

  it("light texels between the nodes", () => {
    expect(lightAt(maps.layers[0], [10, 10], [0, 0])).toEqual([0.5, 1, 1]);
    expect(lightAt(maps.layers[0], [10, 10], [5, 0])[0]).toBeCloseTo(0.75);
  });
});

describe("the player", () => {
  let now = 0;
  const player = (loops = true) => {
    now = 0;
    const made = new Player([0, 0.1, 0.2, 0.3, 0.4], 10, () => now);
    made.loops = loops;
    made.play();
    return made;
  };

  it("shows each frame at its time, and counts those that came too late", () => {
    const made = player();
    now = 0.11;
    made.tick();
    expect([made.frame, made.dropped]).toEqual([1, 0]);
    now = 0.41;
    made.tick();
    expect([made.frame, made.dropped]).toEqual([4, 2]);
  });

  it("starts anew after the last frame's time, or stops", () => {
    const made = player();
    now = 0.45;
    made.tick();
    now = 0.51;
    made.tick();
    expect([made.frame, made.isPlaying]).toEqual([0, true]);
    const once = player(false);
    now = 0.6;
    once.tick();
    expect([once.frame, once.isPlaying]).toEqual([4, false]);
  });

  it("stays between in and out", () => {
    const made = new Player([0, 0.1, 0.2, 0.3, 0.4], 10, () => now);
    now = 0;
    made.range = [1, 2];
    made.play();
    expect(made.frame).toBe(1);
    now = 0.25;
    made.tick();
    expect(made.frame).toBe(1);
  });

  it("goes to no frame that is not there", () => {
    const made = player();
    made.seek(99);
    expect(made.frame).toBe(4);
    made.seek(-5);
    expect(made.frame).toBe(0);
  });
});

describe("strokes", () => {
  it("space dabs evenly, however the pointer's points lie", () => {
    const along = (points: number[]) => {
      const spacing = new Spacing(() => 2);
      return points.flatMap((x) => spacing.to({ at: [x, 0], pressure: 1 })).map((dab) => dab.at[0]);
    };
    expect(along([0, 10])).toEqual([0, 2, 4, 6, 8, 10]);
    expect(along([0, 3, 5, 9.5, 10]).map((x) => Math.round(x * 1e9) / 1e9)).toEqual([0, 2, 4, 6, 8, 10]);
  });

  it("follow the pointer exactly without steadying, and lag with it", () => {
    const exact = new Smoothing(0);
    const steady = new Smoothing(0.5);
    for (const smoothing of [exact, steady]) smoothing.next({ at: [0, 0], pressure: 1 });
    expect(exact.next({ at: [10, 0], pressure: 0.5 })).toEqual({ at: [10, 0], pressure: 0.5 });
    expect(steady.next({ at: [10, 0], pressure: 1 }).at[0]).toBe(5);
  });
});

describe("colours", () => {
  it("come back from straight to premultiplied as they were, at every opacity", () => {
    for (let alpha = 0; alpha < 256; alpha++) {
      const premultiplied = new Uint8Array([alpha, Math.floor(alpha / 2), Math.floor(alpha / 3), alpha]);
      const straight = toStraight(new Uint8Array(premultiplied));
      expect([...toPremultiplied(straight)]).toEqual([...premultiplied]);
    }
  });
});

describe("fill", () => {
  it("takes what hangs together and looks alike, and nothing else", () => {
    const picture = ["..#.", ".##.", "...#"].join("");
    const colours = Uint8Array.from([...picture].flatMap((sign) => (sign === "#" ? [200, 0, 0, 255] : [10, 10, 10, 255])));
    const filled = fill(colours, 4, 3, 2, 0, 20)!;
    const taken = [...filled.mask].map((level) => (level ? "#" : ".")).join("");
    expect(taken).toBe(["..#.", ".##.", "...."].join(""));
    expect([filled.left, filled.top, filled.right, filled.bottom]).toEqual([1, 0, 3, 2]);
    expect(fill(colours, 4, 3, 9, 0, 20)).toBeNull();
  });
});

describe("views", () => {
  it("keep the point under the pointer while they zoom", () => {
    const view = new View([320, 180]);
    view.setPane(50, 20, 640, 480);
    const page: Point = [300, 200];
    const before = view.toPicture(page);
    view.zoomAt(page, 3);
    view.toPicture(page).forEach((value, axis) => expect(value).toBeCloseTo(before[axis], 9));
    view.toPage(view.toPicture([77, 99])).forEach((value, axis) => expect(value).toBeCloseTo([77, 99][axis], 9));
  });

  it("fit until they are moved", () => {
    const view = new View([100, 100]);
    view.setPane(0, 0, 200, 400);
    const fitted = view.zoom;
    view.setPane(0, 0, 400, 400);
    expect(view.zoom).toBeCloseTo(2 * fitted);
    view.pan(10, 0);
    view.setPane(0, 0, 100, 100);
    expect(view.zoom).toBeCloseTo(2 * fitted);
  });
});

describe("places", () => {
  const view = new View([100, 100]);
  view.setPane(0, 0, 100, 100);
  view.zoom = 1;
  view.origin = [0, 0];
  const place: At = { x: 50, y: 50, frame: 0, height: 20, rotation_degrees: 0 };

  it("move by their middle, grow and turn by the other handle", () => {
    expect(handleAt(view, place, [51, 49])).toBe("middle");
    expect(dragged(place, "middle", view, [50, 50], [60, 70])).toMatchObject({ x: 60, y: 70, height: 20 });
    const turned = dragged(place, "turn", view, [70, 50], [50, 90]);
    expect(turned).toMatchObject({ height: 40, rotation_degrees: 90, x: 50 });
    expect(handles(view, turned).get("turn")![1]).toBeGreaterThan(60);
  });

  it("pin corners one by one", () => {
    const pinned: At = { frame: 0, corners: [[0, 0], [10, 0], [10, 10], [0, 10]] };
    expect(dragged(pinned, 2, view, [10, 10], [30, 40]).corners).toEqual([[0, 0], [10, 0], [30, 40], [0, 10]]);
  });
});

describe("frames", () => {
  class Decoder {
    asked: Request[] = [];
    onmessage: (event: { data: Reply }) => void = () => {};
    postMessage(request: Request) {
      this.asked.push(request);
    }
    answer(bytes: number) {
      const next = this.asked.shift();
      if (next) this.onmessage({ data: { number: next.number, maps: { frame: next.number, layers: [], bytes }, picture: null } });
    }
  }

  it("come the nearest first, and stay within their budget", async () => {
    const decoder = new Decoder();
    const frames = new Frames(decoder as unknown as Worker, 1000, 1000);
    const first = frames.get(500);
    expect(decoder.asked[0]).toEqual({ number: 500, exact: false });
    for (let step = 0; step < 200; step++) decoder.answer(100);
    expect((await first)!.number).toBe(500);
    expect(frames.usedBytes).toBeLessThanOrEqual(1000);
    expect(frames.has(500)).toBe(true);
    expect(frames.has(501)).toBe(true);
  });

  it("say what went wrong to those who wait", async () => {
    const decoder = new Decoder();
    const frames = new Frames(decoder as unknown as Worker, 10, 1000);
    const waited = frames.get(3);
    decoder.onmessage({ data: { number: 3, error: "gone" } });
    expect(await waited).toBeNull();
    expect(frames.problem).toBe("gone");
  });
});

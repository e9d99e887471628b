import { describe, expect, it } from "vitest";
import { time } from "../src/footage/panel";
import { tint } from "../src/footage/pictures";
import { tintOf } from "../src/footage/stage";

describe("masks over the footage", () => {
  const width = 5;
  const pixels = () => ({ data: new Uint8ClampedArray(4 * width * width), width, height: width });

  it("are see-through inside, opaque along the outline, and nothing elsewhere", () => {
    const picture = pixels();
    for (let y = 1; y < 4; y++) for (let x = 1; x < 4; x++) picture.data[4 * (y * width + x)] = 255;
    tint(picture, [10, 20, 30]);
    const at = (x: number, y: number) => [...picture.data.slice(4 * (y * width + x), 4 * (y * width + x) + 4)];
    expect(at(2, 2)).toEqual([10, 20, 30, 107]);
    expect(at(1, 2)).toEqual([10, 20, 30, 255]);
    expect(at(0, 0)[3]).toBe(0);
  });

  it("have an outline where they meet the frame's border", () => {
    const picture = pixels();
    picture.data.fill(255);
    tint(picture, [1, 2, 3]);
    expect(picture.data[3]).toBe(255);
    expect(picture.data[4 * 12 + 3]).toBe(107);
  });

  it("differ in colour from object to object", () => {
    const colours = [0, 1, 2, 3].map((index) => tintOf("a", index).colour.join());
    expect(new Set(colours).size).toBe(4);
  });
});

describe("time left", () => {
  it("is said in seconds, then in minutes", () => {
    expect([time(0.2), time(89), time(91)]).toEqual(["1 s", "89 s", "2 min"]);
  });
});

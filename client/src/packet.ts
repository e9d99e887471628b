/** Packets of arrays from the server: a head in JSON, then arrays, as `map_stream.py` writes them. */

export interface ArrayEntry {
  at: number;
  shape: number[];
  type: "uint8" | "uint16" | "float16";
}

export interface Packed<Head> {
  head: Head;
  array(entry: ArrayEntry): Uint8Array | Uint16Array;
}

/** Half floats stay as the 16 bits that WebGL takes. */
export function unpack<Head>(data: ArrayBuffer): Packed<Head> {
  const length = new DataView(data).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 8, length))) as Head;
  return {
    head,
    array(entry) {
      const count = entry.shape.reduce((product, side) => product * side, 1);
      const start = 8 + length + entry.at;
      return entry.type === "uint8" ? new Uint8Array(data, start, count) : new Uint16Array(data, start, count);
    },
  };
}

/** A half float's bits to the number that they stand for. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

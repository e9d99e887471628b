/** What is edited, as the page knows it: facts of the project, the server's state, and its images on the GPU. */

import { Connection } from "./connection";
import { Compositor, type LayerFacts, type PatchImages, type Scene } from "./gl/compositor";
import { addMips, formats, makeTexture, Target, type GL } from "./gl/context";
import { Painting, PaintingPrograms, TILE, type Tile } from "./gl/painting";
import { unpack, type ArrayEntry } from "./packet";
import type { PaintingState, State } from "./protocol";

export interface Facts {
  name: string;
  width: number;
  height: number;
  frames: number;
  first_frame: number;
  seconds: number[];
  fps: number;
  source_exists: boolean;
  recovered: boolean;
  layers: LayerFacts[];
}

interface PatchHead {
  patch: { left: number; top: number; change: ArrayEntry; opacity?: ArrayEntry } | null;
}

const key = ({ column, row }: Tile) => `${column},${row}`;

export class Session {
  readonly connection = new Connection();
  readonly scene: Scene;
  readonly paintings: (Painting | null)[];
  state: State | null = null;
  /** Called whenever something that is drawn or listed may have changed. */
  onChange: () => void = () => {};
  onProblem: (message: string) => void = () => {};
  private readonly programs: PaintingPrograms;
  private readonly patchNumbers: string[];
  private readonly tileHashes: Map<string, string | null>[];
  private readonly unsent: Map<string, number>[];
  private readonly adjusted: string[];
  private readonly fields: (WebGLTexture | null)[];
  private backdropNumber = 0;
  private frame = 0;

  constructor(
    private readonly gl: GL,
    readonly facts: Facts,
    readonly compositor: Compositor,
  ) {
    const none = facts.layers.map(() => null);
    this.scene = { patches: [...none], paintings: [...none], hidden: facts.layers.map(() => false), backdrop: null };
    this.paintings = [...none];
    this.fields = [...none];
    this.programs = new PaintingPrograms(gl);
    this.patchNumbers = facts.layers.map(() => "");
    this.adjusted = facts.layers.map(() => "");
    this.tileHashes = facts.layers.map(() => new Map());
    this.unsent = facts.layers.map(() => new Map());
    this.connection.onState = (state) => void this.take(state);
    this.connection.connect();
  }

  layerNumber(name: string): number {
    return this.facts.layers.findIndex((layer) => layer.name === name);
  }

  /** A layer's painting, made when it is first painted on. */
  painting(layer: number): Painting {
    const found = (this.paintings[layer] ??= new Painting(this.programs, ...this.facts.layers[layer].canvas));
    this.scene.paintings[layer] = found.texture;
    return found;
  }

  /** Patches that move are another one in each frame. */
  async showFrame(frame: number): Promise<void> {
    this.frame = frame;
    if (this.state?.layers.some((layer) => layer.moving)) await this.fetchPatches();
  }

  /** Send a stroke's tiles; the promise is kept once they are on the disk. */
  async sendStroke(layer: number, tiles: Tile[]): Promise<void> {
    if (!tiles.length) return;
    const painting = this.painting(layer);
    const head = new TextEncoder().encode(JSON.stringify({ tiles: tiles.map(({ column, row }) => [column, row]) }));
    const length = new Uint8Array(new Uint32Array([head.length]).buffer);
    const pixels = tiles.map((tile) => painting.readTile(tile));
    const counts = this.unsent[layer];
    tiles.forEach((tile) => counts.set(key(tile), (counts.get(key(tile)) ?? 0) + 1));
    try {
      const answer = await fetch(`/api/paint/${layer}`, { method: "POST", body: new Blob([length, head, ...pixels]) });
      if (!answer.ok) throw new Error(((await answer.json()) as { message: string }).message);
    } catch (error) {
      this.onProblem(`The stroke is not kept: ${error instanceof Error ? error.message : error}`);
    } finally {
      tiles.forEach((tile) => counts.set(key(tile), counts.get(key(tile))! - 1));
    }
  }

  async request(...request: Parameters<Connection["send"]>): Promise<boolean> {
    try {
      await this.connection.send(...request);
      return true;
    } catch (error) {
      this.onProblem(error instanceof Error ? error.message : String(error));
      return false;
    }
  }

  private async take(state: State): Promise<void> {
    this.state = state;
    state.layers.forEach((layer, number) => (this.scene.hidden[number] = layer.hidden));
    try {
      await Promise.all([
        this.fetchPatches(),
        this.adjust(state),
        this.fetchBackdrop(state.backdrop),
        ...state.paintings.map((painting) => this.takeTiles(painting)),
      ]);
    } catch (error) {
      this.onProblem(error instanceof Error ? error.message : String(error));
    }
    this.onChange();
  }

  private async fetchPatches(): Promise<void> {
    await Promise.all(
      this.state!.layers.map(async (layer, number) => {
        const wanted = layer.moving ? `${layer.patch}@${this.frame}` : `${layer.patch}`;
        if (this.patchNumbers[number] === wanted) return;
        this.patchNumbers[number] = wanted;
        const images = layer.patch ? await this.fetchPatch(number) : null;
        if (this.patchNumbers[number] !== wanted) return;
        const old = this.scene.patches[number];
        if (old) [old.change, old.opacity].forEach((texture) => texture && this.gl.deleteTexture(texture));
        this.scene.patches[number] = images;
      }),
    );
  }

  /** Layers' adjustments, new where they are others; by texel where they have a region. */
  private async adjust(state: State): Promise<void> {
    await Promise.all(
      state.layers.map(async ({ adjustment, light, region }, layer) => {
        const wanted = JSON.stringify([adjustment, light, region]);
        if (this.adjusted[layer] === wanted) return;
        this.adjusted[layer] = wanted;
        const field = region ? await this.fetchField(layer) : null;
        if (this.adjusted[layer] !== wanted) return;
        this.fields[layer] && this.gl.deleteTexture(this.fields[layer]);
        this.fields[layer] = field;
        const isNeutral = !field && light === 1 && adjustment.every((value) => value === 0);
        this.compositor.adjust(layer, isNeutral ? null : { colours: adjustment, field, light });
      }),
    );
  }

  private async fetchField(layer: number): Promise<WebGLTexture> {
    const answer = await fetch(`/api/adjustment/${layer}`);
    if (!answer.ok) throw new Error(`layer ${layer}: the server answered ${answer.status}`);
    const { head, array } = unpack<{ field: ArrayEntry }>(await answer.arrayBuffer());
    const [height, width] = head.field.shape;
    return makeTexture(this.gl, formats(this.gl).rgba16f, width, height, array(head.field));
  }

  private async fetchPatch(layer: number): Promise<PatchImages | null> {
    const answer = await fetch(`/api/patch/${layer}/${this.frame}`);
    if (!answer.ok) throw new Error(`layer ${layer}: the server answered ${answer.status}`);
    const { head, array } = unpack<PatchHead>(await answer.arrayBuffer());
    if (!head.patch) return null;
    const { left, top, change, opacity } = head.patch;
    const [height, width] = change.shape;
    const upload = (entry: ArrayEntry) => {
      const texture = makeTexture(this.gl, formats(this.gl).rgba16f, width, height, array(entry));
      addMips(this.gl, texture);
      return texture;
    };
    return { left, top, width, height, change: upload(change), opacity: opacity ? upload(opacity) : null };
  }

  private async fetchBackdrop(number: number): Promise<void> {
    if (number === this.backdropNumber) return;
    this.backdropNumber = number;
    if (this.scene.backdrop) this.gl.deleteTexture(this.scene.backdrop);
    this.scene.backdrop = number ? await this.fetchPicture("/api/backdrop") : null;
  }

  private async fetchPicture(address: string): Promise<WebGLTexture> {
    const picture = await decode(await (await fetch(address)).blob());
    const gl = this.gl;
    const texture = makeTexture(gl, formats(gl).rgba8, picture.width, picture.height);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, gl.RGBA, gl.UNSIGNED_BYTE, picture);
    picture.close();
    return texture;
  }

  /** Put tiles in place that are not what the painting holds already. */
  private async takeTiles({ layer, tiles }: PaintingState): Promise<void> {
    const number = this.layerNumber(layer);
    const hashes = this.tileHashes[number];
    const changed = tiles.filter((tile) => hashes.get(key(tile)) !== tile.hash && !this.unsent[number].get(key(tile)));
    tiles.forEach((tile) => hashes.set(key(tile), tile.hash));
    if (!changed.length) return;
    const painting = this.painting(number);
    const pixels = await Promise.all(changed.map((tile) => (tile.hash ? fetchTile(this.gl, tile.hash) : null)));
    changed.forEach((tile, at) => {
      if (hashes.get(key(tile)) === tile.hash) painting.writeTile(tile, pixels[at]);
    });
    painting.refreshMips();
  }
}

function decode(blob: Blob): Promise<ImageBitmap> {
  return createImageBitmap(blob, { premultiplyAlpha: "none", colorSpaceConversion: "none" });
}

/** A tile's straight RGBA. Read back through WebGL: a 2D canvas would premultiply and lose faint colours. */
async function fetchTile(gl: GL, hash: string): Promise<Uint8Array> {
  const answer = await fetch(`/api/tile/${hash}`);
  if (!answer.ok) throw new Error(`a painted tile is gone: the server answered ${answer.status}`);
  const bitmap = await decode(await answer.blob());
  const target = new Target(gl, formats(gl).rgba8, TILE, TILE);
  gl.bindTexture(gl.TEXTURE_2D, target.textures[0]);
  gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
  bitmap.close();
  const pixels = new Uint8Array(4 * TILE * TILE);
  target.bind();
  gl.readPixels(0, 0, TILE, TILE, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  target.delete();
  return pixels;
}

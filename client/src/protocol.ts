/** Messages between page and program. Made by `python -m layerloom.editor.typescript`; not to be edited. */

/** A new edit, last unless a place in the list is given. */
export interface AddEdit {
  type: "add";
  operation: string;
  placed: PlacedEdit;
  index?: number | null;
}

/** A layer in other colours and stronger or weaker light; what its texture does not hold of the source goes along. hue: degrees; 120 takes red to green. saturation: 0 is grey, 2 twice as colourful. contrast: about middle grey. brightness: what is added. light: how strong the layer's light is, 0 flat, 1 as it is, 2 doubled (in stops). region: an image of the canvas' shape whose alpha, or grey without alpha, says where colours change; None: all over. */
export interface Adjust {
  kind: "adjust";
  layer: string;
  hue?: number;
  saturation?: number;
  brightness?: number;
  contrast?: number;
  light?: number;
  region?: string | null;
}

/** Adjust the part of a layer that is painted on: the painting becomes the region of a new edit. */
export interface AdjustPainted {
  type: "adjust_painted";
  operation: string;
  id: string;
  layer: string;
}

/** Where a picture lies: in pixels of a frame, or in texels of the layer's canvas where `frame` is None. Either x, y (of its middle), height and rotation_degrees (clockwise), or `corners`: upper left, upper right, lower right, lower left. Without a height a picture has its own; a text's height is that of its font, 32 if not given. rigid: in every other frame it stays flat, pinned to where its middle is; otherwise it bends with the surface. */
export interface At {
  x?: number | null;
  y?: number | null;
  frame?: number | null;
  height?: number | null;
  rotation_degrees?: number;
  corners?: [[number, number], [number, number], [number, number], [number, number]] | null;
  rigid?: boolean;
}

/** A still picture, scaled to cover the frame, or a colour in place of the background layer. `Background("sky.png")`, `Background(colour="#3366cc")` or, in short, `Background("#3366cc")`. */
export interface Background {
  kind: "background";
  file?: string | null;
  colour?: string | null;
}

/** A camera path: smooth through keyframes (frames rise), on top of the camera's own or, with `lock`, of that frame's view held still. */
export interface Camera {
  kind: "camera";
  keyframes?: Keyframe[];
  lock?: number | null;
}

/** Stop a long task. */
export interface CancelJob {
  type: "cancel";
  operation: string;
  id: string;
}

/** The view is narrowed about its middle until it shows no place beyond the source's frames that nobody saw. */
export interface Crop {
  kind: "crop";
}

/** A request was carried out, and is on the disk. */
export interface Done {
  type: "done";
  operation: string;
  revision: number;
}

/** A second one of the object, right behind it, placed as Move says. */
export interface Duplicate {
  kind: "duplicate";
  layer: string;
  right?: number;
  down?: number;
  scale?: number;
  rotation_degrees?: number;
}

/** The frame grows by so many pixels on each side. */
export interface Extend {
  kind: "extend";
  left: number;
  top: number;
  right: number;
  bottom: number;
}

/** A request could not be carried out; nothing has changed. message: why, and what is allowed. */
export interface Failed {
  type: "failed";
  operation: string;
  message: string;
}

/** The layer stays as one frame shows it, at that frame's place in the scene. */
export interface Freeze {
  kind: "freeze";
  layer: string;
  frame: number;
}

/** The layer is taken away; what lies behind it shows. Without the background there is black. */
export interface Hide {
  kind: "hide";
  layer: string;
}

/** A sign of life of a long task. done: its share, in [0, 1]. result: an address to fetch, once it has ended. */
export interface Job {
  type: "job";
  id: string;
  kind: "export" | "learn" | "select";
  stage: string;
  done: number;
  state: "cancelled" | "ended" | "failed" | "running";
  psnr_db?: number | null;
  message?: string | null;
  result?: string | null;
}

/** Where the camera has moved to by a frame. x, y: pixels to the right and down. zoom: 2 shows things twice as large. rotation: degrees turned clockwise. */
export interface Keyframe {
  frame: number;
  x?: number;
  y?: number;
  zoom?: number;
  rotation?: number;
}

/** What the page draws of a layer beside its texture. patch: changes when the patch does; moving: by frame. adjustment: what is added to luma's factor, to chroma's (real, imaginary) and to the colour, all over. light: the power of its light. region: changes when the adjustment by texel does; 0 where it is the same all over. */
export interface LayerState {
  layer: string;
  patch: number;
  moving: boolean;
  hidden: boolean;
  adjustment: [number, number, number, number];
  light: number;
  region: number;
}

/** The object's shadow stays where it was when the object is moved, and a second one of the object casts none. */
export interface LeaveShadow {
  kind: "leave_shadow";
  layer: string;
}

/** The object stands elsewhere in the scene, scaled and turned clockwise about its own middle. So does its shadow. right, down: pixels of the project's first frame; from there the camera's motion carries the object along. */
export interface Move {
  kind: "move";
  layer: string;
  right?: number;
  down?: number;
  scale?: number;
  rotation_degrees?: number;
}

/** An RGBA image, or a video, laid over the layer's canvas; any size of the canvas' shape. */
export interface Overlay {
  kind: "overlay";
  layer: string;
  file: string;
  blend?: "add" | "multiply" | "normal" | "screen";
  ends?: "hold" | "loop";
}

/** An RGBA image of frame size, painted on what is seen in that frame (the source's frames, from 0). */
export interface Paint {
  kind: "paint";
  frame: number;
  file: string;
  blend?: "add" | "multiply" | "normal" | "screen";
}

/** Tiles of a layer's painting that are new to the page. */
export interface PaintingState {
  layer: string;
  tiles: TileState[];
}

/** Say the place of a picture or of words by its four corners, where they lie now. */
export interface PinCorners {
  type: "pin";
  operation: string;
  id: string;
}

/** A picture or a video placed on a layer. */
export interface Place {
  kind: "place";
  layer: string;
  file: string;
  place: At;
  blend?: "add" | "multiply" | "normal" | "screen";
  ends?: "hold" | "loop";
}

/** An edit in the list, and the name that stays with it while it changes. Hidden ones count for nothing. */
export interface PlacedEdit {
  id: string;
  edit: Texture | Overlay | Paint | Place | Text | Adjust | Hide | Background | Move | Duplicate | Unshadow | LeaveShadow | Freeze | Reverse | Stabilize | Speed | Scale | Camera | Extend | Crop | Unseen;
  enabled?: boolean;
}

/** Show an edit as it would be, while it is dragged: nothing is kept. Without an edit, as it is. */
export interface PreviewEdit {
  type: "preview";
  operation: string;
  placed?: PlacedEdit | null;
}

/** Make it again. */
export interface Redo {
  type: "redo";
  operation: string;
}

/** Take an edit out of the list. */
export interface RemoveEdit {
  type: "remove";
  operation: string;
  id: string;
}

/** Another place in the list. */
export interface ReorderEdit {
  type: "reorder";
  operation: string;
  id: string;
  index: number;
}

/** Another value for an edit. */
export interface ReplaceEdit {
  type: "replace";
  operation: string;
  placed: PlacedEdit;
}

/** The layer runs backwards, from the last rendered frame to the first. */
export interface Reverse {
  kind: "reverse";
  layer: string;
}

/** The output's frames are so many times as large each way. */
export interface Scale {
  kind: "scale";
  factor: number;
}

/** The shot runs so many times as fast: at 0.5 it has twice the frames, at 2 half of them. */
export interface Speed {
  kind: "speed";
  factor: number;
}

/** The layer is held in the frame. Strength 1 locks it as in the middle frame; less takes its shake away alone. Below 1 its path is smoothed over strength / (1 − strength) / 2 seconds. */
export interface Stabilize {
  kind: "stabilize";
  layer: string;
  strength?: number;
}

/** Write the edited film as a video, or the layers for other programs. */
export interface StartExport {
  type: "export";
  operation: string;
  kind?: "layers" | "video";
  codec?: "ffv1" | "h264" | "hevc" | "prores" | "prores4444" | "vp9";
}

/** Where the session stands: sent when a page connects, and to all pages after every change. server_draws: why the page cannot draw this by itself; empty if it can. frames: of the output. backdrop: changes when the new background does; 0 for none. */
export interface State {
  type: "state";
  revision: number;
  edits: PlacedEdit[];
  layers: LayerState[];
  paintings: PaintingState[];
  can_undo: boolean;
  can_redo: boolean;
  server_draws: string;
  frames: number;
  backdrop: number;
}

/** Words placed on a layer, in one colour `#rrggbb`. font: a font file; None: a plain sans serif. */
export interface Text {
  kind: "text";
  layer: string;
  text: string;
  place: At;
  colour?: string;
  font?: string | null;
  blend?: "add" | "multiply" | "normal" | "screen";
}

/** An edited copy of the layer's exported texture; any size of its shape. It acts where it differs. */
export interface Texture {
  kind: "texture";
  layer: string;
  file: string;
}

/** A tile of a painting; without a hash it is empty. */
export interface TileState {
  column: number;
  row: number;
  hash: string | null;
}

/** Take the last change back. */
export interface Undo {
  type: "undo";
  operation: string;
}

/** What shows where no frame saw the background: `transparent`, or a colour `#rrggbb`. Else it is guessed. */
export interface Unseen {
  kind: "unseen";
  content: string;
}

/** The background around the object has the light of the times when the object is elsewhere: no shadow of it stays where the object is taken away, moved, or shown at another time. */
export interface Unshadow {
  kind: "unshadow";
  layer: string;
}

export type Request = AddEdit | AdjustPainted | CancelJob | PinCorners | PreviewEdit | Redo | RemoveEdit | ReorderEdit | ReplaceEdit | StartExport | Undo;

export type Answer = Done | Failed | Job | State;

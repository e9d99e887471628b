/** Messages between page and program. Made by `python -m layerloom.editor.typescript`; not to be edited. */

/** Something is known of an object in a frame; one of a new name is made. A box takes the place of the frame's box; absent, and what says where the object is, take each other's place. */
export interface AddHint {
  type: "hint";
  operation: string;
  object: string;
  hint: PageHint;
}

/** A request was carried out, and is on the disk. */
export interface Done {
  type: "done";
  operation: string;
  revision: number;
}

/** A request could not be carried out; nothing has changed. message: why, and what is allowed. */
export interface Failed {
  type: "failed";
  operation: string;
  message: string;
}

/** Look for what moves against the camera; what is found joins the objects. */
export interface FindObjects {
  type: "find";
  operation: string;
}

/** What the program does with the footage. done: the share of it, in [0, 1]. */
export interface Following {
  type: "following";
  stage: "failed" | "finding" | "followed" | "following" | "motion" | "reading" | "ready";
  done: number;
  revision: number;
  message?: string;
}

/** Take all hints of an object in a frame away; with the last place of an object it goes, too. */
export interface ForgetHints {
  type: "forget";
  operation: string;
  object: string;
  frame: number;
}

/** Begin to learn the layers, as soon as the objects are followed to the end; or go on after a stop. */
export interface Learn {
  type: "learn";
  operation: string;
  quality?: "draft" | "fine" | "standard";
  resume?: boolean;
}

/** Where learning stands. looks: changes whenever there are new pictures of what is being learned. can_resume: whether something was learned of the objects as they are now, from which learning can go on. */
export interface Learning {
  type: "learning";
  state: "ended" | "failed" | "idle" | "running" | "stopped" | "stopping" | "waiting";
  stage?: string;
  done?: number;
  seconds_left?: number | null;
  psnr_db?: number | null;
  message?: string;
  can_resume?: boolean;
  looks?: number;
  layers?: string[];
}

/** A mask that can be fetched. version: changes with it. revision: of the selection that it follows from. */
export interface MaskPlace {
  object: string;
  frame: number;
  version: number;
  revision: number;
}

/** Masks that are new. */
export interface Masks {
  type: "masks";
  masks: MaskPlace[];
}

/** An object and what is known of it. */
export interface ObjectState {
  name: string;
  hints: PageHint[];
}

/** Where the selection stands: sent when a page connects, and to all pages after every change. */
export interface Objects {
  type: "objects";
  revision: number;
  objects: ObjectState[];
  can_undo: boolean;
  can_redo: boolean;
}

/** The project is there: the page, loaded again, is its editor. */
export interface Opened {
  type: "opened";
}

/** A hint as the page gives it: a hint's fields but for a mask, whose file no page may name. Frames are the source's, places its pixels. mask: whether the program keeps a whole mask here; not for the page. */
export interface PageHint {
  frame: number;
  box?: [number, number, number, number] | null;
  include?: ([number, number])[];
  exclude?: ([number, number])[];
  radius?: number;
  absent?: boolean;
  mask?: boolean;
}

/** Make it again. */
export interface Redo {
  type: "redo";
  operation: string;
}

/** Take an object away. */
export interface RemoveObject {
  type: "remove";
  operation: string;
  object: string;
}

/** Another name for an object. */
export interface RenameObject {
  type: "rename";
  operation: string;
  object: string;
  name: string;
}

/** Another place among the objects, from front to back. */
export interface ReorderObject {
  type: "reorder";
  operation: string;
  object: string;
  index: number;
}

/** Stop learning; what was learned is kept. */
export interface StopLearning {
  type: "stop";
  operation: string;
}

/** Take the last change back. */
export interface Undo {
  type: "undo";
  operation: string;
}

export type Request = AddHint | FindObjects | ForgetHints | Learn | Redo | RemoveObject | RenameObject | ReorderObject | StopLearning | Undo;

export type Answer = Done | Failed | Following | Learning | Masks | Objects | Opened;

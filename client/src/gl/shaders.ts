/**
 * What a frame is, as `render/reference.py` defines it for ordinary frames, in passes:
 *
 * adjust    for each layer whose colours or light are adjusted: T' and R', which take the place of T and R below
 * layer     for each layer, added up: E = Σ seen R T, and Σ seen of replaced layers; K = Σ kept R' T'; D = Σ kept R' c; O = Σ kept a;
 *           and beside K, D and O: F = Σ seen f, what adjustments change of luma and chroma (real, imaginary)
 * finish    e = source − E, changed by F;  picture = (1 − O) (1 − replaced) e + K + D
 *
 * Rows are the frame's from the top, so a pixel's centre is gl_FragCoord itself; only what shows pictures on the page
 * turns them over.
 */

const MAPPING = `
uniform highp usampler2D nodes;
uniform vec3 affine_u, affine_v;
uniform vec2 low, steps, frame_size, canvas;

vec2 offset_at(ivec2 node) { return low + steps * vec2(texelFetch(nodes, node, 0).rg); }

/** The texel under a point of the frame, and the map's derivative: columns by x and by y. */
vec2 uv_of(vec2 p, out mat2 jacobian) {
  vec2 last = vec2(textureSize(nodes, 0)) - 1.0;
  vec2 per = last / frame_size;
  vec2 inside = step(vec2(0.0), p) * step(p, frame_size);
  vec2 at = clamp(p * per, vec2(0.0), last);
  vec2 corner = min(floor(at), last - 1.0);
  vec2 f = at - corner;
  ivec2 c = ivec2(corner);
  vec2 a = offset_at(c), b = offset_at(c + ivec2(1, 0)), d = offset_at(c + ivec2(0, 1)), e = offset_at(c + ivec2(1, 1));
  vec2 upper = mix(a, b, f.x), lower = mix(d, e, f.x);
  vec2 slope_x = mix(b - a, e - d, f.y) * per.x * inside.x, slope_y = (lower - upper) * per.y * inside.y;
  jacobian = mat2(vec2(affine_u.x, affine_v.x) + slope_x, vec2(affine_u.y, affine_v.y) + slope_y);
  vec3 q = vec3(p, 1.0);
  return vec2(dot(affine_u, q), dot(affine_v, q)) + mix(upper, lower, f.y);
}`;

const LIGHT = `
uniform highp sampler2D light;
vec3 light_at(vec2 uv) {
  vec2 count = vec2(textureSize(light, 0));
  return texture(light, (clamp(uv / canvas, 0.0, 1.0) * (count - 1.0) + 0.5) / count).rgb;
}`;

const COLOURS = `
/** What an adjustment changes of a colour but for what it adds: see compose/adjust.py. */
vec3 change_of(vec3 f, vec3 colour) {
  const vec3 weights = vec3(0.2126, 0.7152, 0.0722);
  float luma = dot(weights, colour);
  vec3 chroma = colour - luma;
  vec3 turned = (chroma.brg - chroma.gbr) * inversesqrt(3.0);
  return f.x * luma + f.y * chroma + f.z * (turned - dot(weights, turned));
}`;

const FILTERED = `
/** An image over what a pixel covers of its canvas: the ellipse that the derivative makes of the pixel. */
vec4 filtered(highp sampler2D image, vec2 position, mat2 j) {
  vec2 size = vec2(textureSize(image, 0));
  vec2 first = j[0], second = j[1];
  float xx = first.x * first.x + second.x * second.x;
  float xy = first.x * first.y + second.x * second.y;
  float yy = first.y * first.y + second.y * second.y;
  float mean = 0.5 * (xx + yy), difference = 0.5 * (xx - yy);
  float root = length(vec2(difference, xy));
  float wide = sqrt(mean + root), narrow = sqrt(max(mean - root, 0.0));
  float probes = clamp(floor(wide / max(narrow, 1.75) + 0.5), 1.0, 8.0);
  vec2 axis = difference >= 0.0 ? vec2(root + difference, xy) : vec2(xy, root - difference);
  axis *= wide / max(length(axis), 1e-20);
  float covered = max(wide / probes, narrow);
  float level = max(min(log2(max(covered / 1.75, 1.0)), (covered - 2.6) / (2.0 * 1.75 - 2.6)), 0.0);
  vec4 total = vec4(0.0);
  for (float probe = 0.0; probe < 8.0; probe += 1.0) {
    if (probe >= probes) break;
    total += textureLod(image, (position + axis * ((probe + 0.5) / probes - 0.5)) / size, level);
  }
  return total / probes;
}`;

const SHARES = `
uniform highp sampler2DArray alphas;
uniform int layer, objects;
uniform int hidden_mask;

float own_alpha(int number, vec2 p) {
  if (number >= objects) return 1.0;
  if (any(lessThan(p, vec2(0.0))) || any(greaterThan(p, frame_size))) return 0.0;
  return texture(alphas, vec3(p / frame_size, float(number))).r;
}

/** The layer's share of a pixel with all layers, and without the hidden ones. */
vec2 shares(vec2 p) {
  vec2 left = vec2(1.0);
  for (int front = 0; front < 32; front++) {
    if (front >= layer) break;
    float own = own_alpha(front, p);
    left *= 1.0 - vec2(own, (hidden_mask >> front & 1) == 1 ? 0.0 : own);
  }
  float own = own_alpha(layer, p);
  return left * vec2(own, (hidden_mask >> layer & 1) == 1 ? 0.0 : own);
}`;

const HEAD = `#version 300 es
precision highp float;
precision highp int;
`;

export const LAYER_FRAGMENT = `${HEAD}
${MAPPING}
${LIGHT}
${LIGHT.replaceAll("light", "stored_light")}
${FILTERED}
${SHARES}
uniform highp sampler2D texels, patch_change, patch_opacity, painting, backdrop;
uniform vec2 patch_corner;
uniform vec2 pixels_per_output;
uniform bool has_patch, has_opacities, has_painting, is_replaced, has_backdrop, is_adjusted, has_field;
uniform highp sampler2D stored_texels, field;
uniform vec4 adjustment;
layout(location = 0) out vec4 explained;
layout(location = 1) out vec4 kept_content;
layout(location = 2) out vec4 changed;
layout(location = 3) out vec4 taken;

void main() {
  vec2 p = gl_FragCoord.xy * pixels_per_output;
  vec2 share = shares(p);
  if (max(share.x, share.y) == 0.0) discard;
  mat2 jacobian;
  vec2 uv = uv_of(p, jacobian);
  vec3 lit = light_at(uv);
  vec2 size = vec2(textureSize(texels, 0));
  vec3 shown = textureLod(texels, uv / size, 0.0).rgb;
  vec3 stored = lit * shown;
  vec4 f = vec4(0.0);
  if (is_adjusted) {
    stored = stored_light_at(uv) * textureLod(stored_texels, uv / size, 0.0).rgb;
    f = has_field ? textureLod(field, uv / size, 0.0) : adjustment;
  }
  explained = vec4(share.x * stored, is_replaced ? share.x : 0.0);
  vec3 content = has_backdrop ? texture(backdrop, p / frame_size).rgb : lit * shown;
  kept_content = vec4(share.y * content, share.x * f.x);
  vec3 change = vec3(0.0), opacity = vec3(0.0);
  if (has_patch) {
    vec4 found = filtered(patch_change, uv - patch_corner, jacobian);
    opacity = found.aaa;
    if (has_opacities) opacity = filtered(patch_opacity, uv - patch_corner, jacobian).rgb;
    change = found.rgb;
    if (opacity != vec3(0.0)) change += opacity * (filtered(texels, uv, jacobian).rgb - shown);
  }
  if (has_painting) {
    vec4 paint = filtered(painting, uv, jacobian);
    change = change * (1.0 - paint.a) + paint.rgb - paint.a * shown;
    opacity = 1.0 - (1.0 - opacity) * (1.0 - paint.a);
  }
  changed = vec4(share.y * lit * change, share.x * f.y);
  taken = vec4(share.y * opacity, share.x * f.z);
}`;

export const FINISH_FRAGMENT = `${HEAD}
${COLOURS}
uniform highp sampler2D source, explained, kept_content, changed, taken;
uniform bool has_source;
out vec4 picture;

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec2 place = gl_FragCoord.xy / vec2(textureSize(explained, 0));
  vec4 sum = texelFetch(explained, at, 0);
  vec4 kept = texelFetch(kept_content, at, 0), change = texelFetch(changed, at, 0), opacity = texelFetch(taken, at, 0);
  vec3 residual = has_source ? texture(source, place).rgb - sum.rgb : vec3(0.0);
  vec3 f = vec3(kept.a, change.a, opacity.a);
  if (f != vec3(0.0)) residual += change_of(f, residual);
  vec3 colour = (1.0 - opacity.rgb) * (1.0 - sum.a) * residual + kept.rgb + change.rgb;
  picture = vec4(clamp(colour, 0.0, 1.0), 1.0);
}`;

/** A layer's texture in other colours, or its grid of light, stronger or weaker. */
export const ADJUST_FRAGMENT = `${HEAD}
${COLOURS}
uniform highp sampler2D image, field;
uniform vec4 adjustment;
uniform float strength;
uniform bool has_field;
out vec4 adjusted;

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec4 found = texelFetch(image, at, 0);
  vec4 f = has_field ? texelFetch(field, at, 0) : adjustment;
  adjusted = vec4(found.rgb + change_of(f.xyz, found.rgb) + f.w, found.a);
  if (strength == 0.0) adjusted.rgb = vec3(1.0);
  else if (strength != 1.0) adjusted.rgb = pow(max(found.rgb, 0.0), vec3(strength));
}`;

/** One layer looked at: mode 0 its matte, 1 a checkerboard on its canvas, 2 its light. */
export const LOOK_FRAGMENT = `${HEAD}
${MAPPING}
${LIGHT}
${SHARES}
uniform vec2 pixels_per_output;
uniform int mode;
out vec4 picture;

void main() {
  vec2 p = gl_FragCoord.xy * pixels_per_output;
  float share = shares(p).x;
  mat2 jacobian;
  vec2 uv = uv_of(p, jacobian);
  if (mode == 0) { picture = vec4(vec3(share), 1.0); return; }
  if (mode == 2) { picture = vec4(mix(vec3(0.13), light_at(uv) * 0.5, share), 1.0); return; }
  vec2 cell = floor(uv / 24.0);
  float dark = mod(cell.x + cell.y, 2.0);
  vec2 big = floor(uv / 96.0);
  vec3 tint = vec3(fract(big.x * 0.37 + 0.2), fract(big.y * 0.29 + 0.5), fract((big.x + big.y) * 0.17 + 0.7));
  picture = vec4(mix(vec3(0.13), mix(vec3(0.92), 0.35 + 0.4 * tint, dark), share), 1.0);
}`;

/** Shows a picture in a part of the page: zoomed and moved, between two pictures where there is a wipe. */
export const SHOW_FRAGMENT = `${HEAD}
uniform highp sampler2D left_picture, right_picture;
uniform vec2 pane_corner, pane_size, origin, size;
uniform float zoom, wipe;
out vec4 colour;

void main() {
  vec2 on_page = vec2(gl_FragCoord.x - pane_corner.x, pane_corner.y + pane_size.y - gl_FragCoord.y);
  vec2 at = (on_page - origin) / zoom;
  if (any(lessThan(at, vec2(0.0))) || any(greaterThanEqual(at, size))) { colour = vec4(0.082, 0.086, 0.094, 1.0); return; }
  bool left = at.x < wipe * size.x;
  vec2 place = at / size;
  vec3 shown = left ? texture(left_picture, place).rgb : texture(right_picture, place).rgb;
  if (wipe > 0.0 && wipe < 1.0 && abs(at.x - wipe * size.x) * zoom < 1.0) shown = vec3(1.0);
  colour = vec4(shown, 1.0);
}`;

/** A layer's canvas: its texture with patch and painting, and what no frame saw hatched. */
export const CANVAS_FRAGMENT = `${HEAD}
uniform highp sampler2D texels, patch_change, patch_opacity, painting;
uniform vec2 patch_corner, patch_size, pane_corner, pane_size, origin, size;
uniform float zoom;
uniform bool has_patch, has_opacities, has_painting, marks_unseen;
out vec4 colour;

void main() {
  vec2 on_page = vec2(gl_FragCoord.x - pane_corner.x, pane_corner.y + pane_size.y - gl_FragCoord.y);
  vec2 uv = (on_page - origin) / zoom;
  if (any(lessThan(uv, vec2(0.0))) || any(greaterThanEqual(uv, size))) { colour = vec4(0.082, 0.086, 0.094, 1.0); return; }
  vec4 texel = texture(texels, uv / size);
  vec3 shown = texel.rgb;
  float seen = texel.a;
  if (has_patch) {
    vec2 at = (uv - patch_corner) / patch_size;
    if (all(greaterThanEqual(at, vec2(0.0))) && all(lessThanEqual(at, vec2(1.0)))) shown += texture(patch_change, at).rgb;
  }
  if (has_painting) {
    vec4 paint = texture(painting, uv / size);
    shown = shown * (1.0 - paint.a) + paint.rgb;
  }
  if (marks_unseen && seen < 0.5) {
    float stripe = step(0.5, fract((on_page.x + on_page.y) / 12.0));
    shown = mix(shown, vec3(0.16 + 0.06 * stripe), 0.75);
  }
  colour = vec4(clamp(shown, 0.0, 1.0), 1.0);
}`;

/** A canvas with its painting, texel by texel. */
export const FLAT_FRAGMENT = `${HEAD}
uniform highp sampler2D texels, painting;
out vec4 colour;
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec4 paint = textureSize(painting, 0) == textureSize(texels, 0) ? texelFetch(painting, at, 0) : vec4(0.0);
  colour = vec4(texelFetch(texels, at, 0).rgb * (1.0 - paint.a) + paint.rgb, 1.0);
}`;

/** A dab of a brush, in the canvas' texels: what a disk of the frame is there. Laid on by the greatest value. */
export const DAB_VERTEX = `#version 300 es
uniform vec2 centre, size;
uniform vec4 jacobian;
uniform float radius;
out vec2 place;
void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0;
  vec2 on_frame = corner * (radius + 1.0);
  place = on_frame;
  vec2 uv = centre + vec2(dot(jacobian.xy, on_frame), dot(jacobian.zw, on_frame));
  gl_Position = vec4(uv / size * 2.0 - 1.0, 0.0, 1.0);
}`;

export const DAB_FRAGMENT = `${HEAD}
in vec2 place;
uniform float radius, hardness, strength;
out vec4 mask;
void main() {
  float far = length(place);
  float soft = max(radius * (1.0 - hardness), 0.75);
  mask = vec4(strength * (1.0 - smoothstep(radius - soft, radius + 0.25, far)));
}`;

/** A stroke laid on a painting: colour in the light of the frame that it was painted on, or taken from elsewhere. */
export const STROKE_FRAGMENT = `${HEAD}
uniform highp sampler2D before, mask, clone_texels, clone_painting;
uniform vec2 canvas, clone_shift;
uniform vec3 brush_colour;
uniform float opacity;
uniform int kind;
uniform bool divides_light;
${LIGHT.replace("uniform highp sampler2D light;", "uniform highp sampler2D light;")}
out vec4 after;
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  vec4 under = texelFetch(before, at, 0);
  float share = texelFetch(mask, at, 0).r * opacity;
  if (kind == 1) { after = under * (1.0 - share); return; }
  vec3 colour = brush_colour;
  if (kind == 2) {
    vec2 from = (gl_FragCoord.xy + clone_shift) / canvas;
    vec4 over = texture(clone_painting, from);
    colour = texture(clone_texels, from).rgb * (1.0 - over.a) + over.rgb;
  } else if (divides_light) {
    colour = clamp(colour / max(light_at(gl_FragCoord.xy), vec3(1e-3)), 0.0, 1.0);
  }
  after = under * (1.0 - share) + vec4(colour, 1.0) * share;
}`;

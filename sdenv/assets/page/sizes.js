// The sizes that can be asked for, from a model's rule.

const SHAPES = [
  ["Square", 1, 1],
  ["Portrait", 3, 4],
  ["Tall", 9, 16],
  ["Landscape", 4, 3],
  ["Wide", 16, 9],
];

export const OWN = "own";

/** `[value, text]` for each choice; the first leaves the size to the model. */
export function sizeChoices(rule, usual) {
  const choices = [["", usual ? `The model's own, ${label(...usual)}` : "The model's own"]];
  if (rule.native.length) {
    const others = rule.native.filter(([width, height]) => !usual || width !== usual[0] || height !== usual[1]);
    return [...choices, ...others.map((size) => [value(...size), label(...size)])];
  }
  const area = usual ? usual[0] * usual[1] : 512 * 512;
  const seen = new Set(usual ? [value(...usual)] : []);
  for (const [name, across, down] of SHAPES) {
    const unit = Math.sqrt(area / (across * down));
    const size = [nearest(unit * across, rule), nearest(unit * down, rule)];
    if (seen.has(value(...size)) || (rule.max_pixels && size[0] * size[1] > rule.max_pixels)) continue;
    seen.add(value(...size));
    choices.push([value(...size), `${name}, ${label(...size)}`]);
  }
  return [...choices, [OWN, "Other …"]];
}

/** What the rule allows, in words; "" where the list says it all. */
export function sizeHint(rule) {
  if (rule.native.length) return "";
  const steps = rule.multiple_px > 1 ? ` in steps of ${rule.multiple_px}` : "";
  return `${rule.min_px} to ${rule.max_px} px a side${steps}.`;
}

export const value = (width, height) => `${width}x${height}`;

export function parsed(text) {
  return text.split("x").map(Number);
}

function label(width, height) {
  return `${width} × ${height}`;
}

function nearest(side, { min_px, max_px, multiple_px }) {
  const lowest = Math.ceil(min_px / multiple_px);
  const highest = Math.floor(max_px / multiple_px);
  return Math.min(Math.max(Math.round(side / multiple_px), lowest), highest) * multiple_px;
}

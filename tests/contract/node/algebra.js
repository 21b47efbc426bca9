// Expressions and paths, written anew from proto/vectors/README.md: nothing here comes from the Python code.
//
// An expression is a dcgan.v1.Expression in protobuf's JSON form. A form is a Map of weights by seed, and a free vector.

import { draw } from "./seeds.js";

const PARALLEL = 1e-6; // radians

/** Computes the latent of an expression for a model {dim, prior, directions}: a Float32Array. */
export function evaluate(expression, model) {
  const raw = expression.normalization === "NORMALIZATION_RAW";
  const forms = [];
  const values = new Map();
  const zero = () => new Array(model.dim).fill(0);

  function settled(position) {
    if (!values.has(position)) {
      let form = forms[position];
      if (expression.nodes[position].sum && !raw && model.prior === "normal") form = normalized(form);
      values.set(position, { form, value: valueOf(form, model) });
    }
    return values.get(position);
  }

  expression.nodes.forEach((node, position) => {
    if (node.seed) forms.push({ weights: new Map([[JSON.stringify(node.seed), 1]]), free: zero() });
    else if (node.values) forms.push({ weights: new Map(), free: node.values.values });
    else if (node.direction) forms.push({ weights: new Map(), free: model.directions[node.direction] });
    else if (node.sum) forms.push(combined(node.sum.terms.map((t) => [forms[t.node ?? 0], t.weight ?? 1]), zero()));
    else {
      const { start = 0, end = 0, t = 0, curve } = node.mix;
      const [first, second] = [settled(start), settled(end)];
      const [a, b, aside] = way(first.value, second.value, t, isSpherical(curve, model.prior));
      const form = combined([[first.form, a], [second.form, b]], aside);
      forms.push(form);
      values.set(position, { form, value: first.value.map((x, j) => a * x + b * second.value[j] + aside[j]) });
    }
  });
  const last = expression.nodes.length - 1;
  const { value } = settled(last);
  const clips = !raw && model.prior === "uniform";
  return Float32Array.from(value, (x) => (clips ? Math.min(1, Math.max(-1, x)) : x));
}

/** Computes all frames of a path through points, arrays of equal length: Float32Arrays. */
export function frames({ points, frameCount, curve, closed, easing }) {
  const pieces = closed ? points.length : points.length - 1;
  const intervals = Math.max(1, closed ? frameCount : frameCount - 1);
  return Array.from({ length: frameCount }, (_, frame) => {
    let piece = Math.floor((frame * pieces) / intervals);
    let t = ((frame * pieces) % intervals) / intervals;
    if (piece === pieces) [piece, t] = [piece - 1, 1];
    if (easing === "EASING_SMOOTH") t = t * t * (3 - 2 * t);
    const [start, end] = [points[piece], points[(piece + 1) % points.length]];
    const [a, b, aside] = way(start, end, t, isSpherical(curve, "normal"));
    return Float32Array.from(start, (x, j) => a * x + b * end[j] + aside[j]);
  });
}

/** Gives the weights of both ends at t, and what is added to them where the ends are opposite. */
function way(start, end, t, spherical) {
  const nothing = start.map(() => 0);
  const [first, second] = [Math.hypot(...start), Math.hypot(...end)];
  if (!spherical || !(first > 0 && second > 0)) return [1 - t, t, nothing];
  const [unit, other] = [start.map((x) => x / first), end.map((x) => x / second)];
  const apart = Math.hypot(...unit.map((x, j) => x - other[j]));
  const angle = 2 * Math.atan2(apart, Math.hypot(...unit.map((x, j) => x + other[j])));
  if (angle < PARALLEL || t === 0 || t === 1) return [1 - t, t, nothing];
  if (angle > Math.PI - PARALLEL) {
    const length = (1 - t) * first + t * second;
    const across = perpendicular(unit).map((x) => x * length * Math.sin(Math.PI * t));
    return [(Math.cos(Math.PI * t) * length) / first, 0, across];
  }
  return [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle), nothing];
}

function perpendicular(unit) {
  const sizes = unit.map(Math.abs);
  const axis = sizes.indexOf(Math.min(...sizes));
  const across = unit.map((x, j) => (j === axis ? 1 : 0) - unit[axis] * x);
  const length = Math.hypot(...across);
  return across.map((x) => x / length);
}

function combined(terms, free) {
  const sum = { weights: new Map(), free: [...free] };
  for (const [form, factor] of terms) {
    for (const [name, weight] of form.weights) {
      sum.weights.set(name, (sum.weights.get(name) ?? 0) + factor * weight);
    }
    form.free.forEach((x, j) => (sum.free[j] += factor * x));
  }
  return sum;
}

function normalized(form) {
  const norm = Math.hypot(...form.weights.values()) || 1;
  return { weights: new Map([...form.weights].map(([name, weight]) => [name, weight / norm])), free: form.free };
}

function valueOf(form, { dim, prior }) {
  const value = new Array(dim).fill(0);
  for (const [name, weight] of form.weights) {
    const { seed = 0, index = 0, truncation } = JSON.parse(name);
    draw(seed, index, dim, prior, truncation).forEach((x, j) => (value[j] += weight * x));
  }
  return value.map((x, j) => x + form.free[j]);
}

function isSpherical(curve, prior) {
  return curve === "CURVE_SPHERICAL" || (curve !== "CURVE_LINEAR" && prior === "normal");
}

// Latents from names, written anew from section 4 of the architecture: nothing here comes from the Python code.
//
// Sources: Salmon, Moraes, Dror, Shaw, SC 2011 (Philox4x32-10); Wichura, 1988, AS 241 (PPND16).

const LOW_32 = 0xffffffffn;
const LATENT_STREAM = 0n;

/** Runs Philox4x32-10: four counter words and two key words, BigInts below 2^32, to four Numbers. */
export function philox(counter, key) {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const product0 = c0 * 0xd2511f53n;
    const product1 = c2 * 0xcd9e8d57n;
    [c0, c1, c2, c3] = [
      (product1 >> 32n) ^ c1 ^ k0,
      product1 & LOW_32,
      (product0 >> 32n) ^ c3 ^ k1,
      product0 & LOW_32,
    ];
    k0 = (k0 + 0x9e3779b9n) & LOW_32;
    k1 = (k1 + 0xbb67ae85n) & LOW_32;
  }
  return [c0, c1, c2, c3].map(Number);
}

/** Gives the middle of the interval that a word stands for: a double in (0, 1). */
export function uniform(word) {
  return (word + 0.5) / 2 ** 32;
}

/** Draws the latent of (seed, index), both anything that BigInt takes: a Float32Array of `dim` values. */
export function draw(seed, index, dim, prior, truncation) {
  const key = halves(BigInt(seed));
  const [low, high] = halves(BigInt(index));
  const cut = truncation == null ? 0 : lowerTail(truncation);
  const latent = new Float32Array(dim); // storing into it rounds
  for (let block = 0; 4 * block < dim; block++) {
    philox([BigInt(block), LATENT_STREAM, low, high], key).forEach((word, place) => {
      const at = 4 * block + place;
      if (at >= dim) return;
      latent[at] = prior === "uniform" ? 2 * uniform(word) - 1 : inverseNormal(cut + uniform(word) * (1 - 2 * cut));
    });
  }
  return latent;
}

/** Evaluates PPND16 for probabilities that 32-bit words reach; they never need its third branch. */
export function inverseNormal(probability) {
  const q = probability - 0.5;
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q;
    return (q * polynomial(r, CENTRE_ABOVE)) / polynomial(r, CENTRE_BELOW);
  }
  const r = Math.sqrt(-Math.log(q < 0 ? probability : 1 - probability)) - 1.6;
  return (Math.sign(q) * polynomial(r, TAIL_ABOVE)) / polynomial(r, TAIL_BELOW);
}

/** Gives the normal probability below -t, for t from 0 to 8. */
export function lowerTail(t) {
  const density = Math.exp((-t * t) / 2) / Math.sqrt(2 * Math.PI);
  if (t > 3) {
    let fraction = t; // Laplace's continued fraction, from its far end
    for (let k = 200; k >= 1; k--) fraction = t + k / fraction;
    return density / fraction;
  }
  let term = t;
  let sum = t;
  for (let n = 1; term > sum * 1e-17; n++) sum += term *= (t * t) / (2 * n + 1);
  return 0.5 - density * sum;
}

function halves(value) {
  return [value & LOW_32, value >> 32n];
}

function polynomial(x, coefficients) {
  return coefficients.reduce((value, coefficient) => value * x + coefficient);
}

const CENTRE_ABOVE = [
  2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4, 4.5921953931549871457e4,
  1.3731693765509461125e4, 1.9715909503065514427e3, 1.3314166789178437745e2, 3.387132872796366608,
];
const CENTRE_BELOW = [
  5.226495278852854561e3, 2.8729085735721942674e4, 3.9307895800092710610e4, 2.1213794301586595867e4,
  5.3941960214247511077e3, 6.8718700749205790830e2, 4.2313330701600911252e1, 1,
];
const TAIL_ABOVE = [
  7.7454501427834140764e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1, 1.27045825245236838258,
  3.64784832476320460504, 5.76949722146069140550, 4.63033784615654529590, 1.42343711074968357734,
];
const TAIL_BELOW = [
  1.05075007164441684324e-9, 5.475938084995344946e-4, 1.51986665636164571966e-2, 1.48103976427480074590e-1,
  6.89767334985100004550e-1, 1.67638483018380384940, 2.05319162663775882187, 1,
];

// The vectors, and a real server, against latents that are computed here.
//
// DCGAN_PROTO is the repository's proto folder, DCGAN_TARGET the address of a server whose prior is normal.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test, { after } from "node:test";
import { evaluate, frames } from "./algebra.js";
import { batch, Client, floats } from "./client.js";
import { draw, inverseNormal, philox, uniform } from "./seeds.js";

const { DCGAN_PROTO, DCGAN_TARGET } = process.env;
const MOST_ULP = 2;
const TOP = "18446744073709551615";

const client = new Client(DCGAN_TARGET, DCGAN_PROTO);
after(() => client.close());

function vectors(name) {
  return JSON.parse(readFileSync(join(DCGAN_PROTO, "vectors", name), "utf8"));
}

/** Numbers float32 values in their order, so that neighbours are 1 apart. */
function ordinal(value) {
  const bits = new Int32Array(Float32Array.of(value).buffer)[0];
  return bits < 0 ? -(bits & 0x7fffffff) : bits;
}

function assertNear(found, expected, what) {
  assert.equal(found.length, expected.length, what);
  const apart = Math.max(...Array.from(expected, (value, j) => Math.abs(ordinal(found[j]) - ordinal(value))));
  assert.ok(apart <= MOST_ULP, `${what}: ${apart} ulp apart`);
}

test("Philox gives the words of the vectors", () => {
  for (const { key, counter, words } of vectors("seeds.json").philox4x32_10) {
    assert.deepEqual(philox(counter.map(BigInt), key.map(BigInt)), words);
  }
});

test("the inverse normal CDF is exact in float32, for the delicate words too", () => {
  for (const { word, float32 } of vectors("seeds.json").normal_of_word) {
    assert.equal(Math.fround(inverseNormal(uniform(word))), float32, `word ${word}`);
  }
});

test("seeds give the latents of the vectors: exactly, or within 2 ulp where truncated", () => {
  for (const { seed, index, prior, dim, truncation, float32 } of vectors("seeds.json").latents) {
    const latent = draw(seed, index, dim, prior, truncation);
    if (truncation === null) assert.deepEqual([...latent], float32);
    else assertNear(latent, float32, `${seed}/${index}`);
  }
});

test("expressions give the latents of the vectors within 2 ulp", () => {
  const { dim, directions, cases } = vectors("expressions.json");
  for (const { name, prior, expression, float32 } of cases) {
    assertNear(evaluate(expression, { dim, prior, directions }), float32, `${name}, ${prior}`);
  }
});

test("paths give the frames of the vectors within 2 ulp", () => {
  for (const path of vectors("paths.json").cases) {
    frames(path).forEach((frame, at) => assertNear(frame, path.float32[at], `${path.curve}, frame ${at}`));
  }
});

for (const [seed, firstIndex] of [["7", "0"], ["0", "4294967294"], [TOP, "18446744073709551600"]]) {
  test(`the server draws seed ${seed} from index ${firstIndex} as it is drawn here`, async () => {
    const { latentDim: dim } = await client.model();
    const named = await client.sample({ seeds: { seed, firstIndex, count: 5 } });
    const own = batch(Array.from({ length: 5 }, (_, at) => draw(seed, BigInt(firstIndex) + BigInt(at), dim, "normal")));
    assert.deepEqual(named.latents.values, own.values);
    assert.equal(named.seed, seed);
    const given = await client.sample({ latents: own });
    assert.deepEqual(given.images.raw, named.images.raw);
    const { count, height, width, channels } = named.images;
    assert.equal(named.images.raw.length, count * height * width * channels);
    assert.ok(new Set(named.images.raw).size > 10, "the images show something");
  });
}

test("the server truncates as it is done here", async () => {
  const { latentDim: dim } = await client.model();
  for (const truncation of [0.01, 0.7, 3.5, 8]) {
    const answer = await client.sample({ seeds: { seed: "3", count: 2, truncation } });
    floats(answer.latents).forEach((latent, at) =>
      assertNear(latent, draw(3, at, dim, "normal", truncation), `truncation ${truncation}`),
    );
  }
});

test("the server evaluates a formula and walks a path as it is done here", async () => {
  const { latentDim: dim } = await client.model();
  const nodes = [
    { seed: { seed: TOP, index: "1" } },
    { seed: { seed: "2" } },
    { mix: { start: 0, end: 1, t: 0.25 } },
    { sum: { terms: [{ node: 2, weight: 2 }, { node: 1, weight: -1 }] } },
  ];
  const expressions = [{ nodes }, { nodes: nodes.slice(0, 3) }];
  const answer = await client.sample({ expressions: { expressions } });
  const own = expressions.map((expression) => evaluate(expression, { dim, prior: "normal", directions: {} }));
  floats(answer.latents).forEach((latent, at) => assertNear(latent, own[at], `expression ${at}`));

  const path = { frameCount: 40, curve: "CURVE_SPHERICAL", closed: true, easing: "EASING_SMOOTH" };
  const found = await client.interpolate({ points: expressions, ...path });
  frames({ points: own.map((latent) => [...latent]), ...path }).forEach((frame, at) =>
    assertNear(found[at], frame, `frame ${at}`),
  );
});

test("a wrong request is refused with its reason", async () => {
  await assert.rejects(client.sample({ latents: { count: 1, dim: 1, values: Buffer.alloc(4) } }), (error) => {
    assert.equal(error.code, 3); // INVALID_ARGUMENT
    assert.match(error.details, /latents\.dim/);
    return error.metadata.get("grpc-status-details-bin").length === 1;
  });
});

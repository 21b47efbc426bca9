// A client of the API as any project in Node would make it: the proto is read when the program starts.

import { join } from "node:path";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const TIMEOUT_MS = 30_000;

/** Connects to `target`; `protos` is the folder that holds dcgan/v1/dcgan.proto. */
export class Client {
  constructor(target, protos) {
    const options = { includeDirs: [protos], longs: String, enums: String, defaults: true, oneofs: true };
    const definition = loader.loadSync(join("dcgan", "v1", "dcgan.proto"), options);
    const { GeneratorService } = grpc.loadPackageDefinition(definition).dcgan.v1;
    this.stub = new GeneratorService(target, grpc.credentials.createInsecure());
  }

  model() {
    return this.#call("getModel", {});
  }

  sample(request) {
    return this.#call("sample", { format: "FORMAT_RAW", includeLatents: true, ...request });
  }

  /** Walks a path and gives the latents of all frames. */
  async interpolate(request) {
    const chunks = [];
    const call = this.stub.interpolate({ format: "FORMAT_RAW", includeLatents: true, ...request }, this.#options());
    for await (const answer of call) chunks.push(...floats(answer.latents));
    return chunks;
  }

  close() {
    this.stub.close();
  }

  #options() {
    return { deadline: Date.now() + TIMEOUT_MS };
  }

  #call(method, request) {
    return new Promise((resolve, reject) => {
      this.stub[method](request, this.#options(), (error, answer) => (error ? reject(error) : resolve(answer)));
    });
  }
}

/** Packs latents, Float32Arrays of one length, into a LatentBatch. */
export function batch(latents) {
  const values = Buffer.alloc(4 * latents.length * latents[0].length);
  latents.flatMap((latent) => [...latent]).forEach((value, at) => values.writeFloatLE(value, 4 * at));
  return { count: latents.length, dim: latents[0].length, values };
}

/** Unpacks a LatentBatch into Float32Arrays. */
export function floats({ count, dim, values }) {
  return Array.from({ length: count }, (_, row) =>
    Float32Array.from({ length: dim }, (_, at) => values.readFloatLE(4 * (row * dim + at))),
  );
}

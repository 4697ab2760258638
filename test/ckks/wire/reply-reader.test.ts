import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Client } from '../../../src/ckks/client.ts';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { packBits } from '../../../src/ckks/ring/bit-packing.ts';
import { multiplyMod } from '../../../src/ckks/ring/modular.ts';
import { PeriodicEncoder, periodicCoefficients } from '../../../src/ckks/ring/periodic-encoder.ts';
import { bitLength } from '../../../src/ckks/ring/primes.ts';
import type { SecretKey } from '../../../src/ckks/secret/secret-key.ts';
import { type EvaluationKeys, Server } from '../../../src/ckks/server.ts';
import { concat, readContainer, writeContainer } from '../../../src/ckks/wire/container.ts';
import { bodySizes } from '../../../src/ckks/wire/file-sizes.ts';
import { requestDigest } from '../../../src/ckks/wire/reply.ts';
import {
  MAP_NOISE,
  type ReplyCiphertext,
  ReplyReader,
  SCORE_NOISE,
} from '../../../src/ckks/wire/reply-reader.ts';
import { Random } from '../../../src/ecg/random.ts';
import { randomModel } from '../../helpers/random-model.ts';

const SEED = 1;

/** Both roles, one request and its reply, and replies that nobody evaluated. */
class Trip implements Disposable {
  readonly server: Server;
  readonly client: Client;
  readonly secret: SecretKey;
  readonly keys: EvaluationKeys;
  readonly request: Uint8Array;
  readonly reply: Uint8Array;
  readonly random = new Random(SEED);

  private constructor(server: Server, client: Client) {
    this.server = server;
    this.client = client;
    this.secret = client.createSecretKey();
    this.keys = server.loadKeys(concat(client.evaluationKeys(this.secret)));
    this.request = this.encrypt(0);
    this.reply = server.evaluate(this.request, this.keys);
  }

  static async open(classes: number): Promise<Trip> {
    const model = randomModel({ samples: 2048, channels: [4], classes });
    const server = await Server.open(compile(model, { outputs: 'scores+map' }), { threads: 1 });
    return new Trip(server, await Client.open(server.manifest));
  }

  encrypt(k: number): Uint8Array {
    const segment = Float32Array.from({ length: 2048 }, (_, i) => 0.9 * Math.sin(i / (7 + k)));
    return this.client.encrypt(this.secret, segment);
  }

  decrypt(reply: Uint8Array) {
    return this.client.decrypt(this.secret, reply, requestDigest(this.request));
  }

  /** Decrypted by hand, in NTT form. */
  open({ c0, c1 }: ReplyCiphertext): Uint32Array {
    const s = this.secret.residuesFor(this.server.manifest);
    return c0.map((v, i) => (v + multiplyMod(c1[i], s[i], this.q)) % this.q);
  }

  get q(): number {
    return this.server.manifest.parameters.primes[0];
  }

  /** The body of the reply, in its parts: coefficients, the second polynomial, the two of the map. */
  parts(reply = this.reply): Uint8Array[] {
    const { manifest } = this.server;
    const { planHash, parameters } = manifest;
    const { body } = readContainer(reply, 'reply', { planHash, bodyBytes: bodySizes(manifest).reply });
    const size = packBits(new Uint32Array(parameters.n), 0, parameters.n, 1, bitLength(this.q)).length;
    const start = 8 * manifest.reply.group;
    const ends = [0, 1, 2].map((k) => body.slice(start + k * size, start + (k + 1) * size));
    return [body.slice(0, start), ...ends];
  }

  /** A reply of these parts that is right in all but them. */
  write(parts: Uint8Array[]): Uint8Array {
    const { planHash } = this.server.manifest;
    const { keyId } = this.secret;
    const bodyBytes = parts.reduce((sum, part) => sum + part.length, 0);
    const request = requestDigest(this.request);
    return concat(writeContainer('reply', { planHash, keyId, request, bodyBytes }, parts));
  }

  uniform(): number {
    return this.random.below(this.q);
  }

  randomCoefficients(): Uint8Array {
    const { group } = this.server.manifest.reply;
    return new Uint8Array(Uint32Array.from({ length: 2 * group }, () => this.uniform()).buffer);
  }

  randomPolynomial(): Uint8Array {
    const { n } = this.server.manifest.parameters;
    return packBits(
      Uint32Array.from({ length: n }, () => this.uniform()),
      0,
      n,
      1,
      bitLength(this.q),
    );
  }

  [Symbol.dispose](): void {
    this.keys[Symbol.dispose]();
    this.server[Symbol.dispose]();
    this.client[Symbol.dispose]();
  }
}

/** The real parts of 100 slots of a polynomial given by its coefficients. */
function someSlots(residues: Uint32Array, q: number): number[] {
  const n = residues.length;
  const cosines = Float64Array.from({ length: 2 * n }, (_, i) => Math.cos((Math.PI * i) / n));
  const coefficients = Array.from(residues, (v) => (v > q / 2 ? v - q : v));
  return Array.from({ length: 100 }, (_, j) =>
    coefficients.reduce((sum, c, k) => sum + c * cosines[((2 * j + 1) * k) % (2 * n)], 0),
  );
}

const unclassifiable = expect.objectContaining({ code: 'UNCLASSIFIABLE' });
const zeros = (part: Uint8Array) => new Uint8Array(part.length);

describe.each([2, 4])(`a reply for %d classes that nobody evaluated, seed ${SEED}`, (classes) => {
  let trip: Trip;

  beforeAll(async () => {
    trip = await Trip.open(classes);
  });
  afterAll(() => trip[Symbol.dispose]());

  test('when replies are evaluated, then all are read', () => {
    expect(trip.write(trip.parts())).toEqual(trip.reply);
    for (let k = 0; k < 3; k++) {
      const request = trip.encrypt(k);
      const reply = trip.server.evaluate(request, trip.keys);
      const { scores, map } = trip.client.decrypt(trip.secret, reply, requestDigest(request));
      expect([scores.length, map![0].length]).toEqual([classes, classes]);
    }
  });

  test('when the noise of replies is measured, then the limits are more than 50 times as large', () => {
    const { parameters, reply: layout } = trip.server.manifest;
    const reader = new ReplyReader(trip.server.manifest);
    const ntt = new PeriodicEncoder(parameters.n, [trip.q]).transform(parameters.n, 0);
    for (let k = 0; k < 3; k++) {
      const reply = trip.server.evaluate(trip.encrypt(k), trip.keys);
      const { scores, map } = reader.ciphertexts(concat(trip.parts(reply)));
      const { noise } = reader.group(trip.open(scores));
      const size = layout.group + (layout.group - classes);
      expect(noise).toHaveLength(size);
      for (const x of noise) expect(Math.abs(x)).toBeLessThan(SCORE_NOISE / 50);
      // A twice turned polynomial is the polynomial with its sign changed.
      const values = trip.open(map!);
      expect(reader.turned(reader.turned(values))).toEqual(values.map((v) => (trip.q - v) % trip.q));
      const imaginary = reader.turned(values);
      ntt.inverse(imaginary);
      const slots = someSlots(imaginary, trip.q).map((x) => x / layout.scale);
      for (const x of slots) expect(Math.abs(x)).toBeLessThan(MAP_NOISE / 50);
    }
  });

  test('when all of it is zero, then it is refused as not encrypted', () => {
    const read = () => trip.decrypt(trip.write(trip.parts().map(zeros)));
    expect(read).toThrow(expect.objectContaining({ code: 'FORMAT' }));
    expect(read).toThrow(/the reply is not encrypted/);
  });

  test('when scores of its choice are not encrypted, then it is refused', () => {
    const [coefficients, c1, ...map] = trip.parts();
    const { reply } = trip.server.manifest;
    const chosen = periodicCoefficients(Float64Array.from({ length: reply.group }, (_, c) => c)).map((x) =>
      Math.round(x * reply.scale),
    );
    const bytes = new Uint8Array(Uint32Array.from(chosen, (x) => (x < 0 ? x + trip.q : x)).buffer);
    expect(bytes.length).toBe(coefficients.length);
    expect(() => trip.decrypt(trip.write([bytes, zeros(c1), ...map]))).toThrow(/not encrypted/);
  });

  test('when the map alone is not encrypted, then it is refused', () => {
    const [coefficients, c1, m0, m1] = trip.parts();
    expect(() => trip.decrypt(trip.write([coefficients, c1, m0, zeros(m1)]))).toThrow(/not encrypted/);
  });

  // By chance a reply passes with (32 / 16 / (group 512^2))^group: 7.6e-6 with one class, 1e-23 with four.
  test('when its coefficients, or a second polynomial, are random, then no class is named', () => {
    const [coefficients, c1, ...map] = trip.parts();
    for (let k = 0; k < 20; k++) {
      for (const parts of [
        [trip.randomCoefficients(), c1],
        [coefficients, trip.randomPolynomial()],
        [zeros(coefficients), c1],
      ])
        expect(() => trip.decrypt(trip.write([...parts, ...map]))).toThrow(unclassifiable);
    }
  });

  test("when its scores are another reply's by half, then no class is named", () => {
    const other = trip.parts(trip.server.evaluate(trip.encrypt(3), trip.keys));
    const [coefficients, c1, ...map] = trip.parts();
    expect(() => trip.decrypt(trip.write([coefficients, other[1], ...map]))).toThrow(unclassifiable);
    expect(() => trip.decrypt(trip.write([other[0], c1, ...map]))).toThrow(unclassifiable);
  });

  test('when its map is random, then it is refused', () => {
    const [coefficients, c1, m0, m1] = trip.parts();
    for (const map of [
      [trip.randomPolynomial(), m1],
      [m0, trip.randomPolynomial()],
      [zeros(m0), m1],
    ])
      expect(() => trip.decrypt(trip.write([coefficients, c1, ...map]))).toThrow(/the map is beyond/);
  });

  test('when a residue is not below the prime, then it is damaged', () => {
    const [coefficients, ...rest] = trip.parts();
    new DataView(coefficients.buffer).setUint32(0, trip.q, true);
    expect(() => trip.decrypt(trip.write([coefficients, ...rest]))).toThrow(/a residue is not below/);
  });

  test('when replies are refused, then SEAL holds nothing of them', () => {
    const before = trip.client.liveHandles;
    const [coefficients, c1, ...map] = trip.parts();
    expect(() => trip.decrypt(trip.write([trip.randomCoefficients(), c1, ...map]))).toThrow();
    expect(() => trip.decrypt(trip.write([coefficients, c1, trip.randomPolynomial(), map[1]]))).toThrow();
    expect(trip.client.liveHandles).toBe(before);
  });
});

describe('decrypted scores', () => {
  const { manifest } = compile(randomModel({ samples: 2048, channels: [4], classes: 3 })).plan;
  const { parameters, reply, scoreLimit } = manifest;
  const { n, primes } = parameters;
  const reader = new ReplyReader(manifest);
  const ntt = new PeriodicEncoder(n, [primes[0]]).transform(n, 0);

  /** Reads slots as they are decrypted; slot j has class (j + offset) mod 4, the fourth is no class. */
  function read(real: number[], imaginary = [0, 0, 0, 0]): number[] {
    const turn = (values: number[]) =>
      Float64Array.from(values, (_, j) => values[(j + reply.offset) % reply.group]);
    const first = periodicCoefficients(turn(real));
    const second = periodicCoefficients(turn(imaginary));
    const polynomial = new Uint32Array(n);
    first.forEach((c, k) => {
      const turned = k < 4 ? -second[k + 4] : second[k - 4];
      const value = Math.round((c + turned) * reply.scale);
      polynomial[(k * n) / 8] = value < 0 ? value + primes[0] : value;
    });
    ntt.forward(polynomial);
    return reader.scores(polynomial);
  }

  test('when they are within the limits, then they are read', () => {
    const scores = read([1, -2, 3, 1e-4], [1e-3, -1e-3, 0, 1e-4]);
    for (const [c, score] of [1, -2, 3].entries()) expect(scores[c]).toBeCloseTo(score, 5);
    expect(read([1, 1, 1.001, 0])[2]).toBeCloseTo(1.001, 5);
    expect(read([-scoreLimit + 1e-3, scoreLimit - 1e-3, 0, 0])).toHaveLength(3);
  });

  test.each<[string, number[], number[], RegExp]>([
    ['beyond the limit', [1, scoreLimit + 0.01, 3, 0], [], /beyond the limit of 32/],
    ['below the limit', [1, 2, -scoreLimit - 0.01, 0], [], /beyond the limit of 32/],
    ['all zero', [0, 0, 0, 0], [], /the same to the last digit/],
    ['all the same', [2, 2, 2, 2], [], /the same to the last digit/],
    ['with something in the slot of no class', [1, 2, 3, 0.1], [], /noise around the scores/],
    ['with an imaginary part', [1, 2, 3, 0], [0, 0, 0.1, 0], /noise around the scores/],
    ['with a negative imaginary part', [1, 2, 3, 0], [0, -0.1, 0, 0], /noise around the scores/],
    ['with an imaginary part where no class is', [1, 2, 3, 0], [0, 0, 0, 0.1], /noise around the scores/],
  ])('when they are %s, then no class is named', (_, real, imaginary, words) => {
    const attempt = () => read(real, imaginary.length === 0 ? undefined : imaginary);
    expect(attempt).toThrow(unclassifiable);
    expect(attempt).toThrow(words);
  });
});

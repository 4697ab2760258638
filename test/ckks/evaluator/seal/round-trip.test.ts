import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Client } from '../../../../src/ckks/client.ts';
import { BACKENDS, type BackendName } from '../../../../src/ckks/evaluator/backend.ts';
import { SealBackend, SealEngine } from '../../../../src/ckks/evaluator/seal/backend.ts';
import { compile } from '../../../../src/ckks/planner/compile.ts';
import { plaintextBuffer } from '../../../../src/ckks/seal/bytes.ts';
import { type ClientModule, loadSeal } from '../../../../src/ckks/seal/seal.ts';
import { readSecretKey, type SecretKey, writeSecretKey } from '../../../../src/ckks/secret/secret-key.ts';
import { type EvaluationKeys, Server } from '../../../../src/ckks/server.ts';
import { simulate } from '../../../../src/ckks/simulate.ts';
import { concat } from '../../../../src/ckks/wire/container.ts';
import { parseManifest } from '../../../../src/ckks/wire/manifest.ts';
import { requestDigest } from '../../../../src/ckks/wire/reply.ts';
import { forward } from '../../../../src/model/forward.ts';
import type { Model } from '../../../../src/model/model.ts';
import { randomModel } from '../../../helpers/random-model.ts';

/** One round trip between roles that share nothing but bytes. */
class RoundTrip implements Disposable {
  readonly server: Server;
  readonly client: Client;
  readonly secret: SecretKey;
  readonly evaluationKeys: Uint8Array;
  readonly keys: EvaluationKeys;

  private constructor(server: Server, client: Client) {
    this.server = server;
    this.client = client;
    this.secret = readSecretKey(writeSecretKey(client.createSecretKey(), client.manifest), client.manifest);
    this.evaluationKeys = concat(client.evaluationKeys(this.secret));
    this.keys = server.loadKeys(this.evaluationKeys);
  }

  static async open(model: Model, backend: BackendName): Promise<RoundTrip> {
    const server = await Server.open(compile(model, { outputs: 'scores+map', backend }));
    const manifest = parseManifest(JSON.parse(JSON.stringify(server.manifest)));
    return new RoundTrip(server, await Client.open(manifest));
  }

  [Symbol.dispose](): void {
    this.keys[Symbol.dispose]();
    this.server[Symbol.dispose]();
    this.client[Symbol.dispose]();
  }
}

const model = randomModel({ samples: 2048, channels: [4, 8], dilation: [1, 2], seed: 11 });
const segment = Float32Array.from(
  { length: 2048 },
  (_, i) => 0.8 * Math.sin(i / 7) + 0.3 * Math.sin((i * i) / 900),
);

describe.each(BACKENDS)('a small network encrypted, backend %s', (backend) => {
  let trip: RoundTrip;
  let request: Uint8Array;
  let reply: Uint8Array;

  beforeAll(async () => {
    trip = await RoundTrip.open(model, backend);
    request = trip.client.encrypt(trip.secret, segment);
    reply = trip.server.evaluate(request, trip.keys);
  });
  afterAll(() => trip[Symbol.dispose]());

  test('when a segment is classified, then floats, packed and encrypted computation agree', () => {
    const exact = forward(model, segment).scores;
    const packed = simulate(compile(model, { outputs: 'scores+map' }), segment);
    const decrypted = trip.client.decrypt(trip.secret, reply, requestDigest(request));
    for (const [c, score] of exact.entries()) {
      expect(packed.scores[c]).toBeCloseTo(score, 9);
      expect(Math.abs(decrypted.scores[c] - score)).toBeLessThan(1e-3);
    }
    expect(decrypted.map).toHaveLength(packed.map!.length);
    for (const [w, window] of packed.map!.entries()) {
      for (const [c, value] of window.entries())
        expect(Math.abs(decrypted.map![w][c] - value)).toBeLessThan(2e-2);
    }
  });

  test('when sizes are compared, then the plan foretold them', () => {
    const { bytes } = trip.server.plan;
    expect(trip.evaluationKeys.length).toBe(bytes.evaluationKeys);
    expect(request.length).toBe(bytes.request);
    expect(reply.length).toBe(bytes.reply);
    expect(writeSecretKey(trip.secret, trip.client.manifest).length).toBe(bytes.secretKey);
  });

  test('when the same segment is encrypted twice, then the requests differ and so do the replies', () => {
    const again = trip.client.encrypt(trip.secret, segment);
    const differing = again.reduce((count, b, i) => count + (b === request[i] ? 0 : 1), 0);
    expect(differing).toBeGreaterThan(0.9 * again.length);
    const reply2 = trip.server.evaluate(request, trip.keys);
    const bytesDiffering = reply2.reduce((count, b, i) => count + (b === reply[i] ? 0 : 1), 0);
    expect(bytesDiffering).toBeGreaterThan(0.9 * reply.length); // re-randomised
  });

  test('when scores leave the limit, then the client names no class', async () => {
    using strict = await RoundTrip.open({ ...model, scoreLimit: 0.01 }, backend);
    const sent = strict.client.encrypt(strict.secret, segment);
    const beyond = strict.server.evaluate(sent, strict.keys);
    expect(() => strict.client.decrypt(strict.secret, beyond, requestDigest(sent))).toThrow(
      /beyond the limit of 0.01/,
    );
  });

  test.each<[string, () => Float32Array, RegExp]>([
    ['too short', () => segment.slice(1), /expected a segment of 2048 samples, got 2047/],
    ['beyond the bound', () => segment.map((x, i) => (i === 5 ? 3.5 : x)), /within \+-3/],
    ['too energetic', () => segment.map(() => 0.9), /rms of at most 0.75/],
    ['not finite', () => segment.map((x, i) => (i === 5 ? Number.NaN : x)), /within \+-3/],
  ])('when a segment is %s, then it is not encrypted', (_, make, message) => {
    expect(() => trip.client.encrypt(trip.secret, make())).toThrow(message);
  });

  describe('damaged and foreign files', () => {
    const flip = (bytes: Uint8Array, index: number) => bytes.map((b, i) => (i === index ? b ^ 0x40 : b));

    test.each<[string, (b: Uint8Array) => Uint8Array, RegExp]>([
      ['empty', () => new Uint8Array(), /expected a blindbeat request, but the file does not start like one/],
      [
        'text',
        () => new TextEncoder().encode('hello, this is no ciphertext at all'),
        /does not start like one/,
      ],
      ['of a later version', (b) => flip(b, 8), /format version is 65 and this blindbeat reads version 1/],
      ['cut off in its header', (b) => b.slice(0, 40), /cut off in its header/],
      ['cut off in its body', (b) => b.slice(0, -100), /should have \d+ bytes and has \d+/],
      ['longer than announced', (b) => concat([b, new Uint8Array(4)]), /should have \d+ bytes and has \d+/],
      ['damaged in its body', (b) => flip(b, b.length - 1000), /checksum does not fit/],
      ['damaged in its header', (b) => flip(b, 17), /its header/],
      ['a reply instead', () => reply, /this is a reply/],
    ])('when a request is %s, then the server refuses it with words', (_, change, message) => {
      expect(() => trip.server.evaluate(change(request), trip.keys)).toThrow(message);
    });

    test('when a reply is damaged, then the client refuses it', () => {
      expect(() => trip.client.decrypt(trip.secret, flip(reply, 5000), requestDigest(request))).toThrow(
        /checksum/,
      );
      expect(() => trip.client.decrypt(trip.secret, request, requestDigest(request))).toThrow(
        /this is a request/,
      );
    });

    test('when a reply answers another request, then the client refuses it', () => {
      const next = trip.client.encrypt(trip.secret, segment);
      const replayed = () => trip.client.decrypt(trip.secret, reply, requestDigest(next));
      expect(replayed).toThrow(expect.objectContaining({ code: 'MISMATCH' }));
      expect(replayed).toThrow(/answers request [0-9a-f]{12}, but the request here is [0-9a-f]{12}/);
    });

    test.each(['', 'x', 'ab'.repeat(31), 'AB'.repeat(32)])(
      'when %j is given as a digest, then the client says what one is',
      (digest) => {
        const read = () => trip.client.decrypt(trip.secret, reply, digest);
        expect(read).toThrow(expect.objectContaining({ code: 'USAGE' }));
      },
    );

    test('when evaluation keys are damaged, then they are refused and what was loaded is freed', () => {
      const before = trip.server.liveHandles;
      expect(() => trip.server.loadKeys(flip(trip.evaluationKeys, 70_000))).toThrow(/checksum/);
      expect(() => trip.server.loadKeys(trip.evaluationKeys.slice(0, 1000))).toThrow(/should have/);
      expect(trip.server.liveHandles).toBe(before);
    });

    test('when keys of another pair are used, then both sides refuse', () => {
      const other = trip.client.createSecretKey();
      const foreign = trip.client.encrypt(other, segment);
      expect(() => trip.server.evaluate(foreign, trip.keys)).toThrow(
        /belongs to key pair .* use the keys that it was made with/,
      );
      expect(() => trip.client.decrypt(other, reply, requestDigest(request))).toThrow(/belongs to key pair/);
    });

    test('when files of another model are used, then they are refused', async () => {
      const other = compile(randomModel({ samples: 2048, channels: [4, 8], seed: 12 }), {
        outputs: 'scores+map',
      }).plan.manifest;
      const client = await Client.open(other);
      const secret = client.createSecretKey();
      expect(() => trip.server.evaluate(client.encrypt(secret, segment), trip.keys)).toThrow(
        /was made for plan/,
      );
      expect(() => readSecretKey(writeSecretKey(secret, other), trip.client.manifest)).toThrow(
        /was made for plan/,
      );
      client[Symbol.dispose]();
    });
  });

  test('when everything is disposed, then no SEAL object is left alive', async () => {
    const other = await RoundTrip.open(model, backend);
    const idle = [other.server.liveHandles, other.client.liveHandles];
    const sent = other.client.encrypt(other.secret, segment);
    other.client.decrypt(other.secret, other.server.evaluate(sent, other.keys), requestDigest(sent));
    expect(() => other.server.evaluate(new Uint8Array(5), other.keys)).toThrow();
    expect(other.server.liveHandles).toBe(idle[0]);
    other[Symbol.dispose]();
    expect(other.server.liveHandles).toBe(0);
    expect(other.client.liveHandles).toBe(0);
  });
});

describe('periodic plaintexts', () => {
  test('when a periodic vector is encoded in blocks, then it is bit for bit what SEAL encodes', async () => {
    const { parameters } = compile(randomModel({ samples: 2048, channels: [4, 8] })).plan.manifest;
    const seal = await loadSeal<ClientModule>();
    using engine = new SealEngine(seal, parameters);
    using backend = new SealBackend(engine, null);
    const { n, primes } = parameters;
    const limbs = primes.length;
    for (const period of [1, 2, 8, 32]) {
      const values = Float64Array.from({ length: period }, (_, j) => Math.sin(j * j + 0.3));
      const scale = 2 ** 21;
      const { residues } = backend.encode(values, scale, limbs);
      const spread = plaintextBuffer(engine.parmsIds.get(limbs)!, n, limbs);
      spread.setScale(scale);
      const width = (n * limbs) / residues.length;
      residues.forEach((r, b) => {
        spread.residues.fill(BigInt(r), b * width, (b + 1) * width);
      });
      const encoded = seal.using(new seal.module.CKKSEncoder(engine.context), (encoder) =>
        seal.using(new seal.module.Plaintext(), (plain) => {
          encoder.encode(
            Float64Array.from({ length: n / 2 }, (_, j) => values[j % period]),
            scale,
            plain,
          );
          return plain.saveToArray(seal.module.ComprModeType.none) as Uint8Array;
        }),
      );
      expect(Buffer.compare(spread.bytes, encoded)).toBe(0);
    }
  });
});

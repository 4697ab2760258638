import { hash } from 'node:crypto';
import { afterAll, describe, expect, test } from 'vitest';
import { Client } from '../../../src/ckks/client.ts';
import { BACKENDS } from '../../../src/ckks/evaluator/backend.ts';
import { ReplyRandomness } from '../../../src/ckks/evaluator/fast/reply-randomness.ts';
import { moduli, perPrimeGadget, primesOf } from '../../../src/ckks/keyswitch/gadget.ts';
import { plannedKeys } from '../../../src/ckks/keyswitch/key-set.ts';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { packLimbs } from '../../../src/ckks/ring/bit-packing.ts';
import { allPrimes, type Parameters } from '../../../src/ckks/ring/parameters.ts';
import { choosePrimes } from '../../../src/ckks/ring/primes.ts';
import {
  type RawCiphertext,
  readCiphertext,
  SEED_SIZE,
  writeCiphertext,
} from '../../../src/ckks/seal/bytes.ts';
import { type ClientModule, type Handle, loadSeal, type SEALContext } from '../../../src/ckks/seal/seal.ts';
import { Server } from '../../../src/ckks/server.ts';
import { concat, writeContainer } from '../../../src/ckks/wire/container.ts';
import { bodySizes } from '../../../src/ckks/wire/file-sizes.ts';
import type { Manifest } from '../../../src/ckks/wire/manifest.ts';
import { requestDigest } from '../../../src/ckks/wire/reply.ts';
import { Random } from '../../../src/ecg/random.ts';
import { forward } from '../../../src/model/forward.ts';
import { randomModel } from '../../helpers/random-model.ts';

/**
 * The boundary to SEAL: every object that it loads is one whose bytes we wrote. What a client, a server or a
 * file decides of them is residues, each below its prime, and the 64 bytes of a seed; all else, every length
 * among it, is byte for byte what SEAL itself writes for an object of that kind and level.
 */
const LOADED = ['Ciphertext', 'PublicKey', 'RelinKeys', 'GaloisKeys', 'SecretKey', 'Plaintext'] as const;
type Kind = (typeof LOADED)[number];
interface Load {
  kind: Kind;
  bytes: Uint8Array;
}

const seal = await loadSeal<ClientModule>();
const { module } = seal;
const none = module.ComprModeType.none;
const model = randomModel({ samples: 256, channels: [4], kernel: 3, seed: 5 });

/** What SEAL is given to load; noted down until it is disposed. */
function intercept(): Disposable & { loads: Load[] } {
  const loads: Load[] = [];
  const undo = new DisposableStack();
  for (const kind of LOADED) {
    const { prototype } = module[kind];
    const own = Object.getOwnPropertyDescriptor(prototype, 'loadFromArray');
    const load = prototype.loadFromArray;
    prototype.loadFromArray = function (this: unknown, context: SEALContext, bytes: Uint8Array) {
      loads.push({ kind, bytes: Uint8Array.from(bytes) });
      return load.call(this as never, context, bytes);
    } as typeof load;
    undo.defer(() => {
      if (own) Object.defineProperty(prototype, 'loadFromArray', own);
      else Reflect.deleteProperty(prototype, 'loadFromArray');
    });
  }
  return { loads, [Symbol.dispose]: () => undo.dispose() };
}

const SEED_INFO = 16 + 1 + SEED_SIZE;

/** The objects in what is loaded, keys taken apart, with zeros for residues and seeds; and the residues. */
function takeApart({ kind, bytes }: Load): { shape: string; residues: BigUint64Array }[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const part = (start: number, end: number, data: number) => {
    const copy = bytes.slice(start, end);
    const count = Number(view.getBigUint64(start + data - 8, true));
    const residues = new BigUint64Array(copy.slice(data, data + 8 * count).buffer);
    copy.fill(0, data, data + 8 * count);
    const rest = copy.length - data - 8 * count;
    expect([0, SEED_INFO]).toContain(rest);
    if (rest === SEED_INFO) copy.fill(0, -SEED_SIZE);
    return { shape: hash('sha256', copy), residues };
  };
  if (kind === 'Ciphertext' || kind === 'PublicKey') return [part(0, bytes.length, 113)];
  if (kind === 'Plaintext' || kind === 'SecretKey') return [part(0, bytes.length, 88)];
  expect(Number(view.getBigUint64(8, true))).toBe(bytes.length);
  const parts = [];
  let at = 56;
  for (let slots = Number(view.getBigUint64(48, true)); slots > 0; slots--) {
    const digits = Number(view.getBigUint64(at, true));
    at += 8;
    for (let digit = 0; digit < digits; digit++) {
      const end = at + Number(view.getBigUint64(at + 8, true));
      parts.push(part(at, end, 113));
      at = end;
    }
  }
  expect(at).toBe(bytes.length);
  return parts;
}

/** The shapes of what SEAL itself saves with a plan's parameters. */
function shapesOfSeal({ parameters, inputScale, reply }: Manifest): Set<string> {
  const shapes = new Set<string>();
  const save = (kind: Kind, handle: Handle & { saveToArray(mode: typeof none): Uint8Array }) => {
    const bytes = seal.using(handle, () => handle.saveToArray(none));
    for (const { shape } of takeApart({ kind, bytes })) shapes.add(shape);
  };
  const all = allPrimes(parameters);
  const [last] = parameters.primes;
  const fresh = [...parameters.primes, parameters.special];
  for (const primes of [all, fresh, [last, parameters.special], [last]]) {
    const context = seal.context(parameters.n, primes, true);
    const generator = seal.own(new module.KeyGenerator(context));
    const publicKey = seal.own(generator.createPublicKey());
    const secret = seal.own(generator.secretKey());
    const encryptor = seal.own(new module.Encryptor(context, publicKey, secret));
    const encoder = seal.own(new module.CKKSEncoder(context));
    const plain = seal.own(new module.Plaintext());
    encoder.encode(Float64Array.of(1), primes.length > 2 ? inputScale : reply.scale, plain);
    save('Ciphertext', encryptor.encryptSymmetricSerializable(plain));
    save('Plaintext', plain.clone());
    const zero = new module.Ciphertext();
    encryptor.encryptZero(zero);
    save('Ciphertext', zero);
    if (primes.length > 1) {
      save('PublicKey', generator.createPublicKeySerializable());
      save('PublicKey', generator.createPublicKey());
    }
    if (primes.length > 2) save('RelinKeys', generator.createRelinKeysSerializable());
    save('SecretKey', generator.secretKey());
    seal.free(plain, encoder, encryptor, secret, publicKey, generator, context);
  }
  return shapes;
}

/** One client's way to a server and back; gives what SEAL loaded on the way. */
async function roundTrip(server: Server, segment: Float32Array): Promise<Load[]> {
  using noted = intercept();
  using client = await Client.open(server.manifest);
  const secret = client.createSecretKey();
  using keys = server.loadKeys(concat(client.evaluationKeys(secret)));
  const request = client.encrypt(secret, segment);
  const reply = server.evaluate(request, keys);
  const { scores } = client.decrypt(secret, reply, requestDigest(request));
  for (const [c, score] of forward(model, segment).scores.entries())
    expect(Math.abs(scores[c] - score)).toBeLessThan(1e-2);
  return noted.loads;
}

describe.each(BACKENDS)('what SEAL loads in a round trip, backend %s', (backend) => {
  test('when two clients send what they like, then all but residues and seeds is what SEAL itself writes', async () => {
    using server = await Server.open(compile(model, { backend, outputs: 'scores+map' }), { threads: 1 });
    const trips = [];
    for (const f of [1, 2])
      trips.push(
        await roundTrip(
          server,
          Float32Array.from({ length: 256 }, (_, i) => 0.7 * Math.sin(f * i)),
        ),
      );
    const [first, second] = trips.map((loads) =>
      loads.flatMap((load) => takeApart(load).map(({ shape }) => `${load.kind} ${shape}`)),
    );
    expect(first).toEqual(second);
    expect(new Set(trips[0].map(({ kind }) => kind))).toEqual(
      new Set(
        backend === 'fast'
          ? ['SecretKey', 'PublicKey', 'Ciphertext', 'Plaintext']
          : ['SecretKey', 'PublicKey', 'Ciphertext', 'RelinKeys', 'GaloisKeys', 'Plaintext'],
      ),
    );
    const shapes = shapesOfSeal(server.manifest);
    const most = Math.max(...allPrimes(server.manifest.parameters));
    const { n } = server.manifest.parameters;
    for (const load of trips[0]) {
      for (const { shape, residues } of takeApart(load)) {
        // Plaintexts, of scales of their own, are the server's weights and the map that was decrypted.
        if (load.kind !== 'Plaintext') expect([load.kind, shapes.has(shape)]).toEqual([load.kind, true]);
        expect(residues.length % n).toBe(0);
        expect(residues.every((r) => r < BigInt(most))).toBe(true);
      }
    }
  });
});

describe('what could be loaded', () => {
  const N = 2048;
  const [q, special] = choosePrimes(N, [27, 27]);
  const parameters = { n: N, primes: [q], special, logQP: 54, security: 128 } as Parameters;
  const context = seal.context(N, [q, special], false);
  const parmsIds = seal.parmsIds(context);
  const randomness = new ReplyRandomness(seal, parameters);
  afterAll(() => {
    randomness[Symbol.dispose]();
    seal.free(context);
  });
  const random = new Random(16);

  /** What SEAL makes of a ciphertext or key, its seed expanded, as the SEAL backend has it load them. */
  function expand(raw: RawCiphertext, kind: 'Ciphertext' | 'PublicKey'): RawCiphertext {
    return seal.using(new module[kind](), (handle) => {
      seal.guard('FORMAT', 'the request', () => handle.loadFromArray(context, writeCiphertext(raw)));
      return readCiphertext(handle.saveToArray(none));
    });
  }

  /** Residues and a seed of somebody who does what the reader of containers lets through. */
  function hostile(limbs: 1 | 2, k: number): RawCiphertext {
    const words = new Uint32Array(4 * limbs * N);
    const extreme = [() => 0, (p: number) => p - 1, (p: number) => random.below(2) * (p - 1)][k % 8];
    for (let i = 0; i < limbs * N; i++) {
      const prime = i < N ? q : special;
      words[2 * i] = extreme?.(prime) ?? random.below(prime);
    }
    const fill = [() => 0, () => 255][k % 5];
    const seed = Uint8Array.from({ length: SEED_SIZE }, () => fill?.() ?? random.below(256));
    const parmsId = parmsIds.get(limbs)!;
    return {
      ...{ parmsId, polynomials: 2, n: N, limbs, scale: limbs === 1 ? 2 ** 20 : 1, ntt: true, seed },
      words: words.subarray(0, 2 * limbs * N),
    };
  }

  test('when residues are below their primes and seeds are anything, then SEAL takes them all', () => {
    const live = seal.live;
    for (let k = 0; k < 4000; k++) {
      const limbs = k % 2 === 0 ? 1 : 2;
      const raw = hostile(limbs, k >> 1);
      const sent = raw.words.slice();
      const { words, seed } = expand(raw, limbs === 1 ? 'Ciphertext' : 'PublicKey');
      expect(seed).toBeUndefined();
      expect(words.length).toBe(4 * limbs * N);
      if (k % 50 > 1) continue;
      expect(words.subarray(0, 2 * limbs * N)).toEqual(sent);
      for (let i = limbs * N; i < 2 * limbs * N; i++)
        if (!(words[2 * i] < ((i / N) % limbs < 1 ? q : special)) || words[2 * i + 1] !== 0)
          throw new Error(`residue ${i} of what SEAL made`);
    }
    expect(seal.live).toBe(live);
  });

  test('when a public key is anything, then it encrypts, and its handles are freed', () => {
    const live = seal.live;
    for (let k = 0; k < 300; k++) {
      const halves = [hostile(2, k), hostile(2, k >> 3)].map(({ words }) =>
        [0, 1].map((limb) => words.filter((_, i) => i % 2 === 0).subarray(limb * N, (limb + 1) * N)),
      );
      using encryptor = randomness.encryptor(halves);
      const { words } = encryptor.encryptZero();
      expect(words.length).toBe(4 * N);
      for (let i = 0; i < 2 * N; i++) if (words[2 * i] >= q) throw new Error('a residue is too large');
    }
    expect(seal.live).toBe(live);
  });

  test('when a residue is not below its prime, then SEAL itself refuses it as well', () => {
    const live = seal.live;
    for (const value of [q, q + 1, 2 ** 32 - 1]) {
      const raw = hostile(1, 3);
      raw.words[2 * 77] = value;
      expect(() => expand(raw, 'Ciphertext')).toThrow(
        expect.objectContaining({
          code: 'FORMAT',
          message: expect.stringContaining('the request: SEAL says'),
        }),
      );
    }
    expect(seal.live).toBe(live);
  });

  test.each<[string, (raw: RawCiphertext) => object]>([
    ['residues are fewer', ({ words }) => ({ words: words.subarray(2) })],
    ['residues are more', ({ words }) => ({ words: new Uint32Array(words.length + 2) })],
    ['half a residue is there', ({ words }) => ({ words: words.subarray(1) })],
    ['the seed is short', () => ({ seed: new Uint8Array(SEED_SIZE - 1) })],
    ['the seed is long', () => ({ seed: new Uint8Array(SEED_SIZE + 1) })],
    ['there is no seed', () => ({ seed: undefined })],
    ['there are three polynomials', () => ({ polynomials: 3 })],
    ['there are more limbs', ({ limbs }) => ({ limbs: limbs + 1 })],
    ['the ring is larger', () => ({ n: 2 * N })],
    ['the ring is no number', () => ({ n: Number.NaN })],
    ['the identifier is cut off', ({ parmsId }) => ({ parmsId: parmsId.subarray(1) })],
  ])('when %s, then no bytes are made for SEAL', (_, change) => {
    const raw = hostile(2, 3);
    expect(writeCiphertext(raw).length).toBeGreaterThan(0);
    expect(() => writeCiphertext({ ...raw, ...change(raw) })).toThrow(
      expect.objectContaining({ code: 'INTERNAL' }),
    );
  });
});

describe.each(BACKENDS)('a client whose keys and requests are noise, backend %s', (backend) => {
  test('when the server computes on them, then nothing breaks and others are answered rightly', async () => {
    const random = new Random(17);
    using server = await Server.open(compile(model, { backend }), { threads: 2 });
    const { manifest } = server;
    const sizes = bodySizes(manifest);
    const segment = Float32Array.from({ length: 256 }, (_, i) => 0.7 * Math.sin(i / 5));
    using client = await Client.open(manifest);
    const secret = client.createSecretKey();
    using good = server.loadKeys(concat(client.evaluationKeys(secret)));
    const request = client.encrypt(secret, segment);
    server.evaluate(request, good);
    const use = [server.memoryInUse, server.liveHandles];
    const noise = (kind: 'evaluation keys' | 'request', bodyBytes: number, zero: boolean) => {
      const body = zero ? new Uint8Array(bodyBytes) : noiseBody(manifest, kind, random);
      const header = { planHash: manifest.planHash, keyId: 'ab'.repeat(16), bodyBytes };
      return concat(writeContainer(kind, header, [body]));
    };
    for (let k = 0; k < 3; k++) {
      using keys = server.loadKeys(noise('evaluation keys', sizes.evaluationKeys, k === 0));
      for (let j = 0; j < 2; j++) server.evaluate(noise('request', sizes.request, j === 0), keys);
    }
    expect([server.memoryInUse, server.liveHandles]).toEqual(use);
    const { scores } = client.decrypt(secret, server.evaluate(request, good), requestDigest(request));
    for (const [c, score] of forward(model, segment).scores.entries())
      expect(Math.abs(scores[c] - score)).toBeLessThan(1e-2);
  });
});

/** A body whose residues are drawn below their primes, and whose seeds are any bytes. */
function noiseBody({ parameters, keys }: Manifest, kind: 'evaluation keys' | 'request', random: Random) {
  const { n, primes } = parameters;
  const pieces: Uint8Array[] = [];
  const digit = (chain: number[]) => {
    for (const q of chain)
      pieces.push(
        ...packLimbs(
          words(n, () => random.below(q)),
          n,
          [q],
          1,
        ),
      );
    pieces.push(Uint8Array.from({ length: SEED_SIZE }, () => random.below(256)));
  };
  if (kind === 'request') digit(primes);
  else {
    for (const { gadget } of plannedKeys(parameters, keys))
      for (const _ of gadget.digits) digit(primesOf(parameters, moduli(gadget)));
    digit(primesOf(parameters, moduli(perPrimeGadget(parameters, 1))));
  }
  return concat(pieces);
}

function words(length: number, draw: () => number): Uint32Array {
  return Uint32Array.from({ length }, draw);
}

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Client } from '../../../src/ckks/client.ts';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { packLimbs, unpackLimbs } from '../../../src/ckks/ring/bit-packing.ts';
import { minimalPrimitiveRoot, Ntt } from '../../../src/ckks/ring/ntt.ts';
import { allPrimes } from '../../../src/ckks/ring/parameters.ts';
import { isPrime, log2Product } from '../../../src/ckks/ring/primes.ts';
import { readSecretKey, SecretKey, writeSecretKey } from '../../../src/ckks/secret/secret-key.ts';
import { concat, readContainer, writeContainer } from '../../../src/ckks/wire/container.ts';
import { bodySizes } from '../../../src/ckks/wire/file-sizes.ts';
import { type Manifest, type ParsedManifest, sealManifest } from '../../../src/ckks/wire/manifest.ts';
import { requestDigest } from '../../../src/ckks/wire/reply.ts';
import { randomModel } from '../../helpers/random-model.ts';

const model = randomModel({ samples: 2048, channels: [2] });
const { manifest } = compile(model, { keySwitching: 'per-prime' }).plan;
const { parameters } = manifest;
const { n, primes, special } = parameters;
const segment = Float32Array.from({ length: 2048 }, (_, i) => 0.5 * Math.sin(i / 7));

/** An update of the manifest that every check of a manifest accepts, with other parameters. */
function updated(change: Partial<Manifest['parameters']>): ParsedManifest {
  const { planHash: _, ...content } = manifest;
  const next = { ...parameters, ...change };
  const logQP = log2Product(allPrimes(next));
  const scoreBound = next.primes[0] / 2 ** 21;
  const scoreLimit = scoreBound / 16;
  const model = { ...content.model, fingerprint: 'ab'.repeat(32) };
  return sealManifest({ ...content, model, scoreBound, scoreLimit, parameters: { ...next, logQP } });
}

/** Two primes that the plan does not have. */
function freshPrimes(): number[] {
  const found: number[] = [];
  for (let q = 2 ** 30 + 1 - 2 * n; found.length < 2; q -= 2 * n) {
    if (isPrime(q) && !allPrimes(parameters).includes(q)) found.push(q);
  }
  return found;
}

/** The samples that a request shows modulo its last prime to somebody who has no key. */
function readWithoutKey(request: Uint8Array, seen: ParsedManifest): number[] {
  const { primes } = seen.parameters;
  const { body } = readContainer(request, 'request', {
    planHash: seen.planHash,
    bodyBytes: bodySizes(seen).request,
  });
  const words = new Uint32Array(primes.length * n);
  unpackLimbs(body, n, primes, words, 1);
  const q = primes.at(-1)!;
  const values = words.slice(-n);
  new Ntt(n, q, minimalPrimitiveRoot(n, q)).inverse(values);
  const first = Array.from(values, (v) => (v > q / 2 ? v - q : v) / seen.inputScale);
  const slots = [0, 1, 2].map((k) => 3 ** (8 * k)); // of samples 0, 2 and 4, each in four slots
  return slots.map((root) =>
    first.reduce((sum, c, k) => sum + c * Math.cos((Math.PI * ((root * k) % (2 * n))) / n), 0),
  );
}

let client: Client;
let secret: SecretKey;

beforeAll(async () => {
  client = await Client.open(manifest);
  secret = client.createSecretKey();
});
afterAll(() => client[Symbol.dispose]());

describe('a secret key and the plan that it was made for', () => {
  const [first, second] = freshPrimes();
  const updates: [string, Partial<Manifest['parameters']>][] = [
    ['two more primes', { primes: [...primes, special, first], special: second }],
    ['one more prime', { primes: [...primes, first] }],
    ['another special prime', { special: first }],
    ['its primes in another order', { primes: primes.toReversed() }],
    ['the same primes', {}],
  ];
  test('when a manifest gains primes that a key in memory lacks, then the ECG is not sent in the clear', async () => {
    const next = updated(updates[0][1]);
    using other = await Client.open(next);
    const attack = () => readWithoutKey(other.encrypt(secret, segment), next);
    expect(attack).toThrow(expect.objectContaining({ code: 'MISMATCH' }));
    expect(other.liveHandles).toBeLessThanOrEqual(1); // the context
  });

  test.each(updates)('when a manifest has %s, then every use of the key is refused', async (name, change) => {
    const next = updated(change);
    const lying = { ...next, planHash: manifest.planHash } as ParsedManifest;
    using other = await Client.open(next);
    const uses = [
      () => other.encrypt(secret, segment),
      () => other.evaluationKeys(secret),
      () => other.decrypt(secret, new Uint8Array(), requestDigest(new Uint8Array())),
      () => writeSecretKey(secret, next),
      () => readSecretKey(writeSecretKey(secret, manifest), next),
      // The hash alone is not believed.
      ...(name === 'the same primes' ? [] : [() => writeSecretKey(secret, lying)]),
    ];
    for (const use of uses) expect(use).toThrow(expect.objectContaining({ code: 'MISMATCH' }));
    expect(other.liveHandles).toBeLessThanOrEqual(1); // the context
  });

  test('when a key file is written and read, then the key is the same', () => {
    using again = readSecretKey(writeSecretKey(secret, manifest), manifest);
    expect(again.residuesFor(manifest)).toEqual(secret.residuesFor(manifest));
    expect(again).toMatchObject({ keyId: secret.keyId, planHash: manifest.planHash });
  });

  test('when a key is looked at, then its content is not seen', () => {
    expect(Object.keys(secret)).toEqual(['keyId', 'planHash']);
    expect(JSON.stringify(secret).length).toBeLessThan(200);
  });
});

describe('a disposed secret key', () => {
  test('when it was disposed, then every use is refused and a second dispose does nothing', () => {
    const bytes = writeSecretKey(secret, manifest);
    const key = readSecretKey(bytes, manifest);
    const before = client.liveHandles;
    key[Symbol.dispose]();
    key[Symbol.dispose]();
    const uses = [
      () => client.encrypt(key, segment),
      () => client.evaluationKeys(key),
      () => client.decrypt(key, new Uint8Array(), requestDigest(new Uint8Array())),
      () => writeSecretKey(key, manifest),
      () => key.residuesFor(manifest),
    ];
    for (const use of uses)
      expect(use).toThrow(
        expect.objectContaining({ code: 'INTERNAL', message: expect.stringContaining('disposed') }),
      );
    expect(client.liveHandles).toBe(before);
  });

  test.each(['per-prime', 'hybrid'] as const)(
    'when it is disposed while its %s evaluation keys are made, then no further key is',
    async (keySwitching) => {
      const plan = compile(model, { keySwitching }).plan.manifest;
      using maker = await Client.open(plan);
      const key = maker.createSecretKey();
      const before = maker.liveHandles;
      const pieces = maker.evaluationKeys(key, () => key[Symbol.dispose]());
      expect(() => concat(pieces)).toThrow(/disposed/);
      expect(maker.liveHandles).toBe(before);
    },
  );
});

describe('a secret key that is zero modulo a prime', () => {
  const zeroed = (limb: number) => {
    const residues = secret.residuesFor(manifest).slice();
    residues.fill(0, limb * n, (limb + 1) * n);
    return residues;
  };
  const zero = expect.objectContaining({ code: 'FORMAT', message: expect.stringContaining('zero modulo') });

  test.each(allPrimes(parameters).map((q, i) => [q, i]))(
    'when it is zero modulo %d, then it is neither made nor read',
    (_, limb) => {
      expect(() => new SecretKey(secret.keyId, manifest, zeroed(limb))).toThrow(zero);
      const body = packLimbs(zeroed(limb), n, allPrimes(parameters), 1);
      const header = { planHash: manifest.planHash, keyId: secret.keyId };
      const { secretKey: bodyBytes } = bodySizes(manifest);
      const file = concat(writeContainer('secret key', { ...header, bodyBytes }, body));
      expect(() => readSecretKey(file, manifest)).toThrow(zero);
    },
  );

  test('when its memory is overwritten by somebody else, then every use is refused', () => {
    const residues = secret.residuesFor(manifest).slice();
    const key = new SecretKey(secret.keyId, manifest, residues);
    residues.fill(0, n, 2 * n);
    for (const use of [
      () => client.encrypt(key, segment),
      () => client.evaluationKeys(key),
      () => writeSecretKey(key, manifest),
    ])
      expect(use).toThrow(zero);
  });

  test('when it has too few limbs, then it is not made', () => {
    const short = secret.residuesFor(manifest).slice(n);
    expect(() => new SecretKey(secret.keyId, manifest, short)).toThrow(/residues, not/);
  });
});

describe('a disposed client', () => {
  test('when a client is disposed half way through its keys, then SEAL holds nothing and no key follows', async () => {
    const gone = await Client.open(manifest);
    const key = gone.createSecretKey();
    const pieces = gone.evaluationKeys(key);
    pieces.next();
    pieces.next();
    expect(gone.liveHandles).toBeGreaterThan(1);
    gone[Symbol.dispose]();
    gone[Symbol.dispose]();
    expect(gone.liveHandles).toBe(0);
    expect(() => concat(pieces)).toThrow(/the client was disposed/);
    expect(() => gone.encrypt(key, segment)).toThrow(/the client was disposed/);
    expect(gone.liveHandles).toBe(0);
  });
});

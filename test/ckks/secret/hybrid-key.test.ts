import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Client } from '../../../src/ckks/client.ts';
import { type Gadget, gadgets, moduli, primesOf } from '../../../src/ckks/keyswitch/gadget.ts';
import { plannedKeys } from '../../../src/ckks/keyswitch/key-set.ts';
import { compile } from '../../../src/ckks/planner/compile.ts';
import { galoisElement } from '../../../src/ckks/ring/galois.ts';
import { multiplyMod } from '../../../src/ckks/ring/modular.ts';
import { minimalPrimitiveRoot, Ntt } from '../../../src/ckks/ring/ntt.ts';
import { allPrimes } from '../../../src/ckks/ring/parameters.ts';
import { type RawCiphertext, readCiphertext, writeCiphertext } from '../../../src/ckks/seal/bytes.ts';
import { type ClientModule, loadSeal, type SEALContext, type Seal } from '../../../src/ckks/seal/seal.ts';
import { addKeyTerm } from '../../../src/ckks/secret/hybrid-key.ts';
import type { SecretKey } from '../../../src/ckks/secret/secret-key.ts';
import { randomModel } from '../../helpers/random-model.ts';

const { manifest } = compile(randomModel({ samples: 2048, channels: [4, 8], seed: 3 })).plan;
const { parameters } = manifest;
const { n, primes } = parameters;
const all = allPrimes(parameters);
const transforms = all.map((q) => new Ntt(n, q, minimalPrimitiveRoot(n, q)));

let seal: Seal<ClientModule>;
let context: SEALContext;
let client: Client;
let secret: SecretKey;
let residues: Uint32Array;
let ternary: Int8Array;

beforeAll(async () => {
  seal = await loadSeal<ClientModule>();
  context = seal.context(n, all, false);
  client = await Client.open(manifest);
  secret = client.createSecretKey();
  residues = secret.residuesFor(manifest);
  const coefficients = residues.slice(0, n);
  transforms[0].inverse(coefficients);
  ternary = Int8Array.from(coefficients, (x) => (x > 1 ? -1 : x));
});
afterAll(() => {
  client[Symbol.dispose]();
  seal.free(context);
});

/** A fresh encryption of zero as the client makes it, seeded. */
function encryptionOfZero(): RawCiphertext {
  const { module } = seal;
  // The client's own context and key: `Client` gives out no encryption of zero, so SEAL is asked again.
  return seal.using(new module.KeyGenerator(context), (generator) =>
    seal.using(generator.createPublicKeySerializable(), (key) =>
      readCiphertext(key.saveToArray(module.ComprModeType.none)),
    ),
  );
}

/** Both polynomials modulo every prime, `[2][primes][n]`: seeds are expanded by SEAL. */
function expand(raw: RawCiphertext): Uint32Array {
  const { module } = seal;
  return seal.using(new module.PublicKey(), (key) => {
    key.loadFromArray(context, writeCiphertext(raw));
    return readCiphertext(key.saveToArray(module.ComprModeType.none)).words.filter((_, i) => i % 2 === 0);
  });
}

/** The digits of every key in a client's file, with their gadgets. */
function keysOf(pieces: Uint8Array[]) {
  // The container's header, a piece for each digit, the public key, the checksum.
  const digits = pieces.slice(1, -2).values();
  return plannedKeys(parameters, manifest.keys).map((planned) => ({
    ...planned,
    pieces: planned.gadget.digits.map(() => digits.next().value!),
  }));
}

/** A digit's first polynomial and seed from the file, with zeros modulo the primes that it does not have. */
function unpack(piece: Uint8Array, gadget: Gadget, template: RawCiphertext): RawCiphertext {
  const words = new Uint32Array(2 * all.length * n);
  let at = 0;
  for (const i of moduli(gadget)) {
    const bits = Math.ceil(Math.log2(all[i]));
    for (let k = 0; k < n; k++) {
      let value = 0n;
      const first = k * bits;
      for (let byte = 0; byte < 5; byte++)
        value |= BigInt(piece[at + (first >> 3) + byte] ?? 0) << BigInt(8 * byte);
      words[2 * (i * n + k)] = Number((value >> BigInt(first & 7)) & ((1n << BigInt(bits)) - 1n));
    }
    at += Math.ceil((n * bits) / 8);
  }
  return { ...template, words, seed: piece.slice(at, at + 64) };
}

/** s(X^element), or s^2, by its definition. */
function target(step: number | null): Int32Array {
  const out = new Int32Array(n);
  if (step !== null) {
    const element = galoisElement(step, n);
    for (let k = 0; k < n; k++) {
      const exponent = (k * element) % (2 * n);
      out[exponent % n] = exponent < n ? ternary[k] : -ternary[k];
    }
    return out;
  }
  const support = [...ternary.keys()].filter((k) => ternary[k] !== 0);
  for (const a of support)
    for (const b of support) {
      const sign = a + b < n ? 1 : -1;
      out[(a + b) % n] += sign * ternary[a] * ternary[b];
    }
  return out;
}

/** b + a s - P g_j s' modulo a prime, as small integers. */
function errorOf(expanded: Uint32Array, i: number, gadget: Gadget, digit: number, of: Int32Array): number[] {
  const q = all[i];
  const values = Uint32Array.from({ length: n }, (_, k) => {
    const product = multiplyMod(expanded[(all.length + i) * n + k], residues[i * n + k], q);
    return (expanded[i * n + k] + product) % q;
  });
  transforms[i].inverse(values);
  const inDigit = gadget.digits[digit].includes(i);
  const p = primesOf(parameters, gadget.special).reduce(
    (product, r) => (product * BigInt(r)) % BigInt(q),
    1n,
  );
  return Array.from(values, (value, k) => {
    const expected = inDigit ? Number((p * BigInt(of[k] + q)) % BigInt(q)) : 0;
    const error = (value - expected + q) % q;
    return error > q / 2 ? error - q : error;
  });
}

describe('a hybrid key', () => {
  let keys: ReturnType<typeof keysOf>;
  let template: RawCiphertext;
  beforeAll(() => {
    keys = keysOf([...client.evaluationKeys(secret)]);
    template = encryptionOfZero();
  });

  test("when a plan is made, then its keys have several primes to a digit, and their moduli divide the plan's", () => {
    expect(manifest.keys.switching).toBe('grouped');
    expect(keys.some(({ gadget }) => gadget.digits.some((group) => group.length > 1))).toBe(true);
    expect(keys.some(({ step }) => step === null)).toBe(true);
    for (const { gadget } of keys) {
      expect(new Set(moduli(gadget)).size).toBe(moduli(gadget).length);
      expect(Math.max(...moduli(gadget))).toBe(primes.length);
    }
  });

  test("when keys are made, then each decrypts to P g_j s' and an error of deviation 3.2, the same modulo every prime", () => {
    for (const { step, gadget, pieces } of keys) {
      const of = target(step);
      pieces.forEach((piece, digit) => {
        const expanded = expand(unpack(piece, gadget, template));
        const [first, ...others] = moduli(gadget).map((i) => errorOf(expanded, i, gadget, digit, of));
        for (const other of others) expect(other).toEqual(first);
        expect(Math.max(...first.map(Math.abs))).toBeLessThan(42); // SEAL's errors are cut off
        const deviation = Math.sqrt(first.reduce((sum, e) => sum + e * e, 0) / n);
        expect(deviation).toBeGreaterThan(3);
        expect(deviation).toBeLessThan(3.4);
      });
    }
  });

  test('when keys are made twice, then no two digits share a seed or a first polynomial', () => {
    const again = keysOf([...client.evaluationKeys(secret)]);
    const pieces = [...keys, ...again].flatMap((key) => key.pieces);
    const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
    expect(new Set(pieces.map((piece) => hex(piece.slice(-64)))).size).toBe(pieces.length);
    expect(new Set(pieces.map((piece) => hex(piece.slice(0, 64)))).size).toBe(pieces.length);
  });
});

test("when a term is added, then only the primes of the digit change, by P s', and the secret key stays", () => {
  const gadget = gadgets(parameters, 2).find(({ digits }) => digits[0].length === 2)!;
  const before = residues.slice();
  const words = new Uint32Array(2 * all.length * n);
  addKeyTerm(words, residues, parameters, gadget, 0, 1);
  expect(residues).toEqual(before);
  const of = target(1);
  all.forEach((q, i) => {
    const values = Uint32Array.from({ length: n }, (_, k) => words[2 * (i * n + k)]);
    if (!gadget.digits[0].includes(i)) {
      expect(values.every((value) => value === 0)).toBe(true);
      return;
    }
    transforms[i].inverse(values);
    const p = Number(primesOf(parameters, gadget.special).reduce((x, r) => (x * BigInt(r)) % BigInt(q), 1n));
    expect(values).toEqual(Uint32Array.from(of, (s) => (s === 0 ? 0 : s > 0 ? p : q - p)));
  });
});

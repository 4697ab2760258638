import { bytesToHex } from '@noble/hashes/utils.js';
import { BlindbeatError } from '../errors.ts';
import { type Gadget, moduli, perPrimeGadget, primesOf } from './keyswitch/gadget.ts';
import { keyCount, type PlannedKey, plannedKeys, switchingOf } from './keyswitch/key-set.ts';
import { packedSize, packLimbs, unpackBits } from './ring/bit-packing.ts';
import { allPrimes, type Parameters } from './ring/parameters.ts';
import { PeriodicEncoder, periodicSlots } from './ring/periodic-encoder.ts';
import { bitLength } from './ring/primes.ts';
import {
  plaintextBuffer,
  type RawCiphertext,
  readCiphertext,
  readPlaintextWords,
  readSwitchingKey,
  writeCiphertext,
} from './seal/bytes.ts';
import { type ClientModule, type Handle, loadSeal, type SEALContext, type Seal } from './seal/seal.ts';
import { addKeyTerm } from './secret/hybrid-key.ts';
import { SecretKey } from './secret/secret-key.ts';
import { concat, readContainer, writeContainer } from './wire/container.ts';
import { bodySizes } from './wire/file-sizes.ts';
import type { Manifest } from './wire/manifest.ts';
import { type Decrypted, packSegment, readMap, readScores } from './wire/reply.ts';

/**
 * The client's side of one plan: makes keys, encrypts segments, decrypts replies. Holds no weights.
 * Sampling is SEAL's, and so is all arithmetic on the secret key but `addKeyTerm`, which makes hybrid keys.
 */
export class Client {
  readonly manifest: Manifest;
  readonly #seal: Seal<ClientModule>;
  #context: SEALContext | null = null;
  #replyContext: SEALContext | null = null;
  #replyEncoder: PeriodicEncoder | null = null;

  private constructor(manifest: Manifest, seal: Seal<ClientModule>) {
    this.manifest = manifest;
    this.#seal = seal;
  }

  static async open(manifest: Manifest): Promise<Client> {
    return new Client(manifest, await loadSeal<ClientModule>());
  }

  /** SEAL objects alive on behalf of this client. */
  get liveHandles(): number {
    return this.#seal.live;
  }

  [Symbol.dispose](): void {
    if (this.#context) this.#seal.free(this.#context);
    if (this.#replyContext) this.#seal.free(this.#replyContext);
    this.#context = null;
    this.#replyContext = null;
  }

  /** A new secret key, from the system's randomness. */
  createSecretKey(): SecretKey {
    const { module } = this.#seal;
    const keyId = bytesToHex(crypto.getRandomValues(new Uint8Array(16)));
    const bytes: Uint8Array = this.#seal.using(
      new module.KeyGenerator(this.#encryptionContext()),
      (generator) =>
        this.#seal.using(generator.secretKey(), (key) => key.saveToArray(module.ComprModeType.none)),
    );
    const secret = SecretKey.fromSeal(bytes, keyId);
    bytes.fill(0);
    return secret;
  }

  /**
   * The evaluation keys as a file, in pieces of a digit each (up to 0.9 MB), to be written or sent while they
   * are made: in Node `await writeFile(path, client.evaluationKeys(secret))`, all at once
   * `concat(client.evaluationKeys(secret))`. One key is in memory at a time.
   *
   * They are the relinearisation key, the rotation keys and a public key, each with only the digits and limbs
   * that the plan uses, its uniform half replaced by a seed. They reveal nothing about the secret key and go
   * to the server.
   *
   * @param onKey called after each key with the number done and to do
   */
  *evaluationKeys(key: SecretKey, onKey?: (done: number, total: number) => void): Generator<Uint8Array> {
    const { keys, parameters, planHash } = this.manifest;
    const { module } = this.#seal;
    const total = keyCount(keys);
    const none = module.ComprModeType.none;
    const header = { planHash, keyId: key.keyId, bodyBytes: bodySizes(this.manifest).evaluationKeys };
    const seal = this.#seal;
    const context = this.#encryptionContext();
    const secret = this.#loadSecret(key, context, allPrimes(parameters));
    const generator = seal.own(new module.KeyGenerator(context, secret));
    const save = (key: Handle & { saveToArray(mode: typeof none): Uint8Array<ArrayBuffer> }) =>
      seal.using(key, () => key.saveToArray(none));
    const perPrimeKey = function* ({ step, gadget }: PlannedKey): Generator<Uint8Array> {
      const saved = save(
        step === null
          ? generator.createRelinKeysSerializable()
          : generator.createGaloisKeysSerializableWithSteps(Int32Array.of(step)),
      );
      let left = gadget.digits.length;
      for (const digit of readSwitchingKey(saved)) {
        yield packDigit(digit, parameters, gadget);
        if (--left === 0) break;
      }
      release(saved);
    };
    const hybridKey = function* ({ step, gadget }: PlannedKey): Generator<Uint8Array> {
      for (let digit = 0; digit < gadget.digits.length; digit++) {
        // A public key is a fresh encryption of zero at the key level.
        const saved = save(generator.createPublicKeySerializable());
        const raw = readCiphertext(saved);
        addKeyTerm(raw.words, key, parameters, gadget, digit, step);
        yield packDigit(raw, parameters, gadget);
        release(saved);
      }
    };
    function* pieces(): Generator<Uint8Array> {
      let done = 0;
      for (const planned of plannedKeys(parameters, keys)) {
        yield* switchingOf(keys) === 'hybrid' ? hybridKey(planned) : perPrimeKey(planned);
        onKey?.(++done, total);
      }
      const publicKey = readCiphertext(save(generator.createPublicKeySerializable()));
      yield packDigit(publicKey, parameters, perPrimeGadget(parameters, 1));
      onKey?.(++done, total);
    }
    try {
      yield* writeContainer('evaluation keys', header, pieces());
    } finally {
      seal.free(generator, secret);
    }
  }

  /**
   * Encrypts one prepared segment into a request: one ciphertext, symmetric, its uniform half replaced by a
   * seed.
   *
   * @param segment `manifest.samples` numbers as `prepareSegment` makes them
   * @throws BlindbeatError ECG for a segment of another length or outside the input's bounds
   */
  encrypt(key: SecretKey, segment: Float32Array): Uint8Array {
    const { manifest } = this;
    const { n } = manifest.parameters;
    this.#checkSegment(segment);
    const slots = packSegment(segment, n / 2);
    const { module } = this.#seal;
    const context = this.#encryptionContext();
    const secret = this.#loadSecret(key, context, allPrimes(manifest.parameters));
    const generator = this.#seal.own(new module.KeyGenerator(context, secret));
    // SEAL's Encryptor wants a public key even when only symmetric encryption is used.
    const publicKey = this.#seal.own(generator.createPublicKey());
    const encryptor = this.#seal.own(new module.Encryptor(context, publicKey, secret));
    const encoder = this.#seal.own(new module.CKKSEncoder(context));
    const plain = this.#seal.own(new module.Plaintext());
    try {
      encoder.encode(slots, manifest.inputScale, plain);
      const raw = this.#seal.using(encryptor.encryptSymmetricSerializable(plain), (ciphertext) =>
        readCiphertext(ciphertext.saveToArray(module.ComprModeType.none)),
      );
      const body = [...packLimbs(raw.words, n, manifest.parameters.primes, 2), raw.seed!];
      const header = {
        planHash: manifest.planHash,
        keyId: key.keyId,
        bodyBytes: bodySizes(manifest).request,
      };
      return concat(writeContainer('request', header, body));
    } finally {
      this.#seal.free(plain, encoder, encryptor, publicKey, generator, secret);
    }
  }

  /**
   * Decrypts a reply.
   *
   * @throws BlindbeatError FORMAT or MISMATCH for a reply that is not to this key and plan; UNCLASSIFIABLE
   * when a score is beyond the limit, so that no class can be named
   */
  decrypt(key: SecretKey, reply: Uint8Array): Decrypted {
    const { manifest } = this;
    const { n, primes } = manifest.parameters;
    const { body } = readContainer(reply, 'reply', {
      planHash: manifest.planHash,
      keyId: key.keyId,
      bodyBytes: bodySizes(manifest).reply,
    });
    const [q] = primes;
    this.#replyEncoder ??= new PeriodicEncoder(n, [q]);
    const ntt = this.#replyEncoder.transform(n, 0);
    const size = packedSize(n, bitLength(q));
    const polynomial = (index: number) => {
      const residues = new Uint32Array(n);
      const start = 8 * manifest.reply.group + index * size;
      unpackBits(body.subarray(start, start + size), n, bitLength(q), q, residues, 0, 1);
      return residues;
    };
    const scores = this.#readScores(
      this.#decryptPolynomial(key, spread(body, manifest, ntt), polynomial(0)),
      ntt,
    );
    if (scores.some((s) => !(Math.abs(s) <= manifest.scoreLimit))) {
      throw new BlindbeatError(
        'UNCLASSIFIABLE',
        `a score is beyond the limit of ${manifest.scoreLimit}: this segment cannot be classified. ` +
          'Either the recording is unlike everything that the model was validated on, or the reply is wrong; try another segment',
      );
    }
    if (!manifest.reply.map) return { scores };
    const map = this.#decryptPolynomial(key, polynomial(1), polynomial(2));
    return { scores, map: this.#readMap(map) };
  }

  /** Decrypts one ciphertext at the last prime; values in NTT form in and out. */
  #decryptPolynomial(key: SecretKey, c0: Uint32Array, c1: Uint32Array): Uint32Array {
    const { n, primes } = this.manifest.parameters;
    const { module } = this.#seal;
    const context = this.#replyOnlyContext();
    const parmsId = this.#seal.parmsIds(context).get(1)!;
    const words = new Uint32Array(4 * n);
    for (let i = 0; i < n; i++) {
      words[2 * i] = c0[i];
      words[2 * (n + i)] = c1[i];
    }
    const secret = this.#loadSecret(key, context, [primes[0]]);
    const ciphertext = this.#seal.own(new module.Ciphertext());
    const plain = this.#seal.own(new module.Plaintext());
    const decryptor = this.#seal.own(new module.Decryptor(context, secret));
    try {
      ciphertext.loadFromArray(
        context,
        writeCiphertext({ parmsId, polynomials: 2, n, limbs: 1, scale: 1, ntt: true, words }),
      );
      decryptor.decrypt(ciphertext, plain);
      return readPlaintextWords(plain.saveToArray(module.ComprModeType.none)).filter((_, i) => i % 2 === 0);
    } finally {
      this.#seal.free(decryptor, plain, ciphertext, secret);
    }
  }

  /** The scores from the few coefficients that carry them; all others were withheld by the server. */
  #readScores(values: Uint32Array, ntt: { inverse(a: Uint32Array): void }): number[] {
    const { reply, parameters, classes } = this.manifest;
    ntt.inverse(values);
    const size = 2 * reply.group;
    const coefficients = Float64Array.from({ length: size }, (_, k) =>
      centre(values[(k * parameters.n) / size], parameters.primes[0]),
    );
    const slots = periodicSlots(coefficients).map((v) => v / reply.scale);
    return readScores(slots, reply, classes.length);
  }

  #readMap(values: Uint32Array): number[][] {
    const { reply, classes, parameters } = this.manifest;
    const { module } = this.#seal;
    const context = this.#replyOnlyContext();
    const buffer = plaintextBuffer(this.#seal.parmsIds(context).get(1)!, parameters.n, 1);
    buffer.setScale(reply.scale);
    values.forEach((v, i) => {
      buffer.residues[i] = BigInt(v);
    });
    const slots = this.#seal.using(new module.Plaintext(), (plain) => {
      plain.loadFromArray(context, buffer.bytes);
      return this.#seal.using(
        new module.CKKSEncoder(context),
        (encoder) => encoder.decodeFloat64(plain) as Float64Array,
      );
    });
    return readMap(slots, reply, classes.length);
  }

  #checkSegment(segment: Float32Array): void {
    const { samples, preprocessing } = this.manifest;
    if (segment.length !== samples) {
      throw new BlindbeatError(
        'ECG',
        `expected a segment of ${samples} samples, got ${segment.length}: prepare it with the plan's preprocessing`,
      );
    }
    const { peak, rms } = extent(segment);
    const { bound, rmsLimit } = preprocessing;
    if (!(peak <= bound * 1.001) || !(rms <= rmsLimit * 1.001)) {
      throw new BlindbeatError(
        'ECG',
        `expected samples within +-${bound} and an rms of at most ${rmsLimit}, got a peak of ${peak.toPrecision(3)} and an rms of ` +
          `${rms.toPrecision(3)}: prepare the segment with the plan's preprocessing`,
      );
    }
  }

  /** Key level and top level only: a quarter of the work of the whole chain. */
  #encryptionContext(): SEALContext {
    const { parameters } = this.manifest;
    this.#context ??= this.#seal.context(parameters.n, allPrimes(parameters), false);
    return this.#context;
  }

  /** The last prime alone: all that decryption needs. */
  #replyOnlyContext(): SEALContext {
    const { n, primes } = this.manifest.parameters;
    this.#replyContext ??= this.#seal.context(n, [primes[0]], false);
    return this.#replyContext;
  }

  /** The secret key for a context of some of the primes (all, or the first alone). */
  #loadSecret(key: SecretKey, context: SEALContext, primes: number[]) {
    const { n } = this.manifest.parameters;
    const size = primes.length * n;
    const buffer = plaintextBuffer(this.#seal.parmsIds(context).get(primes.length)!, n, primes.length);
    const { bytes, residues } = buffer;
    buffer.setScale(1);
    const words = new Uint32Array(bytes.buffer, residues.byteOffset, 2 * size);
    for (let i = 0; i < size; i++) words[2 * i] = key.residues[i];
    const secret = this.#seal.own(new this.#seal.module.SecretKey());
    try {
      this.#seal.guard('FORMAT', 'the secret key', () => secret.loadFromArray(context, bytes));
    } catch (error) {
      this.#seal.free(secret);
      throw error;
    } finally {
      bytes.fill(0);
    }
    return secret;
  }
}

/**
 * Gives memory back at once: SEAL's copy of one key has 28 MB, and garbage would pile up to several of them.
 */
function release(bytes: Uint8Array<ArrayBuffer>): void {
  bytes.buffer.transfer(0);
}

/** A digit of a key: its first polynomial modulo the gadget's primes, and seed. */
function packDigit({ words, seed }: RawCiphertext, parameters: Parameters, gadget: Gadget): Uint8Array {
  const { n } = parameters;
  const indices = moduli(gadget);
  const primes = primesOf(parameters, indices);
  return concat([
    ...indices.flatMap((i, k) => packLimbs(words.subarray(2 * i * n), n, [primes[k]], 2)),
    seed!,
  ]);
}

/** The reply's first polynomial in NTT form: zero but for the coefficients that carry the scores. */
function spread(body: Uint8Array, manifest: Manifest, ntt: { forward(a: Uint32Array): void }): Uint32Array {
  const { n, primes } = manifest.parameters;
  const size = 2 * manifest.reply.group;
  const view = new DataView(body.buffer, body.byteOffset);
  const out = new Uint32Array(n);
  for (let k = 0; k < size; k++) {
    const residue = view.getUint32(4 * k, true);
    if (residue >= primes[0]) {
      throw new BlindbeatError(
        'FORMAT',
        `a residue is not below its prime ${primes[0]}: the reply is damaged, ask for it again`,
      );
    }
    out[(k * n) / size] = residue;
  }
  ntt.forward(out);
  return out;
}

function centre(residue: number, q: number): number {
  return residue > q / 2 ? residue - q : residue;
}

function extent(segment: Float32Array): { peak: number; rms: number } {
  let peak = 0;
  let energy = 0;
  for (const x of segment) {
    if (!Number.isFinite(x)) return { peak: Number.NaN, rms: Number.NaN };
    peak = Math.max(peak, Math.abs(x));
    energy += x * x;
  }
  return { peak, rms: Math.sqrt(energy / segment.length) };
}

import { bytesToHex } from '@noble/hashes/utils.js';
import { BlindbeatError } from '../errors.ts';
import { packLimbs } from './ring/bit-packing.ts';
import { plaintextBuffer, readCiphertext, readPlaintextWords, writeCiphertext } from './seal/bytes.ts';
import { ClientSeal, type Operation } from './secret/client-seal.ts';
import { makeEvaluationKeys, type OnKey } from './secret/evaluation-keys.ts';
import { SecretKey } from './secret/secret-key.ts';
import { concat, readContainer, writeContainer } from './wire/container.ts';
import { bodySizes, requireKeyBytes, USUAL_KEY_BYTES } from './wire/file-sizes.ts';
import { type ParsedManifest, parseManifest } from './wire/manifest.ts';
import { type Decrypted, packSegment } from './wire/reply.ts';
import { type ReplyCiphertext, ReplyReader } from './wire/reply-reader.ts';

/** What a client may choose. */
export interface ClientOptions {
  /** Evaluation keys of more bytes are not made; default: 200 MB. The shipped model's have 48 MB. */
  maxKeyBytes?: number;
}

/**
 * The client's side of one plan: makes keys, encrypts segments, decrypts replies. Holds no weights.
 * Sampling is SEAL's, and so is all arithmetic on the secret key but `addKeyTerm`, which makes hybrid keys.
 */
export class Client {
  readonly manifest: ParsedManifest;
  readonly #seal: ClientSeal;
  readonly #maxKeyBytes: number;
  #reader: ReplyReader | null = null;

  private constructor(manifest: ParsedManifest, seal: ClientSeal, maxKeyBytes: number) {
    this.manifest = manifest;
    this.#maxKeyBytes = maxKeyBytes;
    this.#seal = seal;
  }

  /**
   * Checks a manifest, of which nothing is believed, and opens a client of its plan.
   *
   * @throws BlindbeatError FORMAT that lists all that is wrong with the manifest
   */
  static async open(manifest: unknown, options: ClientOptions = {}): Promise<Client> {
    const { maxKeyBytes = USUAL_KEY_BYTES } = options;
    const parsed = parseManifest(manifest);
    return new Client(parsed, await ClientSeal.open(parsed), maxKeyBytes);
  }

  /** SEAL objects alive on behalf of this client. */
  get liveHandles(): number {
    return this.#seal.live;
  }

  /** Frees what SEAL holds; from then on every use is refused. Secret keys are disposed by themselves. */
  [Symbol.dispose](): void {
    this.#seal[Symbol.dispose]();
  }

  /** A new secret key, from the system's randomness. */
  createSecretKey(): SecretKey {
    using operation = this.#seal.operation('key');
    const { module } = operation.seal;
    const keyId = bytesToHex(crypto.getRandomValues(new Uint8Array(16)));
    const generator = operation.own(new module.KeyGenerator(operation.context));
    const made = operation.own(generator.secretKey());
    const bytes: Uint8Array = made.saveToArray(module.ComprModeType.none);
    try {
      return SecretKey.fromSeal(bytes, keyId, this.manifest);
    } finally {
      bytes.fill(0);
    }
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
   * @throws BlindbeatError USAGE, before any work, if they take more than the client's `maxKeyBytes`; MISMATCH
   * for a key of another plan, INTERNAL when key or client was disposed, also half way
   */
  evaluationKeys(key: SecretKey, onKey?: OnKey): Generator<Uint8Array> {
    requireKeyBytes(this.manifest, this.#maxKeyBytes, 'open the client with a larger maxKeyBytes');
    key.residuesFor(this.manifest);
    return makeEvaluationKeys(this.#seal, key, onKey);
  }

  /**
   * Encrypts one prepared segment into a request: one ciphertext, symmetric, its uniform half replaced by a
   * seed.
   *
   * @param segment `manifest.samples` numbers as `prepareSegment` makes them
   * @throws BlindbeatError ECG for a segment of another length or outside the input's bounds; MISMATCH for a
   * key of another plan, INTERNAL when key or client was disposed
   */
  encrypt(key: SecretKey, segment: Float32Array): Uint8Array<ArrayBuffer> {
    const { manifest } = this;
    const { n, primes } = manifest.parameters;
    this.#checkSegment(segment);
    const slots = packSegment(segment, n / 2);
    using operation = this.#seal.operation('request');
    const { context } = operation;
    const { module } = operation.seal;
    const secret = operation.loadSecret(key, manifest);
    const generator = operation.own(new module.KeyGenerator(context, secret));
    // SEAL's Encryptor wants a public key even when only symmetric encryption is used.
    const publicKey = operation.own(generator.createPublicKey());
    const encryptor = operation.own(new module.Encryptor(context, publicKey, secret));
    const encoder = operation.own(new module.CKKSEncoder(context));
    const plain = operation.own(new module.Plaintext());
    encoder.encode(slots, manifest.inputScale, plain);
    const ciphertext = operation.own(encryptor.encryptSymmetricSerializable(plain));
    const raw = readCiphertext(ciphertext.saveToArray(module.ComprModeType.none));
    const body = [...packLimbs(raw.words, n, primes, 2), raw.seed!];
    const { planHash } = manifest;
    const header = { planHash, keyId: key.keyId, bodyBytes: bodySizes(manifest).request };
    return concat(writeContainer('request', header, body));
  }

  /**
   * Decrypts the reply to a request.
   *
   * @param request the digest of the request that was sent: `requestDigest(bytes)`
   * @throws BlindbeatError FORMAT or MISMATCH for a reply that is not to this key, plan and request;
   * UNCLASSIFIABLE when a score is beyond the limit or the reply is what no evaluation gives, so that no class
   * can be named; INTERNAL when key or client was disposed; USAGE for what is no digest
   */
  decrypt(key: SecretKey, reply: Uint8Array, request: string): Decrypted {
    const { manifest } = this;
    const { planHash } = manifest;
    key.residuesFor(manifest);
    if (!/^[0-9a-f]{64}$/.test(request))
      throw new BlindbeatError(
        'USAGE',
        'expected the digest of the request that was sent, 64 hexadecimal digits: requestDigest(request) makes it',
      );
    const expected = { planHash, keyId: key.keyId, request, bodyBytes: bodySizes(manifest).reply };
    const { body } = readContainer(reply, 'reply', expected);
    this.#reader ??= new ReplyReader(manifest);
    const { scores, map } = this.#reader.ciphertexts(body);
    using operation = this.#seal.operation('reply');
    const secret = operation.loadSecret(key, manifest);
    const decryptor = operation.own(new operation.seal.module.Decryptor(operation.context, secret));
    const open = (ciphertext: ReplyCiphertext): Uint32Array => {
      const { module } = operation.seal;
      const loaded = operation.own(new module.Ciphertext());
      const plain = operation.own(new module.Plaintext());
      loaded.loadFromArray(operation.context, this.#sealBytes(ciphertext, operation));
      decryptor.decrypt(loaded, plain);
      return readPlaintextWords(plain.saveToArray(module.ComprModeType.none)).filter((_, i) => i % 2 === 0);
    };
    const decrypted: Decrypted = { scores: this.#reader.scores(open(scores)) };
    if (map) {
      const values = open(map);
      const turned = this.#reader.turned(values);
      decrypted.map = this.#reader.map(this.#decode(values, operation), this.#decode(turned, operation));
    }
    return decrypted;
  }

  /** What SEAL loads as a ciphertext at the last prime. */
  #sealBytes({ c0, c1 }: ReplyCiphertext, { parmsId }: Operation): Uint8Array {
    const { n } = this.manifest.parameters;
    const words = new Uint32Array(4 * n);
    for (let i = 0; i < n; i++) {
      words[2 * i] = c0[i];
      words[2 * (n + i)] = c1[i];
    }
    return writeCiphertext({ parmsId, polynomials: 2, n, limbs: 1, scale: 1, ntt: true, words });
  }

  /** The real parts of all slots of a polynomial at the last prime, given in NTT form. */
  #decode(values: Uint32Array, operation: Operation): Float64Array {
    const { module } = operation.seal;
    const buffer = plaintextBuffer(operation.parmsId, this.manifest.parameters.n, 1);
    buffer.setScale(this.manifest.reply.scale);
    values.forEach((v, i) => {
      buffer.residues[i] = BigInt(v);
    });
    const plain = operation.own(new module.Plaintext());
    const encoder = operation.own(new module.CKKSEncoder(operation.context));
    plain.loadFromArray(operation.context, buffer.bytes);
    return encoder.decodeFloat64(plain) as Float64Array;
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

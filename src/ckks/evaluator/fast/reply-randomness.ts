import type { Parameters } from '../../ring/parameters.ts';
import { type RawCiphertext, readCiphertext, writeCiphertext } from '../../seal/bytes.ts';
import type { Encryptor, Handle, SEALContext, Seal, ServerModule } from '../../seal/seal.ts';

/** Encryptions of zero under a client's public key, at the reply's one limb. Dispose it. */
export class ReplyEncryptor implements Disposable {
  readonly #seal: Seal<ServerModule>;
  readonly #encryptor: Encryptor;
  readonly #publicKey: Handle;

  /**
   * @param publicKey as SEAL saves it, at the level of the context
   * @throws BlindbeatError FORMAT for what is no public key
   */
  constructor(seal: Seal<ServerModule>, context: SEALContext, publicKey: Uint8Array) {
    this.#seal = seal;
    const key = seal.own(new seal.module.PublicKey());
    try {
      seal.guard('FORMAT', 'the evaluation keys', () => key.loadFromArray(context, publicKey));
      this.#encryptor = seal.own(new seal.module.Encryptor(context, key));
    } catch (error) {
      seal.free(key);
      throw error;
    }
    this.#publicKey = key;
  }

  [Symbol.dispose](): void {
    this.#seal.free(this.#encryptor, this.#publicKey);
  }

  /** A fresh encryption of zero. */
  encryptZero(): RawCiphertext {
    const { module } = this.#seal;
    return this.#seal.guard('INTERNAL', 'the reply', () =>
      this.#seal.using(new module.Ciphertext(), (zero) => {
        this.#encryptor.encryptZero(zero);
        return readCiphertext(zero.saveToArray(module.ComprModeType.none));
      }),
    );
  }
}

/** Makes what encrypts zero under clients' public keys, by SEAL: the first prime with the special one. Dispose it. */
export class ReplyRandomness implements Disposable {
  readonly seal: Seal<ServerModule>;
  readonly #n: number;
  readonly #context: SEALContext;
  readonly #keyLevel: Uint8Array;

  constructor(seal: Seal<ServerModule>, { n, primes, special }: Parameters) {
    this.seal = seal;
    this.#n = n;
    this.#context = seal.context(n, [primes[0], special], false);
    this.#keyLevel = seal.parmsIds(this.#context).get(2)!;
  }

  [Symbol.dispose](): void {
    this.seal.free(this.#context);
  }

  /**
   * What encrypts zero under a client's public key.
   *
   * @param publicKey `[2 polynomials][2 limbs][n]` residues in NTT form
   * @throws BlindbeatError FORMAT for what is no public key
   */
  encryptor(publicKey: Uint32Array[][]): ReplyEncryptor {
    const n = this.#n;
    const words = new Uint32Array(8 * n);
    publicKey.flat().forEach((residues, k) => {
      residues.forEach((residue, i) => {
        words[2 * (k * n + i)] = residue;
      });
    });
    const raw = { parmsId: this.#keyLevel, polynomials: 2, n, limbs: 2, scale: 1, ntt: true, words };
    return new ReplyEncryptor(this.seal, this.#context, writeCiphertext(raw));
  }
}
